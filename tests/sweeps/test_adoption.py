"""A study never mixes recipes in silence: what has changed is explained, and then kept, run again or forked."""

import errno
import fcntl
import json
import shutil
import time

import pytest

from kdlandscape.cubes.locks import LesserFileSystem
from kdlandscape.cubes.runfile import read_run
from kdlandscape.cubes.store import open_cube
from kdlandscape.cubes.yaml_file import read_yaml, write_yaml
from kdlandscape.sweeps import plan as planning
from kdlandscape.sweeps.errors import SpecError, StudyError
from kdlandscape.sweeps.loading import make_spec
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.snapshot import error_line, read_snapshot, status
from kdlandscape.sweeps.study import run_study
from tests.inline import execute_inline
from tests.tiny_study import write_notebook

BODY = """\
from pathlib import Path
import helper
import xarray as xr
from kdlandscape.sweeps.record import record
value = float(Path("data.csv").read_text()) + helper.offset + 0 * seed
if (extra := Path("only1.txt")).exists() and seed == 1:
    extra.read_text()
record(xr.Dataset({"value": ((), value, {"long_name": "l", "units": "1"})}))
"""


def project(place, data="1.0"):
    place.mkdir(parents=True, exist_ok=True)
    (place / "helper.py").write_text("offset = 10.0\n")
    (place / "data.csv").write_text(data)
    (place / "only1.txt").write_text("a")
    write_notebook(place / "n.ipynb", "seed: int = 0\nrate: float = 0.1", BODY)
    return place


def content(place, **changes):
    return {"study": "s", "notebook": str(place / "n.ipynb"), "grid": {"seed": [0, 1]}, **changes}


def values(folder):
    with open_cube(folder) as cube:
        return dict(zip(cube["seed"].values.tolist(), cube["value"].values.tolist(), strict=True))


def run(spec, root, **options):
    return run_study(spec, root=root, progress=False, **options)


@pytest.fixture(scope="module", autouse=True)
def inline():
    with pytest.MonkeyPatch.context() as patch:
        execute_inline(patch)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = project(tmp_path_factory.mktemp("a") / "project")
    return run(content(place), place / "studies").parents[1]


@pytest.fixture
def place(finished, tmp_path):
    """A copy of a project with a finished study, as if moved."""
    shutil.copytree(finished, tmp_path / "project")
    return tmp_path / "project"


def test_a_study_that_was_copied_with_its_notebook_goes_on_where_it_is(place, finished):
    shutil.move(place / "studies" / "s", place / "studies" / "kept")
    before = sorted((finished / "studies" / "s").rglob("*"))
    folder = run(place / "studies" / "kept", None)
    assert folder == place / "studies" / "kept"
    assert not (place / "studies" / "s").exists()
    assert read_snapshot(folder).study == "kept"
    assert read_snapshot(folder).facts.notebook_path == str(place / "n.ipynb")
    assert values(folder) == {0: 11.0, 1: 11.0}
    assert sorted((finished / "studies" / "s").rglob("*")) == before
    shutil.rmtree(folder / "errors")
    (next((folder / "runs").glob("seed=1*.nc"))).unlink()
    run(folder, None)
    assert len(status(folder).done) == 2


def test_a_study_without_its_notebook_says_where_it_is_looked_for(place, finished, tmp_path):
    shutil.move(place / "studies" / "s", tmp_path / "alone")
    path = tmp_path / "alone" / "spec.yaml"
    content = read_yaml(path)
    content["notebook"] = content["resolved"]["notebook_path"] = str(finished / "gone" / "n.ipynb")
    write_yaml(content, path)
    with pytest.raises(StudyError, match=r"expected the study's notebook at .* or .*gone/n.ipynb, got none; put it"):
        run(tmp_path / "alone", None)


@pytest.mark.parametrize("name", ["helper.py", "data.csv", "only1.txt"])
def test_a_changed_file_is_named_with_the_runs_that_read_it_and_the_choices(name, place):
    (place / name).write_text("offset = 20.0" if name == "helper.py" else "2.0")
    with pytest.raises(StudyError) as refused:
        run(content(place), place / "studies")
    readers = "1 finished runs (seed=1-" if name == "only1.txt" else "2 finished runs (seed=0-"
    for part in (f"{name}: has changed since; read by {readers}", "--study NAME", "--changed rerun", "--changed keep"):
        assert part in str(refused.value)
    (place / name).unlink()
    with pytest.raises(StudyError, match=f"{name}: is gone; read by"):
        run(place / "studies" / "s", None)


def test_runs_are_executed_again_where_that_was_chosen(place):
    (place / "only1.txt").write_text("b")
    first = next((place / "studies" / "s" / "runs").glob("seed=0*.nc"))
    stamp = first.stat().st_mtime_ns
    run(content(place), place / "studies", changed="rerun")
    assert first.stat().st_mtime_ns == stamp  # it did not read the file
    (place / "data.csv").write_text("2.0")
    folder = run(content(place), place / "studies", changed="rerun")
    assert values(folder) == {0: 12.0, 1: 12.0}
    run(content(place), place / "studies")


