"""Files that are whole or absent, whatever happens to the writer; without xarray, to read a study's state fast."""

import errno
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from kdlandscape.cubes.locks import lock, tell_once

T = TypeVar("T")
_FULL = (errno.ENOSPC, errno.EDQUOT)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_PASSING = (errno.EIO, errno.EAGAIN, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT)  # of a network's file system
_PAUSES = (0.05, 0.2, 1.0)  # seconds before each further attempt
_NO_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES)
_ROOM = 1 << 18  # bytes that have to fit where the disk counts as not full


class DiskFullError(OSError):
    """There is no room for a file of a study."""

    def __init__(self, folder: Path | str):
        super().__init__(
            errno.ENOSPC,
            "expected room on the disk, got none; finished runs are kept: free some, then the same command goes on",
            str(folder),
        )


def write(path: Path | str, fill: Callable[[Path], T]) -> T:
    """Write a file that is whole or absent at any time: under a temporary name, flushed to disk, then renamed.

    The result is that of ``fill``.

    Parameters
    ----------
    path
        The file; its folder is made.
    fill
        Writes the content to the temporary path it is given, which ends with the file's name. It is called again
        after an error that may pass.

    Raises
    ------
    DiskFullError
        Instead of any other error, if that happened because the disk is full.
    """
    path = Path(path)

    def attempt() -> T:
        with scratch(path.parent) as place, told_if_full(path.parent):  # while the unfinished file takes the room
            result = fill(place / path.name)
            publish(place / path.name, path)
            return result

    with told_if_full(path.parent):
        return _patiently(attempt)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Yield a new hidden folder in ``folder`` for unfinished files; a lock tells it from what is left over."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    place = Path(folder) / f".tmp-{uuid.uuid4().hex[:12]}"
    with lock(place.with_suffix(".lock")):
        place.mkdir()
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


def leftovers(folder: Path) -> list[Path]:
    """Remove the unfinished files of writers that are gone, and return them."""
    removed: list[Path] = []
    for name in sorted({entry.name.split(".")[1] for entry in folder.glob(".tmp-*")}):
        own = folder / f".{name}.lock"
        with suppress(OSError), lock(own, wait=False) as ours:  # a folder that cannot be written has none
            found = [entry for entry in folder.glob(f".{name}*") if not entry.name.startswith(own.name)] if ours else []
            for entry in found:
                remove(entry)
            removed += found
    return removed


def remove(path: Path) -> None:
    """Remove whatever is at a path: a file, a folder with all in it, a link, a pipe; nothing is fine too."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def publish(temporary: Path, path: Path) -> None:
    """Flush a finished file to disk and rename it into place, on the same file system."""

    def attempt() -> None:
        if temporary.exists():
            _flush(temporary)
            os.replace(temporary, path)
        _flush(path.parent)

    def write_again() -> None:  # a failed flush may have dropped the bytes that it did not write
        if temporary.exists():
            copy = temporary.with_name(f"{temporary.name}.again")
            shutil.copyfile(temporary, copy)
            os.replace(copy, temporary)

    _patiently(attempt, write_again)


def _patiently(attempt: Callable[[], T], repair: Callable[[], None] = lambda: None) -> T:
    """Do something that writes, again after an error of the kind that passes."""
    for pause in _PAUSES:
        try:
            return attempt()
        except (OSError, RuntimeError) as error:
            if not _may_pass(error):
                raise
        time.sleep(pause)
        with suppress(OSError):
            repair()
    return attempt()


def _may_pass(error: OSError | RuntimeError) -> bool:
    """Whether an error may be gone at the next attempt; netCDF has negative numbers, or none, for those of its own."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return error.errno in _PASSING
    return "NetCDF" in str(error)


def _flush(path: Path) -> None:
    """Have the operating system write a file, or the names in a folder, to the disk, where it can."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise
        kind = "folders" if path.is_dir() else "files"
        tell_once(kind, f"{path}: this file system cannot flush {kind} ({error.strerror}); a power cut may lose some")


@contextmanager
def told_if_full(folder: Path) -> Iterator[None]:
    """Turn an error into DiskFullError if the disk of ``folder`` is full: HDF5 says no more than "HDF error" then."""
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if is_full(folder, error):
            raise DiskFullError(folder) from error
        raise


def is_full(folder: Path, error: BaseException | None = None) -> bool:
    """Whether an error says that a disk is full, or a small file does not fit into ``folder``."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    probe = None
    try:
        handle, name = tempfile.mkstemp(dir=folder, prefix=".tmp-", suffix=".probe")
        probe = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(bytes(_ROOM))
            file.flush()
            os.fsync(handle)
    except OSError as failure:
        return failure.errno in _FULL
    finally:
        if probe is not None:
            with suppress(OSError):
                probe.unlink()
    return False


def write_error(error: Mapping[str, Any], path: Path | str) -> None:
    """Write an error record as JSON."""
    text = json.dumps(error, indent=1, ensure_ascii=False)
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_error(path: Path | str) -> dict[str, Any]:
    """Return an error record; an unreadable one is an error record about itself."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if isinstance(content, dict) and {"name", "value"} <= content.keys():
            return content
        problem = f"expected a name and a value, got {type(content).__name__}"
    except (OSError, ValueError, RecursionError) as error:
        problem = str(error)
    return {"name": "UnreadableErrorRecord", "value": f"{Path(path).name}: {problem}"}


def names(folder: Path, suffix: str) -> set[str]:
    """Return the names, without ``suffix``, of the finished files of a folder that end with it."""
    return {entry.name.removesuffix(suffix) for entry in _finished(folder, suffix)}


def stamps(folder: Path, suffix: str) -> dict[str, tuple[int, int]]:
    """Return size and time of change of the finished files of a folder that end with ``suffix``, by name."""
    found = {}
    for entry in _finished(folder, suffix):
        facts = entry.stat()
        found[entry.name] = (facts.st_size, facts.st_mtime_ns)
    return found


def odd_entries(folder: Path, suffix: str) -> list[str]:
    """Say which entries of a folder stand where a finished file should, and are none: they count as not there."""
    found = []
    for entry in _entries(folder, suffix):
        if not _is_file(entry):
            what = "a link to nothing" if entry.is_symlink() else "a folder" if entry.is_dir() else "no regular file"
            way = "get what it stands for" if entry.is_symlink() else "remove it"
            found.append(f"{entry.name}: expected a file, got {what}; {way}, or the run counts as missing")
    return sorted(found)


def _finished(folder: Path, suffix: str) -> list[os.DirEntry]:
    return [entry for entry in _entries(folder, suffix) if _is_file(entry)]


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def _entries(folder: Path, suffix: str) -> list[os.DirEntry]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [entry for entry in entries if entry.name.endswith(suffix) and not entry.name.startswith(".")]
