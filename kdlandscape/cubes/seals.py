"""Files that end with a checksum of what comes before: whoever reads one knows that it is as it was written."""

import hashlib
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from kdlandscape.cubes.clock_ahead import needing, place_of
from kdlandscape.cubes.files import READ_ONLY, write
from kdlandscape.cubes.locks import lock

T = TypeVar("T")
_SEAL = b"kdlandscape sha256 "
_SEAL_SIZE = len(_SEAL) + 32


class DamagedFileError(ValueError):
    """A file is not as this package wrote it."""

    def __init__(self, path: Path, advice: str = "") -> None:
        super().__init__(
            f"{path.name}: expected a file with its own checksum at the end, got one that is cut off, damaged or from "
            f"elsewhere{advice}"
        )


class DamagedCache(UserWarning):
    """A file of a cache was damaged, and is made again."""


def write_sealed(path: Path | str, fill: Callable[[Path], T]) -> T:
    """Write a file as `kdlandscape.cubes.files.write` does, and end it with a checksum.

    netCDF and HDF5 ignore what comes after their own end, so other programs can read such a file too.
    """

    def fill_and_seal(temporary: Path) -> T:
        result = fill(temporary)
        seal(temporary)
        return result

    return write(path, fill_and_seal)


def read_sealed(path: Path | str, advice: str = "") -> bytes:
    """Return what was written into a sealed file.

    Raises
    ------
    DamagedFileError
        If the file is not as it was written; ``advice`` ends the message.
    """
    content = Path(path).read_bytes()
    body, end = content[:-_SEAL_SIZE], content[-_SEAL_SIZE:]
    if end != _SEAL + hashlib.sha256(body).digest():
        raise DamagedFileError(Path(path), advice)
    return body


def check_seal(path: Path | str, advice: str = "") -> None:
    """Raise DamagedFileError unless a file is as it was written, without holding it in memory.

    HDF5 must not see any other file: it can return wrong numbers from a damaged one, or never return. It takes a second
    a GB.
    """
    path = Path(path)
    size = path.stat().st_size - _SEAL_SIZE
    if not has_seal(path) or _last(path)[len(_SEAL) :] != _digest(path, size):
        raise DamagedFileError(path, advice)


def has_seal(path: Path) -> bool:
    """Whether a file ends with a checksum, right or wrong."""
    return path.stat().st_size >= _SEAL_SIZE and _last(path).startswith(_SEAL)


def seal(path: Path) -> None:
    """Append a checksum of a file to it."""
    digest = _digest(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(_SEAL + digest)


def unseal(path: Path) -> None:
    """Remove the checksum from the end of a file that is to be changed."""
    os.truncate(path, path.stat().st_size - _SEAL_SIZE)


def cache_folder() -> Path:
    """Return the folder for generated data and trained teachers: $KDLANDSCAPE_CACHE, else ~/.cache/kdlandscape."""
    return Path(os.environ.get("KDLANDSCAPE_CACHE", Path.home() / ".cache" / "kdlandscape"))


def cached(path: Path, make: Callable[[BinaryIO], object]) -> bytes:
    """Return the content of a file of a cache, made by the first who wants it while others wait.

    A damaged file is made again. Where the cache cannot be written, the content is made and not kept. A trial reads
    what is kept, and keeps what it makes in its own folder.

    Parameters
    ----------
    path
        The file; its folder is made.
    make
        Writes the content into an open file.
    """
    if (content := _kept(path)) is not None:
        return content
    path = place_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with needing(path) as begin, lock(path.with_name(f"{path.name}.lock")):
            content = _kept(path)
            if content is None:
                begin()
                content = _made(make)
                write_sealed(path, lambda temporary: temporary.write_bytes(content))
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        warnings.warn(f"{path.parent}: the cache cannot be written ({error.strerror})", UserWarning, stacklevel=2)
    return _made(make) if content is None else content


def _made(make: Callable[[BinaryIO], object]) -> bytes:
    buffer = io.BytesIO()
    make(buffer)
    return buffer.getvalue()


def _kept(path: Path) -> bytes | None:
    try:
        return read_sealed(path)
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        warnings.warn(f"{error}; it is made again", DamagedCache, stacklevel=3)
        return None


def _last(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-_SEAL_SIZE, os.SEEK_END)
        return file.read()


def _digest(path: Path, size: int) -> bytes:
    """Return the checksum of the first ``size`` bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
    return digest.digest()
