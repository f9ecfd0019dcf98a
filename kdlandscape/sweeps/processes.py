"""What belongs to a worker process: its life, its share of the cores, its GPU."""

import ctypes
import errno
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
GPUS = "CUDA_VISIBLE_DEVICES"
_SHARE = "KDLANDSCAPE_THREADS"  # the number of threads that a sweep gave, which no user has set


def die_with(parent: int) -> None:
    """Have the operating system kill this process when its parent ends, however that ends; exit if it has."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the request was made
        os._exit(1)


def end_marked(mark: str, session: int | None = None) -> None:
    """Kill processes that have a text in the environment they were started with, or belong to a session.

    This is how what a run has started ends with it, even where it has left the run's process group.
    """
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            its_session = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[3])
            if its_session == session or mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except (OSError, ValueError, IndexError):  # it has ended, or is another user's
            continue
    for pid in found:
        if pid != os.getpid():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def is_out_of_descriptors(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that no more files can be open."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__cause__ or error.__context__
    return False


def usable_cores() -> int:
    """Return the number of cores that this process may use, by its affinity and its container's quota."""
    import joblib

    return joblib.cpu_count()


def usable_gpus() -> list[str]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = os.environ.get(GPUS)
    if named is None:
        drivers = Path("/proc/driver/nvidia/gpus")
        return [str(i) for i in range(len(list(drivers.iterdir())))] if drivers.is_dir() else []
    gpus = []
    for name in named.split(","):
        if name.strip() in ("", "-1"):  # CUDA ignores what comes after an invalid entry
            break
        gpus.append(name.strip())
    return gpus


def default_workers() -> int:
    """Return the number of workers: one for each usable GPU, or else one for each usable core."""
    return len(usable_gpus()) or usable_cores()


def environments(count: int) -> list[dict[str, str]]:
    """Return what each of ``count`` workers on this machine finds in its environment: its cores and its GPU.

    Cores are divided, unless the user has set the number of threads; a GPU is shared only if there are more workers.
    A study that is run inside a run of another divides anew.
    """
    gpus = usable_gpus()
    share = str(max(1, usable_cores() // count))
    # torch prefers MKL's number to OpenMP's, so the one that the user has set holds for all
    numbers = {name: os.environ.get(name) for name in THREADS}
    chosen = {name: number for name, number in numbers.items() if number and number != os.environ.get(_SHARE)}
    threads = next(iter(chosen.values()), share)
    own = {name: chosen.get(name, threads) for name in THREADS} | ({} if chosen else {_SHARE: share})
    return [own | ({GPUS: gpus[i % len(gpus)]} if gpus else {}) for i in range(count)]


def can_fork() -> bool:
    """Tell whether this system can run warm kernels: they are followed by process descriptors, which Linux has."""
    return hasattr(os, "pidfd_open")