def test_runs_stay_beside_new_ones_where_that_was_chosen_and_then_no_more_is_asked(place):
    (place / "data.csv").write_text("2.0")
    folder = run(content(place, grid={"seed": [0, 1, 2]}), place / "studies", changed="keep")
    assert values(folder) == {0: 11.0, 1: 11.0, 2: 12.0}
    run(folder, None)
    (place / "data.csv").write_text("3.0")
    with pytest.raises(StudyError, match=r"data.csv: has changed since; read by 1 finished runs \(seed=2-"):
        run(folder, None)


def test_changed_code_is_kept_or_run_again_and_a_changed_setting_only_run_again(place):
    write_notebook(place / "n.ipynb", "seed: int = 0\nrate: float = 0.1", BODY.replace("0 * seed", "100 * seed"))
    grid = {"seed": [0, 1, 2]}
    with pytest.raises(StudyError, match=r"notebook: the code of n.ipynb has changed since: 2 runs\n.*--changed keep"):
        run(content(place), place / "studies")
    folder = run(content(place, grid=grid), place / "studies", changed="keep")
    assert values(folder) == {0: 11.0, 1: 11.0, 2: 211.0}
    changed = content(place, grid=grid, parameters={"rate": 0.2})
    for choice in (None, "keep"):
        with pytest.raises(StudyError) as refused:
            run(changed, place / "studies", changed=choice)
        assert 'parameters.rate: "the notebook\'s default" then, 0.2 now' in str(refused.value)
        assert "--changed keep" not in str(refused.value)
    run(changed, place / "studies", changed="rerun")
    assert values(folder) == {0: 11.0, 1: 111.0, 2: 211.0}


def test_two_projects_with_one_notebook_and_one_spec_are_told_apart_by_their_data(place, tmp_path):
    other = project(tmp_path / "other", data="5.0")
    with pytest.raises(StudyError, match=r"data.csv: has changed since"):
        run(content(other), place / "studies")
    folder = run(content(other, study="t"), place / "studies")
    assert values(folder) == {0: 15.0, 1: 15.0}
    twin = project(tmp_path / "twin")  # the same data: the same results
    assert values(run(content(twin), place / "studies")) == {0: 11.0, 1: 11.0}


def test_a_run_that_reads_another_content_than_the_others_fails_instead_of_being_mixed_in(place):
    folder = place / "studies" / "s"
    spec = make_spec(content(place, grid={"seed": [0, 1, 2]}))
    (place / "helper.py").write_text("offset = 10.0\nfrom pathlib import Path\nPath('data.csv').write_text('7.0')\n")
    run(spec, place / "studies", changed="keep")  # the helper changes what is read while the study runs
    assert [run.coords["seed"] for run in status(folder).failed] == [2] or values(folder)[2] == 17.0


def test_a_notebook_that_is_edited_while_its_study_runs_is_not_mixed_in(tmp_path):
    place = project(tmp_path / "p")
    edit = "from pathlib import Path\nplace = Path('n.ipynb')\nif seed == 1:\n"
    edit += "    place.write_text(place.read_text().replace('0 *', '1 *'))\n"
    notebook = write_notebook(place / "n.ipynb", "seed: int = 0\nrate: float = 0.1", edit, BODY)
    folder = run({"study": "s", "notebook": str(notebook), "grid": {"seed": [0, 1, 2]}}, tmp_path)
    now = status(folder)
    assert [run.coords["seed"] for run in now.done] == [0]
    for one in now.failed:
        assert "NotebookChangedError: expected the code that n.ipynb had when" in error_line(folder, one)


def test_a_damaged_note_is_one_message(place):
    (note, *_) = (place / "studies" / "s" / "inputs").glob("*.json")
    for text in ("", "{", "[]", '{"a": 1}'):
        note.write_text(text)
        with pytest.raises(StudyError, match=r"expected a note of what runs have read, got .*; remove it to trust"):
            run(content(place), place / "studies")


def test_a_recipe_without_finished_runs_may_change(tmp_path):
    place = project(tmp_path / "p")
    (place / "data.csv").write_text("no number")
    folder = run(content(place), place / "studies")
    assert len(status(folder).failed) == 2
    (place / "data.csv").write_text("1.0")
    run(content(place, parameters={"rate": 0.5}), place / "studies", retry_failed=True)
    assert values(folder) == {0: 11.0, 1: 11.0}


