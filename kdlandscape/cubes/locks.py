"""Locks between processes: they end with their holder, and need no more than a file system that can make a file."""

import errno
import fcntl
import os
import socket
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_POLL = 0.1  # seconds between two looks at a lock that has to be polled
_TOLD = "KDLANDSCAPE_TOLD"  # what this process, or one that started it, has warned of


class LesserFileSystem(UserWarning):
    """A file system cannot do what a study likes to rely on; the study works all the same."""


def tell_once(subject: str, message: str) -> None:
    """Warn of a file system's shortcoming once in a process and in all that it starts."""
    told = os.environ.get(_TOLD, "").split()
    if subject not in told:
        os.environ[_TOLD] = " ".join([*told, subject])
        warnings.warn(message, LesserFileSystem, stacklevel=2)


@contextmanager
def lock(path: Path | str, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file; the lock ends with this process, however that ends.

    The file is removed at the end, so nothing is left over. Where the file system knows no locks, a file beside it
    names the holder, and a holder on this machine that is gone holds nothing.

    Parameters
    ----------
    path
        The lock file, in a folder that exists.
    wait
        Whether to wait for another holder; otherwise the value is False where there is one.
    """
    path = Path(path)
    try:
        held = _hard(path, wait)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        tell_once("locks", f"{path.parent}: this file system has no locks ({error.strerror}); files stand in for them")
        with _soft(_held(path), wait) as ours:
            yield ours
            if ours:
                path.unlink(missing_ok=True)
        return
    if held is None:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(held)


def foreign_holder(path: Path) -> tuple[str, Path] | None:
    """Return who holds a lock on another machine, and the file that stands in for the lock there and outlives them."""
    try:
        host, pid, _ = _held(path).read_text(encoding="utf-8").split(" ", 2)
    except (OSError, ValueError):
        return None
    return None if host == socket.gethostname() else (f"process {pid} on {host}", _held(path))


def _held(path: Path) -> Path:
    return path.with_name(f"{path.name}.held")


def _hard(path: Path, wait: bool) -> int | None:
    """Return the descriptor of a locked file; None if another process holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_at(path, descriptor):  # and was not removed by the holder before
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def _soft(path: Path, wait: bool) -> Iterator[bool]:
    own = f"{socket.gethostname()} {os.getpid()} {_born(os.getpid())}"
    while not _claimed(path, own):
        if _is_gone(path):
            aside = path.with_name(f"{path.name}-{uuid.uuid4().hex[:8]}")
            with suppress(OSError):
                os.rename(path, aside)  # of several that see this, one moves it
                aside.unlink()
        elif wait:
            time.sleep(_POLL)
        else:
            yield False
            return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)


def _claimed(path: Path, own: str) -> bool:
    """Make the file of a holder, whole or not at all."""
    draft = path.with_name(f"{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        draft.write_text(own, encoding="utf-8")
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        except OSError:  # no links either
            try:
                with path.open("x", encoding="utf-8") as file:
                    file.write(own)
            except FileExistsError:
                return False
        return True
    finally:
        draft.unlink(missing_ok=True)


def _is_gone(path: Path) -> bool:
    """Whether the holder that a file names was a process of this machine and has ended."""
    try:
        host, pid, born = path.read_text(encoding="utf-8").split(" ", 2)
    except (OSError, ValueError):
        return False
    return host == socket.gethostname() and born != _born(int(pid))


def _born(pid: int) -> str:
    """Return when a process began, as this machine counts; an empty text if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "?"
