import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import xarray as xr

from kdlandscape.cubes.store import SkippedRunFile, missing, open_cube
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.snapshot import error_line, read_snapshot, status
from kdlandscape.sweeps.study import run_study
from tests.processes import alive, wait_until
from tests.tiny_study import write_notebook, write_spec


@pytest.fixture(autouse=True, scope="module")
def few_threads():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


MODES = [
    "ok",
    "fail",
    "fail once",
    "kill worker",
    "kill worker once",
    "kill kernel",
    "late failure",
    "no record",
    "twice",
]


@pytest.fixture(scope="module")
def eventful(tmp_path_factory):
    """A study in which everything goes wrong that can, once."""
    place = tmp_path_factory.mktemp("eventful {x}")  # papermill takes a path for a format string
    path = write_spec(
        place,
        grid={"mode": MODES, "lam": [0.1, 0.2, 1]},
        vectorize=["lam"],
        parameters={"folder": str(place), "seed": 7},
    )
    return run_study(path, root=place / "studies", workers=2, progress=False), place, path


def errors(folder):
    records = [json.loads(path.read_text()) for path in (folder / "errors").glob("*.json")]
    return {record["coords"]["mode"]: record for record in records}


class TestAnEventfulStudy:
    def test_runs_that_can_succeed_do_and_the_others_are_explicit_holes(self, eventful):
        folder, _, _ = eventful
        with open_cube(folder) as cube:
            holes = [hole["mode"] for hole in missing(cube)]
            assert holes == [mode for mode in MODES if mode not in ("ok", "kill worker once")]
            assert cube["loss"].sel(mode="ok").values.tolist() == [7.1, 7.2, 8.0]
            assert cube["loss"].sel(mode="kill worker once").values.tolist() == [7.1, 7.2, 8.0]
            assert cube["lam"].values.tolist() == [0.1, 0.2, 1.0]
            assert cube.attrs["device"] == "cpu"
            assert json.loads(cube.attrs["run.parameters"])["seed"] == 7

    def test_every_failure_leaves_a_record_with_its_cause(self, eventful):
        folder, _, _ = eventful
        names = {mode: record["name"] for mode, record in errors(folder).items()}
        assert names == {
            "fail": "RuntimeError",
            "fail once": "RuntimeError",
            "kill worker": "WorkerDied",
            "kill kernel": "KernelDied",
            "late failure": "AssertionError",
            "no record": "NotRecorded",
            "twice": "RuntimeError",
        }
        failed = errors(folder)["fail"]
        assert failed["value"] == "a red mistake"
        assert 'raise RuntimeError("a' in failed["source"]
        assert "\x1b" not in failed["traceback"]
        assert "RuntimeError" in failed["traceback"]
        assert "got SIGKILL" in errors(folder)["kill worker"]["value"]
        assert "it died" in errors(folder)["kill kernel"]["value"]
        assert "Current thread" in errors(folder)["kill kernel"]["traceback"]
        assert "call kdlandscape.record(dataset)" in errors(folder)["no record"]["value"]
        assert "expected one call in a run" in errors(folder)["twice"]["value"]

    def test_a_run_whose_later_check_fails_leaves_no_result(self, eventful):
        folder, _, _ = eventful
        assert not list((folder / "runs").glob("mode=late_failure*.nc"))

    def test_no_kernel_outlives_its_worker(self, eventful):
        _, place, _ = eventful
        kernels = [int(path.read_text()) for mode in MODES for path in place.glob(f"{mode}7")]
        assert len(kernels) == len(MODES)
        wait_until(lambda: not any(map(alive, kernels)))

    def test_executed_notebooks_stay_and_unfinished_files_do_not(self, eventful):
        folder, place, _ = eventful
        (executed,) = (folder / "runs").glob("mode=ok-*.ipynb")
        notebook = nbformat.read(executed, 4)
        assert "injected-parameters" in notebook.cells[1].metadata.tags
        assert all(cell.execution_count for cell in notebook.cells)
        (failed,) = (folder / "runs").glob("mode=fail-*.ipynb")
        assert "mistake" in failed.read_text()
        assert not list((folder / "runs").glob(".*"))
        assert not list((folder / ".work").iterdir())
        assert sorted(path.name for path in folder.iterdir()) == [
            ".work",
            "cube.nc",
            "errors",
            "inputs",
            "runs",
            "spec.yaml",
        ]
        assert {path.name for path in place.iterdir()} == {"studies", "tiny.ipynb", "tiny.yaml"} | {
            f"{mode}7" for mode in MODES
        }

    def test_checkpoints_are_kept_with_the_run(self, eventful):
        (result,) = (eventful[0] / "runs").glob("mode=ok-*.nc")
        with xr.open_dataset(result, group="checkpoints") as checkpoints:
            assert checkpoints["theta"].shape == (3, 3)

    def test_status_sorts_the_runs_and_says_how_they_failed(self, eventful):
        folder, _, _ = eventful
        now = status(folder)
        assert [len(now.done), len(now.failed), len(now.missing)] == [2, 7, 0]
        assert error_line(folder, now.failed[0]).endswith(": RuntimeError: a red mistake")

    def test_an_unreadable_error_record_is_itself_an_error_line(self, eventful):
        folder, _, _ = eventful
        now = status(folder)
        assert "UnreadableErrorRecord" in error_line(folder, now.done[0])

    def test_another_recipe_in_the_same_folder_is_refused_by_naming_the_difference(self, eventful):
        folder, place, path = eventful
        before = (folder / "spec.yaml").read_bytes()
        spec = load_spec(path, ["seed=8", "rate=0.2"])
        with pytest.raises(StudyError) as refused:
            run_study(spec, root=folder.parent)
        for part in ("parameters.seed: 7 then, 8 now", 'parameters.rate: "the notebook\'s default" then, 0.2 now'):
            assert part in str(refused.value).replace("'the notebook\\'s default'", '"the notebook\'s default"')
        assert "Choose another name" in str(refused.value)
        spec = load_spec(path, grid=["policy=constant,scaled"])
        with pytest.raises(StudyError, match=r"grid.policy: an axis now, not then"):
            run_study(spec, root=folder.parent)
        other = write_notebook(place / "tiny.ipynb", "seed: int = 0\nlam: list[float] = []\nmode = ''\nfolder = ''")
        with pytest.raises(StudyError, match=r"notebook: the code of tiny.ipynb has changed"):
            run_study(folder)
        other.unlink()
        write_notebook(place / "tiny.ipynb")
        assert (folder / "spec.yaml").read_bytes() == before

    def test_again_only_what_is_missing_runs_and_failed_runs_only_on_request(self, eventful):
        folder, _, path = eventful
        results = {file: file.stat().st_mtime_ns for file in (folder / "runs").iterdir()}
        run_study(path, root=folder.parent, progress=False)
        assert {file: file.stat().st_mtime_ns for file in (folder / "runs").iterdir()} == results
        kept = [mode for mode in MODES if mode in ("ok", "fail once")]
        smaller = load_spec(path, grid=[f"mode={','.join(kept)}"])
        with pytest.warns(SkippedRunFile, match=r"mode=kill_worker_once.*it is left out"):
            run_study(smaller, root=folder.parent, retry_failed=True, progress=False)
        assert "fail once" not in errors(folder)
        with open_cube(folder) as cube:
            assert missing(cube) == []