class TestIdentity:
    def ids(self, tmp_path, **changes):
        notebook = write_notebook(
            tmp_path / "n.ipynb", "seed: int = 0\nrate: float = 0.1\nlam: list[float] = []\ntable: dict[str, int] = {}"
        )
        return {
            tuple(sorted(run.coords.items())): run.id
            for run in plan(make_spec({"study": "s", "notebook": str(notebook), **changes}))
        }

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"grid": {"rate": [1, 4]}}, {"grid": {"rate": [0.5, 1.0, 4]}}),
            ({"grid": {"rate": [1, 4]}}, {"grid": {"rate": [4, 1]}}),
            ({"grid": {"rate": [0.0]}}, {"grid": {"rate": [-0.0]}}),
            ({"grid": {"rate": [1000]}}, {"grid": {"rate": [1e3]}}),
            ({"grid": {"rate": [1], "seed": [0, 1]}}, {"grid": {"seed": [1, 0], "rate": [1.0]}}),
            (
                {"grid": {"seed": [0], "lam": [0, 0.5]}, "vectorize": ["lam"]},
                {"grid": {"lam": [0.5, 0.0], "seed": [0]}, "vectorize": ["lam"]},
            ),
            (
                {"grid": {"seed": [0]}, "parameters": {"rate": 1, "table": {"a": 1, "b": 2}}},
                {"grid": {"seed": [0]}, "parameters": {"table": {"b": 2, "a": 1}, "rate": 1.0}},
            ),
        ],
    )
    def test_a_run_is_its_values_whatever_their_spelling_order_or_type(self, one, other, tmp_path):
        ours, theirs = self.ids(tmp_path, **one), self.ids(tmp_path, **other)
        assert {coords: theirs[coords] for coords in ours} == ours

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"grid": {"rate": [0.1]}}, {"grid": {"rate": [0.1 + 2**-55]}}),
            ({"grid": {"seed": [1]}}, {"grid": {"rate": [1]}}),
            ({"grid": {"seed": [1]}, "parameters": {"rate": 1}}, {"grid": {"seed": [1]}, "parameters": {"rate": 2}}),
            ({"grid": {"seed": [1]}}, {"grid": {"seed": [1]}, "parameters": {"rate": 0.1}}),
        ],
    )
    def test_other_values_are_other_runs(self, one, other, tmp_path):
        assert not set(self.ids(tmp_path, **one).values()) & set(self.ids(tmp_path, **other).values())

    def test_two_hundred_thousand_runs_have_ids_of_their_own(self, tmp_path):
        assert len(set(self.ids(tmp_path, grid={"seed": {"range": [0, 200_000]}}).values())) == 200_000

    def test_ids_that_collide_are_refused_when_the_study_is_planned(self, tmp_path, monkeypatch):
        monkeypatch.setattr(planning, "_identity", lambda *_: "same")
        with pytest.raises(SpecError, match="expected runs with ids of their own, got same for"):
            self.ids(tmp_path, grid={"seed": [0, 1]})


def test_adding_a_value_of_another_type_runs_only_that(tmp_path):
    place = project(tmp_path / "p")
    notebook = write_notebook(place / "n.ipynb", "free = print\nseed = 0", BODY.replace("0 * seed", "0 * seed + free"))
    spec = {"study": "s", "notebook": str(notebook), "grid": {"free": [1, 4]}}
    folder = run(spec, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*.nc")}
    run({**spec, "grid": {"free": [0.5, 1, 4]}}, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with open_cube(folder) as cube:
        assert cube["value"].values.tolist() == [11.5, 12.0, 15.0]
    assert json.loads(read_run(next(iter(before))).attrs["run.parameters"])["seed"] == 0


def test_a_notebook_whose_results_no_cube_can_hold_costs_two_runs(tmp_path):
    body = BODY.replace('{"value": ((),', '{"seed": ((),')
    write_notebook(
        tmp_path / "n.ipynb", "seed: int = 0", "with open('runs.log', 'a') as log:\n    log.write('.')", body
    )
    for name in ("helper.py", "data.csv"):
        (tmp_path / name).write_text("offset = 1.0" if name == "helper.py" else "1.0")
    spec = content(tmp_path, grid={"seed": list(range(20))})
    with pytest.raises(
        StudyError, match=r"(?s)first two runs: .*no variable with the name of an axis.*the same command"
    ):
        run(spec, tmp_path / "studies")
    folder = tmp_path / "studies" / "s"
    assert (tmp_path / "runs.log").read_text() == ".."
    assert not list((folder / "errors").iterdir())
    write_notebook(tmp_path / "n.ipynb", "seed: int = 0", BODY)
    assert len(status(run(spec, tmp_path / "studies")).done) == 20


def test_a_driver_that_waits_for_another_machine_says_for_whom(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: raise_no_locks())
    monkeypatch.setattr(time, "sleep", lambda _: held.unlink(missing_ok=True))
    project(tmp_path)
    spec = content(tmp_path, grid={"seed": [0]})
    (planned,) = plan(make_spec(spec))
    held = tmp_path / "studies" / "s" / ".work" / f"{planned.id}.claim.held"
    held.parent.mkdir(parents=True)
    held.write_text("elsewhere 12 345")
    monkeypatch.setenv("KDLANDSCAPE_TOLD", "locks")
    with pytest.warns(LesserFileSystem, match=rf"process 12 on elsewhere executes; if that has ended, remove {held}"):
        folder = run(spec, tmp_path / "studies")
    assert len(status(folder).done) == 1


def raise_no_locks():
    raise OSError(errno.ENOLCK, "No locks available")
