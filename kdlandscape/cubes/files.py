"""Files that are whole or absent, whatever happens to the writer; without xarray, to read a study's state fast."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SEAL = b"kdlandscape sha256 "
_SEAL_SIZE = len(_SEAL) + 32
_ROOM = 1 << 18  # bytes that have to fit where the disk counts as not full


class DiskFullError(OSError):
    """There is no room for a file of a study."""

    def __init__(self, folder: Path | str):
        super().__init__(
            errno.ENOSPC,
            "expected room on the disk, got none; finished runs are kept: free some, then the same command goes on",
            str(folder),
        )


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success flush it to disk and rename it to ``path``.

    Raises
    ------
    DiskFullError
        Instead of any other error, if that happened because the disk is full.
    """
    path = Path(path)
    with told_if_full(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            with told_if_full(path.parent):  # while the unfinished file still takes the room
                yield temporary
                os.chmod(temporary, 0o666 & ~_umask())  # mkstemp lets nobody else read
                publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


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


def publish(temporary: Path, path: Path) -> None:
    """Flush a finished file to disk and rename it into place, on the same file system."""
    for target in (temporary, path.parent):
        if target is not temporary:
            os.replace(temporary, path)
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def seal(path: Path) -> None:
    """Append a checksum of a file to it; HDF5 ignores what comes after its own end."""
    digest = _digest(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(_SEAL + digest)


def intact(path: Path) -> bool:
    """Whether a file ends with the checksum of what comes before.

    HDF5 must not see any other file: it can return wrong numbers from a damaged one, or never return.
    """
    size = path.stat().st_size - _SEAL_SIZE
    if size < 0:
        return False
    with path.open("rb") as file:
        file.seek(size)
        seal = file.read()
    return seal[: len(_SEAL)] == _SEAL and seal[len(_SEAL) :] == _digest(path, size)


def unseal(path: Path) -> None:
    """Remove the checksum from the end of a file that is to be changed."""
    os.truncate(path, path.stat().st_size - _SEAL_SIZE)


def _digest(path: Path, size: int) -> bytes:
    """Return the checksum of the first ``size`` bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
    return digest.digest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_error(error: Mapping[str, Any], path: Path | str) -> None:
    """Write an error record as JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(error, indent=1, ensure_ascii=False), encoding="utf-8")


def read_error(path: Path | str) -> dict[str, Any]:
    """Return an error record; an unreadable one is an error record about itself."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        content = {"name": "UnreadableErrorRecord", "value": f"{Path(path).name}: {error}"}
    return content


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


def _finished(folder: Path, suffix: str) -> list[os.DirEntry]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [entry for entry in entries if entry.name.endswith(suffix) and not entry.name.startswith(".")]
