"""Every option of every command is checked, whatever it says: an answer at once, in one message, and no traceback."""

import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.main import get_command

from kdlandscape.cli import app, main
from kdlandscape.cubes.files import write_error
from kdlandscape.cubes.grid import VERSION
from kdlandscape.cubes.store import open_cube
from kdlandscape.cubes.yaml_file import read_yaml, write_yaml
from kdlandscape.sweeps.snapshot import status
from kdlandscape.sweeps.study import run_study
from tests.bench.chaos import small_disk
from tests.inline import execute_inline
from tests.tiny_study import write_notebook, write_spec

COMMANDS = [["status"], ["cube"], ["figures"], ["missing"], ["clean"], ["retry"], ["export"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a spec and its finished study."""
    place = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        execute_inline(patch)
        path = write_spec(place, parameters={"folder": str(place)})
        run_study(path, root=place / "studies", progress=False)
    return place


@pytest.fixture(scope="module")
def command(place):
    """Call the command line in this process; return exit code, output and error output, and that within two seconds."""

    def call(*arguments):
        import contextlib
        import io

        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.setenv("KDLANDSCAPE_RUNS", str(place / "studies"))
            patch.setattr(sys, "argv", ["kdlandscape", *map(str, arguments)])
            began = time.process_time()
            with pytest.raises(SystemExit) as ended:
                main()
        assert time.process_time() - began < 5  # seconds of work
        return ended.value.code or 0, out.getvalue(), err.getvalue()

    return call


WRONG = [
    (["--time-limit", "-5"], "time_limit: expected a number of seconds above 0, got -5.0"),
    (["--time-limit", "0"], "time_limit: expected a number of seconds above 0, got 0.0"),
    (["--time-limit", "nan"], "time_limit: expected a number of seconds above 0, got nan"),
    (["--cell-limit", "inf"], "cell_limit: expected a number of seconds above 0, got inf"),
    (["--cell-limit", "-0.0"], "cell_limit: expected a number of seconds above 0, got -0.0"),
    (["--root", ""], "root: expected a folder for studies, got ''"),
    (["--root", "/dev/null"], "root: expected a folder for studies, got /dev/null, which is none"),
    (["--shard", "9/8"], "shard: expected i/n with i from 0 to n - 1 or from 1 to n, such as 0/4 or 4/4, got '9/8'"),
    (["--shard", "0/0"], "shard: expected i/n"),
    (["--shard", ""], "shard: expected i/n"),
    (["--scheduler", " "], "scheduler: expected an address such as tls://host:8786"),
    (["--scheduler", "tls://a:1", "--dask"], "scheduler: expected --dask or the address of a scheduler, got both"),
    (["--changed", "maybe"], "changed: expected one of None, 'keep', 'rerun', got 'maybe'"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_an_option_that_nothing_can_go_by_is_refused(options, message, command, place):
    for words in (["run", place / "tiny.yaml"], ["run", place / "tiny.yaml", "--dry-run"], ["retry", "tiny"]):
        code, output, errors = command(*words, *options)
        assert (code, output) == (2, "")
        assert errors.startswith(f"error: {message}")
        assert errors.count("\n") == 1


@pytest.mark.parametrize("options", [["--study", ""], ["-g", ""], ["-p", "="], ["-g", "seed="], ["-p", "rate"]])
def test_a_change_that_is_none_is_refused(options, command, place):
    code, _, errors = command("run", place / "tiny.yaml", *options)
    assert (code, errors[:7]) == (2, "error: ")


@pytest.mark.parametrize(
    "words", [["run", ""], ["status", ""], ["retry", "a" * 300], ["run", "/dev/null"], ["new", ""]]
)
def test_a_name_that_is_none_is_one_message(words, command):
    code, _, errors = command(*words)
    assert (code, errors[:7]) == (2, "error: ")
    assert "Traceback" not in errors


def options_of(name):
    """Return the options of a command: their names, and what their help says."""
    return {tuple(one.opts): one.help for one in get_command(app).commands[name].params if one.opts[0][0] == "-"}


@pytest.mark.parametrize("name", ["compare", "forecast", "slurm"])
def test_every_command_that_reads_a_spec_takes_the_same_changes_of_it(name):
    shared = {opts for opts, _ in options_of(name).items() & options_of("run").items()}
    assert {("-p",), ("-g",), ("--study",), ("--root",)} <= shared


def test_compare_and_retry_execute_as_run_does():
    run = options_of("run").items()
    assert options_of("retry").items() - run == {(("--failed",), "Also execute the runs that failed.")}
    assert {opts for opts, _ in options_of("compare").items() - run} == {("--control",), ("--network",)}


LIMITS = ["--time-limit", "--cell-limit"]
OPTIONS = ["-p", "-g", "--study", "--workers", "--root", *LIMITS, "--shard", "--changed", "--scheduler"]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    option=st.sampled_from(OPTIONS),
    value=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
    | st.sampled_from(["seed", "rate", "mode", "lam", "table"]).flatmap(
        lambda name: st.text(max_size=20).map(f"{name}={{}}".format)
    )
    | st.floats().map(str)
    | st.integers().map(str),
)
def test_any_text_after_any_option_is_an_answer(option, value, command, place):
    code, _, errors = command(
        "run", place / "tiny.yaml", f"{option}={value}" if option[1] == "-" else f"{option}{value}", "--dry-run"
    )
    assert code in (0, 2)
    assert "Traceback" not in errors


BOMBS = {
    "aliases": "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)),
    "aliases under a key": "study: s\nnotebook: tiny.ipynb\nparameters:\n  x0: &x0 [1, 1]\n"
    + "".join(f"  x{i}: &x{i} {{a: *x{i - 1}, b: *x{i - 1}}}\n" for i in range(1, 60)),
    "itself": "study: &s [*s]\n",
    "depth": "study: " + "[" * 5000 + "]" * 5000,
    "mappings": "study: " + "{a: " * 200 + "1" + "}" * 200,
    "integer": "study: s\nnotebook: tiny.ipynb\ngrid: {seed: [" + "9" * 10_000 + "]}\n",
    "wide integer": "study: s\nnotebook: tiny.ipynb\ngrid: {seed: [" + "9" * 4000 + "]}\n",
    "range": "study: s\nnotebook: tiny.ipynb\ngrid: {seed: {range: [0, 1e300]}}\n",
    "tiny step": "study: s\nnotebook: tiny.ipynb\ngrid: {rate: {range: [0, 1, 1e-300]}}\n",
    "product": "study: s\nnotebook: tiny.ipynb\ngrid: {seed: {range: [0, 999999]}, rate: {range: [0, 999999]}}\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_spec_that_would_never_end_is_refused_at_once(bomb, command, place):
    (place / "bomb.yaml").write_text(BOMBS[bomb])
    code, _, errors = command("run", place / "bomb.yaml")
    assert (code, errors[:7]) == (2, "error: ")
    assert len(errors) < 2000


@pytest.mark.parametrize("content", [b"", b"study: a", b"- 1", b"{", b'{"study": ', b"\xff", b"a: b: c", b"3", b"{}"])
def test_half_written_metadata_is_the_same_message_for_every_command(content, command, place):
    folder = place / "studies" / "half"
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    (folder / "spec.yaml").write_bytes(content)
    for words in COMMANDS:
        code, _, errors = command(*words, folder, *([place / "out.zarr"] if words == ["export"] else []))
        assert code == 2, words
        assert errors.startswith(f"error: {folder / 'spec.yaml'}: expected the spec that a sweep wrote there, got"), (
            words
        )
        assert errors.count("\n") == 1, errors


def test_a_study_of_a_newer_version_is_refused_in_a_sentence(command, place):
    folder = place / "studies" / "newer"
    folder.mkdir()
    content = read_yaml(place / "studies" / "tiny" / "spec.yaml")
    write_yaml({**content, "resolved": {"version": VERSION + 1, "unheard_of": 3}}, folder / "spec.yaml")
    for words in (["status"], ["cube"], ["retry"]):
        code, _, errors = command(*words, "newer")
        assert code == 2
        assert f"got version {VERSION + 1}, which a newer kdlandscape wrote; upgrade" in errors


class TestTables:
    def table(self, place, **table):
        return write_spec(
            place,
            parameters={"folder": str(place)},
            table={"rows": ["lam"], "over": "seed", "values": ["loss"], **table},
        )

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"values": ["los"]},
                "table.values: expected a variable of the results (loss), got 'los'. Did you mean 'loss'?",
            ),
            ({"values": ["loss.0"]}, "table.values: expected loss, got 'loss.0'"),
            ({"rows": ["lamm"]}, "table.rows: expected a dim of the results"),
            (
                {"over": "sed"},
                "table.over: expected an axis of the grid (seed) or a dim that the notebook names, got 'sed'.",
            ),
            ({"rows": []}, "table.values: expected loss.<lam>, got 'loss'"),
        ],
    )
    @pytest.mark.parametrize("words", [[], ["--dry-run"]])
    def test_a_typo_is_told_before_anything_runs_where_a_run_has_finished(self, change, message, words, command, place):
        code, _, errors = command("run", self.table(place, **change), *words)
        assert (code, errors.startswith(f"error: {message}")) == (2, True), errors

    def test_a_typo_is_told_after_the_first_run_where_none_has_finished(self, command, tmp_path, monkeypatch):
        execute_inline(monkeypatch)
        path = write_spec(
            tmp_path,
            grid={"seed": list(range(5))},
            table={"rows": [], "values": ["los"]},
            parameters={"folder": str(tmp_path)},
        )
        code, _, errors = command("run", path, "--root", tmp_path)
        assert (code, "table.values: expected a variable of the results (loss), got 'los'" in errors) == (2, True)
        assert len(status(tmp_path / "tiny").done) == 1

    def test_a_source_that_does_not_exist_is_told_by_a_dry_run(self, command, place):
        path = write_spec(place, parameters={"folder": str(place)}, **{"from": {"study": "../..", "parameter": "mode"}})
        code, _, errors = command("run", path, "--dry-run", "--study", "other")
        assert (code, "study: expected a study's folder or its name under" in errors) == (2, True)


def test_a_read_only_study_is_read_and_otherwise_refused_in_a_sentence(command, place, tmp_path):
    import shutil

    with small_disk(16) as (disk, mounted):
        if not mounted:
            pytest.skip("mounting a small disk needs root")
        shutil.copytree(place / "studies" / "tiny", disk / "tiny")
        shutil.copytree(place / "studies" / "tiny", disk / "bare")
        (disk / "bare" / "cube.nc").unlink()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        try:
            for words in (["status"], ["missing"], ["cube"], ["figures"], ["figures", "--to", tmp_path]):
                code, _, errors = command(words[0], disk / "tiny", *words[1:])
                assert (code, "Traceback" in errors) == (0, False), errors
            for words in (
                ["cube", "bare"],
                ["figures", "bare"],
                ["retry", "bare"],
                ["retry", "tiny"],
                ["clean", "tiny"],
            ):
                code, _, errors = command(words[0], disk / words[1])
                assert (code in (0, 2), "Traceback" in errors) == (True, False), errors
        finally:
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def test_what_an_error_says_is_shown_and_not_obeyed(command, place):
    run = status(place / "studies" / "tiny").done[0]
    hostile = "\x1b]0;owned\x07\x1b[2Jred\x9b31m\u202e\r\n\x08"
    record = place / "studies" / "tiny" / "errors" / f"{run.id}.json"
    result = place / "studies" / "tiny" / "runs" / f"{run.id}.nc"
    write_error({"name": hostile, "value": hostile}, record)
    result.rename(place / "aside.nc")
    try:
        _, output, _ = command("status", "tiny")
        assert "\\x1b]0;owned\\x07\\x1b[2Jred\\x9b31m\\u202e" in output
        assert all(one.isprintable() or one == "\n" for one in output)
    finally:
        record.unlink()
        (place / "aside.nc").rename(result)
    code, _, errors = command("status", hostile)
    assert (code, "\x1b" in errors) == (2, False)


def test_a_cell_that_a_spreadsheet_would_take_for_a_formula_is_text(tmp_path):
    import matplotlib.pyplot as plt
    import xarray as xr

    from kdlandscape.figures import export

    names = ["=cmd|' /C calc'!A0", "+1", "@a", "-x", "plain"]
    data = xr.Dataset({"b": ("mode", [-1.0, 2, 3, 4, 5])}, {"mode": names})
    export(plt.figure(), tmp_path / "a", data=data)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    plt.close("all")
    assert lines[0] == "mode,b"
    assert [line.partition(",")[0] for line in lines[1:]] == ["'=cmd|' /C calc'!A0", "'+1", "'@a", "'-x", "plain"]
    assert lines[1].endswith(",-1.0")


READS = """\
import xarray as xr
from pathlib import Path
import helper
from kdlandscape.sweeps.record import record
value = float(Path("data.csv").read_text()) + helper.offset + seed
record(xr.Dataset({"value": ((), value, {"long_name": "value", "units": "1"})}))
"""


class TestProjects:
    """Two projects in one root, a study that is renamed and moved, a colleague's: by the command line."""

    @pytest.fixture(autouse=True)
    def inline(self, monkeypatch):
        execute_inline(monkeypatch)

    def project(self, folder, data):
        folder.mkdir()
        (folder / "data.csv").write_text(data)
        (folder / "helper.py").write_text("offset = 10\n")
        write_notebook(folder / "n.ipynb", "seed: int = 0", READS)
        (folder / "s.yaml").write_text("study: s\nnotebook: n.ipynb\ngrid: {seed: [0, 1]}\n")
        return folder / "s.yaml"

    def values(self, folder):
        with open_cube(folder) as cube:
            return cube["value"].values.tolist()

    def test_two_projects_in_one_root_are_told_apart(self, command, tmp_path):
        one, other = self.project(tmp_path / "one", "1"), self.project(tmp_path / "other", "2")
        root = ["--root", tmp_path / "studies"]
        assert command("run", one, *root)[0] == 0
        code, _, errors = command("run", other, *root)
        assert (code, "data.csv: has changed since; read by 2 finished runs (seed=0-" in errors) == (2, True)
        assert "--changed rerun" in errors
        assert command("run", other, *root, "--dry-run")[0] == 2
        assert command("run", other, *root, "--study", "t")[0] == 0
        assert (self.values(tmp_path / "studies" / "s"), self.values(tmp_path / "studies" / "t")) == (
            [11, 12],
            [12, 13],
        )
        assert command("run", other, *root, "--changed", "rerun")[0] == 0
        assert self.values(tmp_path / "studies" / "s") == [12, 13]

    def test_a_study_is_renamed_moved_with_its_project_and_goes_on(self, command, tmp_path, monkeypatch):
        path = self.project(tmp_path / "one", "1")
        command("run", path, "--root", path.parent / "studies")
        (path.parent / "studies" / "s").rename(path.parent / "studies" / "kept")
        path.parent.rename(tmp_path / "elsewhere")
        folder = tmp_path / "elsewhere" / "studies" / "kept"
        next((folder / "runs").glob("seed=1*.nc")).unlink()
        monkeypatch.chdir(folder.parent)
        code, output, errors = command("retry", "kept")
        assert (code, f"executed notebooks: {folder / 'runs'} (2 done, 0 failed)" in output) == (0, True), errors
        assert not (folder.parent / "s").exists()
        assert self.values(folder) == [11, 12]
        (tmp_path / "elsewhere" / "n.ipynb").unlink()
        code, _, errors = command("retry", "kept")
        assert (code, "expected the study's notebook at" in errors) == (2, True)
        assert command("cube", "kept")[0] == 0
