import inspect
import json
import re
import shlex
import sys

import pytest
import typer

from kdlandscape.cli import app, main
from kdlandscape.cubes.store import open_cube
from kdlandscape.cubes.yaml_file import read_yaml, write_yaml
from kdlandscape.sweeps.places import find_spec
from tests.tiny_study import write_spec


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Call the command line in this process; return exit code, output and error output."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("KDLANDSCAPE_RUNS", str(tmp_path / "studies"))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["kdlandscape", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return (0 if code is None else code, *capsys.readouterr())

    return call


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "here").mkdir()
    return write_spec(
        tmp_path / "here", grid={"mode": ["ok", "fail once"]}, parameters={"folder": str(tmp_path / "here")}
    )


def test_a_study_from_its_spec_to_its_cube_with_one_failure_and_its_retry(command, spec, tmp_path):
    folder = tmp_path / "studies" / "tiny"
    code, output, errors = command("run", spec, "--workers", "2")
    assert code == 1
    assert f"executed notebooks: {folder / 'runs'} (1 done, 1 failed)" in output
    assert f"cube: {folder / 'cube.nc'}" in output
    assert "RuntimeError: a red mistake" in errors
    assert "Traceback" not in output + errors

    code, output, _ = command("status", "tiny")
    assert code == 0
    assert "1 done, 1 failed, 0 missing" in output
    assert "RuntimeError: a red mistake" in output

    code, output, _ = command("cube", folder)
    assert code == 0
    assert "mode: 2" in output
    assert "1 cells missing" in output

    code, output, _ = command("retry", "tiny")
    assert (code, "1 failed" in output) == (1, True)
    code, output, _ = command("retry", "tiny", "--failed")
    assert code == 0
    assert "(2 done, 0 failed)" in output
    with open_cube(folder) as cube:
        assert cube["run.done"].all()

    code, output, _ = command(
        "run", spec, "-g", "mode=ok,fail once,no,a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u", "--dry-run"
    )
    assert (code, output.splitlines()[0].split(" runs")[0]) == (0, "tiny: 24")
    snapshot = read_yaml(folder / "spec.yaml")
    assert snapshot["grid"] == {"mode": ["ok", "fail once"]}
    snapshot["grid"]["seed"] = list(range(20))
    write_yaml(snapshot, folder / "spec.yaml")
    assert "... and 20 more" in command("status", "tiny")[1]

    code, _, errors = command("run", spec, "-p", "rate=0.5")
    assert code == 2
    assert 'parameters.rate: "the notebook\'s default" then, 0.5 now' in errors

    (folder / "errors" / "of-no-run.json").write_text("{}")
    code, output, _ = command("clean", "tiny")
    assert (code, output.splitlines()[-1]) == (0, f"{folder}: 1 removed")
    code, output, _ = command("missing", "tiny", "--json")
    assert json.loads(output.splitlines()[0]) == {"mode": "ok", "seed": 0}
    assert len(output.splitlines()) == 40
    code, output, _ = command("status", "tiny", "--json")
    assert json.loads(output) == {"study": str(folder), "done": 0, "failed": 0, "missing": 40}

    for path in (folder / "runs").glob("*.nc"):
        path.unlink()
    code, _, errors = command("figures", "tiny")
    assert (code, errors[:7]) == (2, "error: ")
    assert errors.endswith("expected at least one finished run to make a cube of, got none\n")


def test_a_study_as_json_lines_in_shards_and_its_cube_as_zarr(command, tmp_path):
    pytest.importorskip("zarr")
    path = write_spec(tmp_path / "here", grid={"seed": [0, 1]}, parameters={"folder": str(tmp_path)})
    code, output, errors = command("run", path, "--warm", "--json", "--shard", "1/2")
    events = [json.loads(line) for line in output.splitlines()]
    assert (code, events[-1]["event"], events[-1]["done"]) == (0, "end", 1), errors
    code, _, errors = command("run", path, "--shard", "3/2")
    assert (code, errors.startswith("error: shard: expected i/n")) == (2, True)
    code, output, _ = command("export", "tiny", tmp_path / "cube.zarr")
    assert (code, (tmp_path / "cube.zarr").is_dir()) == (0, True)


def test_a_dry_run_lists_the_runs_and_writes_nothing(command, spec, tmp_path):
    code, output, _ = command("run", spec, "-g", "lam=0.1,0.2", "--dry-run")
    assert code == 0
    assert "tiny: 4 runs of" in output
    assert "lam=0.2,mode=fail_once-" in output
    assert not (tmp_path / "studies").exists()


def test_a_wrong_spec_is_one_message_and_exit_code_2(command, spec, tmp_path):
    code, output, errors = command("run", spec, "-p", "widht=3")
    assert (code, output) == (2, "")
    assert errors.startswith("error: widht: expected a parameter")
    assert errors.rstrip().endswith("Did you mean 'width'?")
    assert not (tmp_path / "studies").exists()


def test_an_unknown_study_is_one_message_with_the_nearest_name(command, tmp_path):
    (tmp_path / "studies" / "tiny").mkdir(parents=True)
    (tmp_path / "studies" / "tiny" / "spec.yaml").touch()
    code, _, errors = command("status", "tinny")
    assert code == 2
    assert errors.startswith("error: study: expected a study's folder or its name under")
    assert errors.rstrip().endswith("Did you mean 'tiny'?")


def test_a_warning_is_one_line(command, capsys):
    import warnings

    command("--help")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("a file was skipped", stacklevel=1)
    assert capsys.readouterr().err == "warning: a file was skipped\n"


def test_one_command_runs_the_studies_of_the_paper_and_ends_with_the_table_of_claims(command, tmp_path):
    small = {"num_train": 100, "teacher_epochs": 1, "student_steps": 8, "width": 8}
    study = read_yaml(find_spec("paper_random")) | {"parameters": small}
    write_yaml(study, tmp_path / "paper_random.yaml")
    code, output, _ = command("run", "paper_small", "-p", f"studies=[{tmp_path / 'paper_random.yaml'}]")
    assert code == 0
    assert (tmp_path / "studies" / "paper_random" / "cube.nc").is_file()
    assert "Mason-Williams 2025: a student of random labels does not agree (below 20 %)" in output
    assert (
        "; rule: interval below 0.2: it is not shown that the teacher is trained: teacher's accuracy on its own"
        in output
    )
    assert "35 claims: 0 reproduced, 0 contradicted, 0 undecided, 35 not testable here" in output


def test_the_demo_is_the_shipped_spec(command, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "kdlandscape.commands.running._run_and_report", lambda spec, **options: seen.append((spec.study, options))
    )
    code, _, _ = command("demo", "--workers", "1")
    assert (code, seen[0][0], seen[0][1]["workers"]) == (0, "demo", 1)


@pytest.mark.parametrize("name", sorted(typer.main.get_command(app).commands))
def test_the_help_of_a_command_has_an_example_that_its_options_take(name):
    command = typer.main.get_command(app).commands[name]
    (example,) = re.findall(r"^Example: (.*)$", inspect.cleandoc(command.help), flags=re.M)
    program, own, *words = shlex.split(example)
    assert (program, own) == ("kdlandscape", name)
    command.make_context(name, words)
