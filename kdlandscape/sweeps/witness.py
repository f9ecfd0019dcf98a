"""What a run depends on, as its kernel sees it: the local modules and files that it read, and its computed defaults.

Python reports every file that it opens, also to import a module, so nothing has to be declared.  Not seen are files
that a library in C opens by itself, as netCDF, HDF5 and Arrow do, and those that another process opens.
"""

import hashlib
import json
import os
import re
import stat
import sys
import threading
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

CONTEXT_VARIABLE = "KDLANDSCAPE_RUN"  # names the file that tells a kernel about its run
_PROJECT = (".git", "pyproject.toml", "setup.py", "setup.cfg")  # one of these is in the folder of a project
_WHOLE = 1 << 28  # bytes up to which all of a file counts; of a larger one, blocks all over it
_BLOCK = 1 << 20
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Witness:
    """Sees what is read below a project's folder, from its beginning on.

    Parameters
    ----------
    folder
        The notebook's folder; the project is the folder above it with a repository or a package, or else itself.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._project = str(project_of(folder)) + os.sep
        self._outside = [f"{place}{os.sep}" for place in _not_of_the_user() if place]
        self._read: dict[str, str] = {}
        self._written: set[str] = set()
        self._seen: set[str] = set()
        self._thread = threading.local()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if event != "open" or not isinstance(arguments[0], str | bytes) or getattr(self._thread, "is_reading", False):
            return
        self._thread.is_reading = True  # what is opened here is not the run's
        try:
            self._note(os.path.abspath(os.fsdecode(arguments[0])), arguments[1], arguments[2])
        except Exception:
            pass
        finally:
            self._thread.is_reading = False

    def _note(self, path: str, mode: Any, flags: Any) -> None:
        if not path.startswith(self._project):
            return
        if any(letter in mode for letter in "wax+") if isinstance(mode, str) else int(flags or 0) & _WRITES:
            self._written.add(path)
        elif path not in self._seen:
            self._seen.add(path)
            source = source_from_cache(path) if path.endswith(".pyc") else path
            if self._counts(source):
                self._read[source] = file_digest(source)

    def _counts(self, path: str) -> bool:
        if any(path.startswith(place) for place in self._outside) or "/." in path[len(self._project) - 1 :]:
            return False
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        parents = Path(path).parents
        return not any((place / "spec.yaml").exists() and (place / "runs").is_dir() for place in parents)

    def inputs(self) -> dict[str, str]:
        """Return what was read and not written: path from the notebook's folder on -> hash of the content."""
        kept = sorted(path for path in self._read if path not in self._written)
        return {os.path.relpath(path, self._folder): self._read[path] for path in kept}


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
_defaults: dict[str, Any] = {}


def begin(folder: Path) -> None:
    """Have this process, and those that are forked from it, see what they read from now on."""
    global _here
    _here = Witness(folder)


def inputs() -> dict[str, str]:
    """Return what this process has read; nothing where nobody has looked."""
    return {} if _here is None else _here.inputs()


def watch_defaults(shell: Any, cell: str, names: list[str]) -> None:
    """Keep the values that a notebook's parameters cell computes, as soon as it has run."""

    def keep(result: Any) -> None:
        if result.info.raw_cell.strip() == cell.strip():
            _defaults.update({name: recordable(shell.user_ns[name]) for name in names if name in shell.user_ns})
            shell.events.unregister("post_run_cell", keep)

    shell.events.register("post_run_cell", keep)


def defaults() -> dict[str, Any]:
    """Return the values that the parameters cell has computed in this process."""
    return dict(_defaults)


def recordable(value: Any) -> Any:
    """Return a value as JSON can hold it: what it cannot hold as its ``repr``, without addresses."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return _ADDRESS.sub("", repr(value))[:1000]
    return value
