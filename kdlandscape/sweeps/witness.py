"""What a kernel sees of its run: the local modules and files that Python opens, and the defaults that it computes.

Python reports every file that it opens, also to import a module, so nothing has to be declared.  Processes that are
forked from the kernel, as workers that load data, tell it what they open.
"""

import hashlib
import json
import os
import re
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

CONTEXT_VARIABLE = "KDLANDSCAPE_RUN"  # names the file that tells a kernel about its run
_PROJECT = (".git", "pyproject.toml", "setup.py", "setup.cfg")  # one of these is in the folder of a project
_WHOLE = 1 << 28  # bytes up to which all of a file counts; of a larger one, blocks all over it
_BLOCK = 1 << 20
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Witness:
    """Sees what is read below a project's folder, from its beginning on.

    Parameters
    ----------
    folder
        The notebook's folder; the project is the folder above it with a repository or a package, or else itself.

    Attributes
    ----------
    commands
        The command lines of other processes that were started, as ``repr`` shows them.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._project = str(project_of(folder)) + os.sep
        self._outside = [f"{place}{os.sep}" for place in _not_of_the_user() if place]
        self._read: dict[str, str] = {}
        self._written: set[str] = set()
        self._seen: set[str] = set()
        self.commands: list[str] = []
        self._pid = os.getpid()
        self._of_forks: Any = None
        self._thread = threading.local()
        sys.addaudithook(self._hear)

    def settle(self) -> None:
        """Make this process the one whose reading counts, and hear those that are forked from it from now on."""
        self._pid = os.getpid()
        self._of_forks = tempfile.TemporaryFile("a+b", buffering=0)  # noqa: SIM115 - as long as the process

    def _hear(self, event: str, arguments: tuple) -> None:
        if event in _STARTS:
            self.commands.append(repr(arguments))
        if event != "open" or not isinstance(arguments[0], str | bytes) or getattr(self._thread, "is_reading", False):
            return
        with self.aside(), suppress(Exception):
            self._note(os.path.abspath(os.fsdecode(arguments[0])), arguments[1], arguments[2])

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Do not count what this thread opens meanwhile: it is not the run that reads."""
        self._thread.is_reading = True
        try:
            yield
        finally:
            self._thread.is_reading = False

    def _note(self, path: str, mode: Any, flags: Any) -> None:
        if not path.startswith(self._project):
            return
        if any(letter in mode for letter in "wax+") if isinstance(mode, str) else int(flags or 0) & _WRITES:
            self._keep(path, None)
        elif path not in self._seen:
            self._seen.add(path)
            source = source_from_cache(path) if path.endswith(".pyc") else path
            if self._counts(source):
                self._keep(source, file_digest(source))

    def _keep(self, path: str, digest: str | None) -> None:
        if os.getpid() != self._pid and self._of_forks is not None:
            self._of_forks.write(json.dumps([path, digest]).encode() + b"\n")
        elif digest is None:
            self._written.add(path)
        else:
            self._read[path] = digest

    def _hear_forks(self) -> None:
        if self._of_forks is not None:
            self._of_forks.seek(0)
            for line in self._of_forks.read().splitlines():
                self._keep(*json.loads(line))

    def _counts(self, path: str) -> bool:
        if any(path.startswith(place) for place in self._outside) or "/." in path[len(self._project) - 1 :]:
            return False
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        parents = Path(path).parents
        return not any((place / "spec.yaml").exists() and (place / "runs").is_dir() for place in parents)

    def read(self) -> dict[str, str]:
        """Return what Python has read and not written: path -> hash of the content."""
        self._hear_forks()
        return {path: self._read[path] for path in self._read if path not in self._written}

    def modules(self) -> list[Path]:
        """Return the local modules among them."""
        return [Path(path) for path in self.read() if path.endswith(".py")]

    def is_input(self, path: str, before: float) -> bool:
        """Whether a file that was not seen to be read may have been, as far as its place and its time tell."""
        try:
            is_old = os.stat(path).st_mtime < before
            return is_old and path.startswith(self._project) and path not in self._written and self._counts(path)
        except OSError:
            return False


def project_of(folder: Path) -> Path:
    """Return the folder of the project that a notebook's folder belongs to."""
    return next(
        (place for place in (folder, *folder.parents) if any((place / one).exists() for one in _PROJECT)), folder
    )


def _not_of_the_user() -> list[str]:
    package = Path(__file__).resolve().parents[1]
    cache = os.environ.get("KDLANDSCAPE_CACHE")
    return [str(package), sys.prefix, sys.base_prefix, os.path.abspath(cache) if cache else ""]


def file_digest(path: Path | str) -> str:
    """Return 64 bits, as 16 hexadecimal digits, of a file's content; of a large file its size and 64 blocks count."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _WHOLE:
            digest.update(str(size).encode())
            for i in range(64):
                file.seek(i * (size - _BLOCK) // 63)
                digest.update(file.read(_BLOCK))
        else:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()[:16]


_here: Witness | None = None
_shell: Any = None
_defaults: dict[str, Any] = {}


def begin(folder: Path) -> None:
    """Have this process, and those that are forked from it, see what they read from now on."""
    global _here
    _here = Witness(folder)


def settle() -> None:
    """Have this process, and no longer the one that it was forked from, be the one whose reading counts."""
    if _here is not None:
        _here.settle()


def here() -> Witness | None:
    """Return who sees what this process reads; None where nobody does."""
    return _here


def watch_defaults(shell: Any, cell: str, names: list[str]) -> None:
    """Keep the values that a notebook's parameters cell computes, as soon as it has run, and the code of all cells."""
    global _shell
    _shell = shell

    def keep(result: Any) -> None:
        if result.info.raw_cell.strip() == cell.strip():
            _defaults.update({name: recordable(shell.user_ns[name]) for name in names if name in shell.user_ns})
            shell.events.unregister("post_run_cell", keep)

    shell.events.register("post_run_cell", keep)


def defaults() -> dict[str, Any]:
    """Return the values that the parameters cell has computed in this process."""
    return dict(_defaults)


def cells() -> list[str]:
    """Return the code of the cells that have run in this process, injected parameters too."""
    return [] if _shell is None else list(_shell.user_ns["In"])


def recordable(value: Any) -> Any:
    """Return a value as JSON can hold it: what it cannot hold as its ``repr``, without addresses."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return _ADDRESS.sub("", repr(value))[:1000]
    return value
