"""Engines take jobs and yield outcomes.  The local one keeps persistent worker processes and survives their death.

Workers are fresh interpreters, as with multiprocessing's spawn method, but started by ``python -m``: spawn would import
the user's main script again, and fail where that has no ``__main__`` guard.  Run as a module this file is a worker.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from kdlandscape.sweeps.execute import Job, Outcome, execute, lost

RETRIES = 2
_TICK = 0.5  # seconds between looks at the clock
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Worker:
    process: subprocess.Popen
    connection: Connection
    job: Job | None = None
    since: float = field(default_factory=time.monotonic)

    def give(self, job: Job) -> None:
        self.job, self.since = job, time.monotonic()
        with contextlib.suppress(OSError):  # it died while idle; receiving will notice
            self.connection.send(job)

    def end(self) -> None:
        self.process.kill()  # its kernel dies with it
        self.process.wait()
        self.connection.close()


def _environment(threads: int) -> dict[str, str]:
    """Divide the cores among the workers; what the user has set stays."""
    return {**dict.fromkeys(_THREADS, str(threads)), **os.environ}


def _start(threads: int) -> _Worker:
    ours, theirs = Pipe()
    number = str(theirs.fileno())
    command = [sys.executable, "-m", "kdlandscape.sweeps.engines", number, str(os.getpid())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=_environment(threads), stdin=subprocess.DEVNULL)
    theirs.close()
    return _Worker(process, ours)


def local(
    jobs: Iterable[Job], *, workers: int | None = None, time_limit: float | None = None
) -> Generator[Outcome | None]:
    """Execute jobs in worker processes on this machine.

    Parameters
    ----------
    jobs
        What to execute, in this order.
    workers
        Number of processes; default: one for each usable core.
    time_limit
        Seconds after which a run is stopped and counts as failed; default: never.

    Yields
    ------
    Outcome or None
        One outcome for each job, as they come; None about twice a second when there is nothing new.  A job whose
        process died is tried again, at most twice.  Closing the generator ends all workers and their kernels.
    """
    queue = deque((job, 0) for job in jobs)
    count = max(1, min(workers or usable_cores(), len(queue)))
    threads = max(1, usable_cores() // count)
    tries: dict[str, int] = {}
    crew: list[_Worker] = []
    try:
        while queue or any(worker.job for worker in crew):
            while queue and len(crew) < count:
                crew.append(_start(threads))
            for worker in crew:
                if worker.job is None and queue:
                    job, tries[job.run.id] = queue.popleft()
                    worker.give(job)
            quiet = True
            for worker in _ready(crew, time_limit):
                outcome = _collect(worker, time_limit)
                if outcome.lost and worker.process.poll() is not None:
                    crew.remove(worker)
                if (
                    outcome.lost
                    and (outcome.error or {})["name"] != "TimeLimit"
                    and tries[outcome.job.run.id] < RETRIES
                ):
                    queue.append((outcome.job, tries[outcome.job.run.id] + 1))
                    continue
                quiet = False
                yield outcome
            if quiet:
                yield None
    finally:
        for worker in crew:
            worker.end()


def _ready(crew: list[_Worker], time_limit: float | None) -> list[_Worker]:
    """Wait a little for workers that have answered, died or run out of time."""
    busy = {worker.connection: worker for worker in crew if worker.job}
    answered = [busy[connection] for connection in wait(list(busy), timeout=_TICK)]  # type: ignore[index]
    return answered or [worker for worker in busy.values() if _late(worker, time_limit)]


def _late(worker: _Worker, time_limit: float | None) -> bool:
    return time_limit is not None and time.monotonic() - worker.since > time_limit


def _collect(worker: _Worker, time_limit: float | None) -> Outcome:
    """Return what became of a worker's job; a worker that is dead or late is ended."""
    job, worker.job = worker.job, None
    assert job is not None
    if not worker.connection.poll():
        worker.end()
        return lost(job, "TimeLimit", f"expected the run to end within {time_limit:g} seconds; it was stopped")
    try:
        return worker.connection.recv()
    except (EOFError, OSError):
        worker.end()
        code = worker.process.returncode
        cause = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return lost(job, "WorkerDied", f"expected the worker process to live until its run ended, got {cause}")


def serve(number: int, parent: int) -> None:
    """Be a worker: execute the jobs that come through a connection until it closes."""
    from kdlandscape.sweeps.kernels import die_with

    die_with(parent)
    # Ctrl-C reaches the whole process group, and the driver decides; a handler, unlike SIG_IGN, is not inherited
    signal.signal(signal.SIGINT, lambda *_: None)
    connection = Connection(number)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(execute(job))


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