def test_a_grid_may_grow_and_the_bar_counts_what_is_done(tmp_path, capsys):
    path = write_spec(tmp_path, grid={"seed": [0]}, parameters={"folder": str(tmp_path)})
    folder = run_study(path, root=tmp_path, workers=1)
    (first,) = (folder / "runs").glob("*.nc")
    stamp = first.stat().st_mtime_ns
    run_study(load_spec(path, grid=["seed=1,0"]), root=tmp_path)
    assert first.stat().st_mtime_ns == stamp
    assert "2/2" in capsys.readouterr().err
    with open_cube(folder) as cube:
        assert cube["loss"].sel(seed=[0, 1], lam=0).values.tolist() == [0.0, 1.0]
        assert cube["seed"].values.tolist() == [1, 0]


def test_a_run_past_its_time_limit_is_stopped_with_its_kernel(tmp_path):
    path = write_spec(tmp_path, grid={"mode": ["sleep"]}, parameters={"folder": str(tmp_path)})
    folder = run_study(path, root=tmp_path, time_limit=4, progress=False)
    assert errors(folder)["sleep"]["name"] == "TimeLimit"
    assert "expected the run to end within 4 seconds" in errors(folder)["sleep"]["value"]
    assert not (folder / "cube.nc").exists()
    kernels = [int(marker.read_text()) for marker in tmp_path.glob("sleep0")]
    wait_until(lambda: not any(map(alive, kernels)))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_driver_leaves_finished_runs_and_no_process(stop, tmp_path):
    path = write_spec(tmp_path, grid={"mode": ["ok", "sleep"]}, parameters={"folder": str(tmp_path)})
    code = "from kdlandscape.cli import main; main()"
    command = [sys.executable, "-c", code, "run", str(path), "--root", str(tmp_path), "--workers", "1"]
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    marker = tmp_path / "sleep0"
    wait_until(lambda: marker.exists() and marker.read_text())
    if stop == signal.SIGINT:
        os.killpg(driver.pid, stop)  # as a terminal does
    else:
        driver.send_signal(stop)
    output = driver.communicate(timeout=60)[1]
    wait_until(lambda: not alive(int(marker.read_text())))
    folder = tmp_path / "tiny"
    assert [run.coords["mode"] for run in status(folder).done] == ["ok"]
    if stop == signal.SIGINT:
        assert driver.returncode == 130
        assert "the same command again executes what is missing" in output
        with open_cube(folder) as cube:
            assert missing(cube) == [{"mode": "sleep"}]
    else:
        (note,) = (folder / ".work").glob("*/sockets")
        sockets = Path(note.read_text())
        assert sockets.exists()  # removed by the next driver
        run_study(load_spec(path, grid=["mode=ok"]), root=tmp_path, progress=False)
        assert not list((folder / ".work").iterdir())
        assert not sockets.exists()


def test_a_folder_with_a_foreign_spec_is_refused(tmp_path):
    (tmp_path / "spec.yaml").write_text("study: a\nnotebook: b\ngrid: {seed: [1]}\n")
    with pytest.raises(StudyError, match="expected the spec that a sweep wrote there"):
        read_snapshot(tmp_path)
