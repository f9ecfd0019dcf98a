"""What a run has started ends with it; drivers that wait, clocks that lie, and descriptors that are used up."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from kdlandscape.cubes.files import write_error
from kdlandscape.cubes.locks import lock
from kdlandscape.cubes.store import open_cube
from kdlandscape.sweeps import drive
from kdlandscape.sweeps import study as module
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.snapshot import status
from kdlandscape.sweeps.study import run_study
from tests.inline import execute_inline
from tests.processes import alive, wait_until
from tests.tiny_study import write_notebook, write_spec

STARTS = """\
import multiprocessing, os, subprocess, sys, time
from pathlib import Path
import numpy as np, xarray as xr
from IPython.display import HTML, display
from kdlandscape.sweeps.record import record
label = {"long_name": "l", "units": "1"}
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
plain = subprocess.Popen(["sleep", "300"], **quiet)
daemon = subprocess.Popen(["sleep", "300"], start_new_session=True, **quiet)
child = multiprocessing.get_context("fork").Process(target=time.sleep, args=[300])
child.start()
(Path(folder) / f"{mode}.txt").write_text(f"{plain.pid} {daemon.pid} {child.pid}")
if mode == "display":
    display(HTML("x" * 20_000_000))
    display(HTML("small"))
    print("after")
if mode == "dies":
    os._exit(1)
if mode == "kills":  # the worker, or the fork server
    os.kill(os.getppid(), 9)
if mode in ("late", "kills"):
    time.sleep(300)
