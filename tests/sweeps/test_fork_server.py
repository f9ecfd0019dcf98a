import json
import os
import signal
import subprocess
import sys

import nbformat
import numpy as np
import pytest

from kdlandscape.cubes.store import open_cube
from kdlandscape.sweeps import fork_server
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.fork_server import CannotForkError, ForkedKernel, ForkServerDiedError, import_statements
from kdlandscape.sweeps.study import run_study
from tests.tiny_study import write_notebook

PARAMETERS = "seed: int = 0\nmode: str = 'ok'"
IMPORTS = "import random\nimport numpy as np\nimport torch\nimport kdlandscape as kdl\nimport matplotlib.pyplot as plt"
BODY = """\
import os, sys
import xarray as xr
fresh = not hasattr(np, "mark") and "MARK" not in os.environ
np.mark, os.environ["MARK"] = 1, "1"
forked = "kdlandscape.sweeps.fork_server" in open("/proc/self/cmdline").read()
if mode == "kill kernel":
    os.kill(os.getpid(), 11)
draws = [random.random(), np.random.rand(), torch.rand(1).item()]
plt.plot([1, 2])
"""
RESULT = """\
label = {"long_name": "l", "units": "1"}
values = [*draws, fresh, forked, torch.get_num_threads(), torch.cuda.is_initialized()]
kdl.record(xr.Dataset({"value": ("x", np.array(values, float), label)}, {"x": range(7)}))
"""


@pytest.fixture(scope="module")
def warm_study(tmp_path_factory):
    place = tmp_path_factory.mktemp("warm")
    notebook = write_notebook(place / "n.ipynb", PARAMETERS, IMPORTS, BODY, RESULT)
    spec = {"study": "warm", "notebook": str(notebook), "grid": {"mode": ["kill kernel", "ok"], "seed": [0, 1]}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "2")
        return run_study(spec, root=place, workers=1, warm=True, progress=False)


class TestWarmRuns:
    def test_every_run_has_a_process_of_its_own_that_begins_as_a_new_interpreter_does(self, warm_study):
        with open_cube(warm_study) as cube:
            values = cube["value"].sel(mode="ok").values
        draws, fresh, forked, threads, cuda = np.split(values, [3, 4, 5, 6], axis=1)
        assert (draws[0] != draws[1]).all()
        assert fresh.all()
        assert forked.all()
        assert not cuda.any()
        assert threads.tolist() == [[2], [2]]

    def test_a_kernel_that_dies_is_told_as_for_cold_kernels_and_takes_nobody_along(self, warm_study):
        for path in (warm_study / "errors").iterdir():
            record = json.loads(path.read_text())
            assert record["name"] == "KernelDied"
            assert "Current thread" in record["traceback"]
        assert len(list((warm_study / "errors").iterdir())) == 2

    def test_figures_are_in_the_executed_notebook(self, warm_study):
        (executed,) = (warm_study / "runs").glob("mode=ok,seed=0*.ipynb")
        outputs = nbformat.read(executed, 4).cells[3].outputs
        assert any("image/png" in output.get("data", {}) for output in outputs)


def test_imports_that_leave_a_thread_are_refused_before_anything_is_forked(tmp_path, monkeypatch):
    (tmp_path / "threaded.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=[9]).start()"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    notebook = write_notebook(tmp_path / "n.ipynb", "seed: int = 0", "import threaded", "1")
    spec = {"study": "s", "notebook": str(notebook), "grid": {"seed": [0, 1]}}
    with pytest.raises(StudyError, match=r"warm: expected imports to leave one thread, .* got 2 .*leave out --warm"):
        run_study(spec, root=tmp_path, workers=1, warm=True, progress=False)
    assert not list((tmp_path / "s" / "errors").iterdir())


def test_cuda_in_the_parent_is_refused(monkeypatch):
    class Torch:
        class cuda:  # noqa: N801
            is_initialized = staticmethod(lambda: True)

    monkeypatch.setitem(sys.modules, "torch", Torch)
    monkeypatch.setattr(fork_server.Path, "glob", lambda *_: [fork_server.Path("/proc/self/comm")])
    assert "expected imports to leave CUDA alone" in fork_server._check_alone()


def test_warm_kernels_are_refused_where_a_process_cannot_be_held_by_a_handle(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(CannotForkError, match="expected Linux for warm kernels"):
        fork_server.ForkServer(tmp_path / "n.ipynb")


def test_imports_are_taken_from_cells_that_only_import_and_from_what_is_used_of_the_package(tmp_path):
    cells = (
        "%matplotlib inline\nimport torch",
        "import os\nx = 1",
        "kdl.figures.init_lambda(1)",
        "import kdlandscape as kdl",
    )
    found = import_statements(write_notebook(tmp_path / "n.ipynb", "a = 1", *cells, "this is no python"))
    assert found[len(fork_server._ALWAYS) :] == [
        "import torch",
        "import kdlandscape as kdl",
        "from kdlandscape import figures",
    ]


def test_a_handle_tells_that_a_process_ended_and_kills_it():
    for end in (ForkedKernel.kill, ForkedKernel.terminate):
        process = subprocess.Popen(["sleep", "30"])
        kernel = ForkedKernel(process.pid)
        assert kernel.poll() is None
        end(kernel)
        assert kernel.wait() == -1
        kernel.send_signal(signal.SIGTERM)  # nobody is hit
        assert process.wait() in (-signal.SIGKILL, -signal.SIGTERM)


def test_a_dead_fork_server_is_an_error_and_not_a_wait(tmp_path):
    server = fork_server.ForkServer(write_notebook(tmp_path / "n.ipynb", "a = 1", "import json"))
    assert server.fits(tmp_path / "n.ipynb")
    server._process.kill()
    server._process.wait()
    assert not server.fits(tmp_path / "n.ipynb")
    with pytest.raises(ForkServerDiedError, match="expected the fork server to live"):
        server.fork(["-f", "x"], {}, None, tmp_path / "log")
    server.end()
