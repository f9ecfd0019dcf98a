"""Warm kernels: a process that has done a notebook's imports, and forks a kernel for each run.

Every run still has a process of its own, and no run sees another's state.  Nothing but imports happens before the
fork, on one thread and without CUDA, because neither other threads nor a CUDA context survive it.  Run as a module
this file is the fork server.
"""

import ast
import gc
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import xarray as xr

from kdlandscape.cubes.provenance import package_versions
from kdlandscape.sweeps.kernel import import_from_here, launch
from kdlandscape.sweeps.notebook import code_cells, python_of
from kdlandscape.sweeps.processes import THREADS, can_fork, die_with
from kdlandscape.sweeps.witness import CONTEXT_VARIABLE, begin

_ALWAYS = (
    "import ipykernel.kernelapp, ipykernel.ipkernel, ipykernel.zmqshell",
    "import kdlandscape.sweeps.record",
)


class CannotForkError(RuntimeError):
    """Kernels cannot be forked after this notebook's imports."""


def import_statements(notebook: Path) -> list[str]:
    """Return the imports of a notebook: of its cells that do nothing else, and what it takes from ``kdlandscape``."""
    statements = list(_ALWAYS)
    trees = []
    for cell in code_cells(notebook):
        try:
            trees.append(ast.parse(python_of(cell["source"])))
        except SyntaxError:  # the run will say so
            continue
    for tree in trees:
        if all(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body):
            statements += [ast.unparse(node) for node in tree.body]
    names = {
        alias.asname or alias.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "kdlandscape"
    }
    used = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names
    }
    # the package imports its parts on first use
    return statements + [f"from kdlandscape import {name}" for name in sorted(used)]


class ForkServerDiedError(RuntimeError):
    """The fork server was killed; another one may live."""


class ForkServer:
    """The fork server of one worker, as the worker sees it."""

    def __init__(self, notebook: Path):
        if not can_fork():
            raise CannotForkError(f"expected Linux for warm kernels, got {sys.platform}; leave out --warm")
        self._notebook = notebook
        ours, theirs = Pipe()
        number = str(theirs.fileno())
        command = [
            sys.executable,
            "-P",
            "-m",
            "kdlandscape.sweeps.fork_server",
            number,
            str(os.getpid()),
            str(notebook),
        ]
        environment = {
            # no run's mark, because it serves many
            **{name: value for name, value in os.environ.items() if name != CONTEXT_VARIABLE},
            **dict.fromkeys(THREADS, "1"),
            "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pyarrow's allocator starts a thread on import
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # torch.cuda.is_available() without a CUDA context
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # as in a kernel, where matplotlib comes later
        }
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=environment, cwd=notebook.parent, stdin=quiet, stdout=quiet
        )
        theirs.close()
        self._connection = ours
        problem = self._receive()
        if problem:
            self.end()
            raise CannotForkError(problem)

    def fits(self, notebook: Path) -> bool:
        """Whether kernels for a notebook can come from here."""
        return notebook == self._notebook and self._process.poll() is None

    def fork(self, arguments: list[str], environment: dict[str, str], folder: str | None, log: Path) -> "ForkedKernel":
        """Fork a kernel; its streams are appended to the file ``log``."""
        try:
            self._connection.send((arguments, environment, folder, str(log)))
        except OSError as error:
            raise ForkServerDiedError(f"expected the fork server to live, but it died ({error})") from error
        return ForkedKernel(self._receive())

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError) as error:
            code = self._process.wait()
            raise ForkServerDiedError(f"expected the fork server to live, got exit status {code}") from error

    def end(self) -> None:
        """End the server and its kernels."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


class ForkedKernel:
    """What a kernel manager needs of a process; it is no child of this one, so its exit status stays unknown."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int):
        self.pid = pid
        self.returncode: int | None = None
        self._handle = os.pidfd_open(pid)  # the server reaps it only at the next fork, so the number is still its own

    def poll(self) -> int | None:
        """Return None while the process lives."""
        if self.returncode is None and select.select([self._handle], [], [], 0)[0]:
            os.close(self._handle)
            self.returncode = -1
        return self.returncode

    def wait(self) -> int | None:
        """Wait until the process has ended."""
        if self.returncode is None:
            select.select([self._handle], [], [])
        return self.poll()

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)


def _check_alone() -> str:
    """Return why this process must not be forked, or an empty string."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    torch = sys.modules.get("torch")
    if len(names) != 1:
        return (
            f"expected imports to leave one thread, because others do not survive a fork, got {len(names)} "
            f"({', '.join(names)}); leave out --warm, or import what starts them in a cell that does more than import"
        )
    if torch is not None and torch.cuda.is_initialized():
        return "expected imports to leave CUDA alone, because it does not survive a fork; leave out --warm"
    return ""


def serve(number: int, parent: int, notebook: Path) -> None:
    """Be the fork server: import, then fork a kernel for every request until the connection closes."""
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(number)
    statements = import_statements(notebook)
    import_from_here()
    begin(notebook.parent)
    for statement in statements:
        try:
            exec(statement, {"__name__": "kdlandscape_fork_server"})
        except Exception:  # in its cell it fails again, and the run's error record says how
            continue
    _rehearse()
    gc.freeze()  # a collection would otherwise copy every page that it touches
    connection.send(_check_alone())
    own = os.getpid()
    for request in _requests(connection):
        pid = os.fork()
        if pid == 0:
            try:
                connection.close()
                _become_kernel(own, *request)
            finally:
                os._exit(0)
        connection.send(pid)


def _rehearse() -> None:
    """Do once what ``record`` does first in every run: find xarray's backends, read package versions, lay out HTML."""
    from kdlandscape.cubes.store import write_run

    package_versions()
    dataset = xr.Dataset({"a": ("x", [0.0])}, {"x": ["b"]})
    with tempfile.TemporaryDirectory(prefix="kdl-") as folder:
        write_run(dataset, Path(folder) / "a.nc")
    dataset._repr_html_()


def _requests(connection: Connection) -> Iterator[tuple]:
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        _reap()
        yield request


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _become_kernel(server: int, arguments: list[str], environment: dict[str, str], folder: str, log: str) -> None:
    os.setsid()
    die_with(server)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stream = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.close(stream)
    if folder:
        os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    _reseed()
    _set_threads(int(environment.get(THREADS[0]) or 1))
    launch([*arguments, f"--IPKernelApp.parent_handle={server}"])


def _reseed() -> None:
    """Seed every global generator from entropy, as a new interpreter does."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].seed()


def _set_threads(threads: int) -> None:
    """Undo the single thread of the imports, in the libraries that have read the environment already."""
    if threads > 1:
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