record(xr.Dataset({"a": ((), 1.0, label)}))
"""


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_what_a_run_has_started_ends_with_it_however_it_ends(warm, tmp_path):
    notebook = write_notebook(tmp_path / "n.ipynb", "mode: str = ''\nfolder: str = ''", STARTS)
    spec = {
        "study": "s",
        "notebook": str(notebook),
        "grid": {"mode": ["display", "dies", "late", "kills"]},
        "parameters": {"folder": str(tmp_path)},
    }
    folder = run_study(spec, root=tmp_path, warm=warm, workers=1, cell_limit=15, progress=False)
    assert [run.coords["mode"] for run in status(folder).done] == ["display"]
    started = [int(pid) for path in tmp_path.glob("*.txt") for pid in path.read_text().split()]
    assert len(started) == 12
    wait_until(lambda: not any(map(alive, started)))
    (executed,) = (folder / "runs").glob("mode=display*.ipynb")
    assert executed.stat().st_size < 1_000_000
    shown = [output.get("data", {}) for output in nbformat.read(executed, 4).cells[2].outputs]
    assert "expected at most 10,000,000 characters in a display" in shown[0]["text/plain"]
    assert shown[1]["text/html"] == "small"


class TestOtherDrivers:
    @pytest.fixture(autouse=True)
    def inline(self, monkeypatch):
        execute_inline(monkeypatch)

    def spec(self, tmp_path):
        return load_spec(write_spec(tmp_path, grid={"seed": [0, 1]}, parameters={"folder": str(tmp_path)}))

    def test_a_driver_that_waits_starts_nothing_and_looks_less_and_less_often(self, tmp_path, monkeypatch):
        spec = self.spec(tmp_path)
        folder = tmp_path / "tiny"
        (folder / ".work").mkdir(parents=True)
        busy = plan(spec)[0]
        starts, pauses = [], []
        engine = module._engine

        def counted(*options):
            run = engine(*options)
            return lambda jobs: starts.append(len(jobs)) or run(jobs)

        with lock(folder / ".work" / f"{busy.id}.claim"):

            def sleep(seconds):
                pauses.append(seconds)
                if len(pauses) == 6:  # the other driver's run has failed
                    write_error({"name": "X", "value": "of the other"}, folder / "errors" / f"{busy.id}.json")

            monkeypatch.setattr(drive, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
            monkeypatch.setattr(module, "_engine", counted)
            run_study(spec, root=tmp_path, progress=False)
        assert starts == [2]
        assert pauses == [0.5, 1, 2, 4, 8, 8]
        now = status(folder)
        assert ([run.id for run in now.failed], len(now.done)) == ([busy.id], 1)

    def test_a_run_that_another_driver_lets_go_of_is_taken_over(self, tmp_path, monkeypatch):
        spec = self.spec(tmp_path)
        (tmp_path / "tiny" / ".work").mkdir(parents=True)
        held = lock(tmp_path / "tiny" / ".work" / f"{plan(spec)[0].id}.claim")
        held.__enter__()
        clock = SimpleNamespace(sleep=lambda _: held.__exit__(None, None, None), monotonic=time.monotonic)
        monkeypatch.setattr(drive, "time", clock)
        assert len(status(run_study(spec, root=tmp_path, progress=False)).done) == 2

    @pytest.mark.parametrize("offset", [-(10**9), 0, 10**9], ids=["past", "now", "future"])
    def test_a_failure_is_tried_again_whatever_the_clock_said_when_it_was_recorded(self, offset, tmp_path):
        path = write_spec(tmp_path, grid={"mode": ["fail once"]}, parameters={"folder": str(tmp_path)})
        folder = run_study(path, root=tmp_path, progress=False)
        (record,) = (folder / "errors").iterdir()
        then = time.time() + offset
        os.utime(record, (then, then))
        run_study(path, root=tmp_path, retry_failed=True, progress=False)
        assert len(status(folder).done) == 1

    def test_used_up_descriptors_stop_the_study_and_count_no_run_as_failed(self, tmp_path, monkeypatch):
        from kdlandscape.sweeps import execute

        def no_kernel(job):
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(execute, "_run_notebook", no_kernel)
        with pytest.raises(StudyError, match=r"workers: expected descriptors .* raise the limit \(ulimit -n\)"):
            run_study(self.spec(tmp_path), root=tmp_path, progress=False)
        assert not list((tmp_path / "tiny" / "errors").iterdir())


def test_a_driver_without_descriptors_says_so_in_one_message(tmp_path):
    path = write_spec(tmp_path, grid={"seed": list(range(30))}, parameters={"folder": str(tmp_path)})
    command = [sys.executable, "-m", "kdlandscape.cli", "run", path, "--root", tmp_path, "--workers", "30"]

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, preexec_fn=limit, timeout=120)
    assert done.returncode == 2
    assert "error: workers: expected descriptors for the files of another process, got none" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_killed_driver_has_left_running_is_ended_by_the_next(tmp_path):
    from kdlandscape.sweeps.witness import CONTEXT_VARIABLE
    from kdlandscape.sweeps.workspace import remove_leftovers

    work = tmp_path / ".work" / "abc"
    work.mkdir(parents=True)
    work.with_suffix(".lock").touch()
    environment = {**os.environ, CONTEXT_VARIABLE: str(work / "seed=0.json")}
    left = subprocess.Popen(["sleep", "300"], env=environment, start_new_session=True)
    other = subprocess.Popen(["sleep", "300"], env={**environment, CONTEXT_VARIABLE: str(tmp_path / "elsewhere.json")})
    try:
        remove_leftovers(tmp_path)
        assert left.wait(30) == -9
        assert other.poll() is None
        assert not Path(work).exists()
    finally:
        other.kill()
        other.wait()


OUTLIVES = """\
import os, signal, subprocess, sys, time
from pathlib import Path
import xarray as xr
from kdlandscape.sweeps.record import record
place, value = Path(folder), 1.0
result = xr.Dataset({"a": ((), value, {"long_name": "l", "units": "1"})})
orphan = '''
import os, sys, time
from pathlib import Path
import xarray as xr
from kdlandscape.sweeps.record import record
place = Path(sys.argv[1])
(place / "begun").touch()
while not (place / "second").exists():
    time.sleep(0.01)
os.environ["KDLANDSCAPE_RUN"] = sys.argv[2]
try:
    record(xr.Dataset({"a": ((), 2.0, {"long_name": "l", "units": "1"})}))
finally:
    (place / "recorded").touch()
'''
if not (place / "first").exists():
    (place / "first").touch()
    context = os.environ["KDLANDSCAPE_RUN"]
    clean = {name: text for name, text in os.environ.items() if name != "KDLANDSCAPE_RUN"}
    command = [sys.executable, "-c", orphan, str(place), context]
    subprocess.Popen(command, env=clean, start_new_session=True, cwd=place)
    while not (place / "begun").exists():
        time.sleep(0.01)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
(place / "second").touch()
while not (place / "recorded").exists():
    time.sleep(0.01)
record(result)
"""


def test_a_kernel_that_outlives_its_worker_for_a_moment_does_not_spoil_the_next_attempt(tmp_path):
    notebook = write_notebook(tmp_path / "n.ipynb", "seed: int = 0\nfolder: str = ''", OUTLIVES)
    spec = {"study": "s", "notebook": str(notebook), "grid": {"seed": [0]}, "parameters": {"folder": str(tmp_path)}}
    folder = run_study(spec, root=tmp_path, workers=1, progress=False)
    assert not [path.read_text() for path in (folder / "errors").iterdir()]
    with open_cube(folder) as cube:
        assert cube["a"].values.tolist() == [1.0]
    assert not list((folder / ".work").iterdir())
