"""Engines take jobs and yield outcomes.  The local one keeps persistent worker processes and survives their death.

An engine is a function of jobs that yields an Outcome for each of them, as they come, and about twice a second, when
there is nothing new, the number of runs that are being executed.  Closing it ends everything that it has started.
"""

from collections import deque
from collections.abc import Generator, Iterable
from multiprocessing.connection import wait

from kdlandscape.sweeps.job import Job, Outcome
from kdlandscape.sweeps.processes import default_workers, environments
from kdlandscape.sweeps.workers import TICK, Worker

RETRIES = 2


def local(
    jobs: Iterable[Job], *, workers: int | None = None, time_limit: float | None = None
) -> Generator[Outcome | int]:
    """Execute jobs in worker processes on this machine.

    Parameters
    ----------
    jobs
        What to execute, in this order.
    workers
        Number of processes; default: one for each usable GPU, or else for each usable core.
    time_limit
        Seconds after which a run is stopped and counts as failed; default: never.

    Yields
    ------
    Outcome or int
        One outcome for each job, as they come, and the number of running ones when there is nothing new.  A job whose
        process died is tried again, at most twice.
    """
    queue = deque(jobs)
    places = environments(max(1, min(workers or default_workers(), len(queue))))
    deaths: dict[str, int] = {}
    crew: dict[int, Worker] = {}
    try:
        while queue or any(worker.job for worker in crew.values()):
            for place, environment in enumerate(places):
                if queue and (place not in crew or crew[place].job is None):
                    if place not in crew:
                        crew[place] = Worker(environment, place)
                    crew[place].give(queue.popleft())
            ready = _ready(crew.values(), time_limit)
            for worker in ready:
                outcome = worker.collect(time_limit)
                if not worker.alive:
                    del crew[worker.place]
                if _again(outcome, deaths):
                    queue.append(outcome.job)
                else:
                    yield outcome
            if not ready:
                yield sum(worker.job is not None for worker in crew.values())
    finally:
        for worker in crew.values():
            worker.end()


def _ready(crew: Iterable[Worker], time_limit: float | None) -> list[Worker]:
    """Wait a little for workers that have answered, died or run out of time."""
    busy = {worker.connection: worker for worker in crew if worker.job}
    answered = [busy[connection] for connection in wait(list(busy), timeout=TICK)]  # type: ignore[index]
    return answered or [worker for worker in busy.values() if worker.late(time_limit)]


def _again(outcome: Outcome, deaths: dict[str, int]) -> bool:
    """Whether to try a job once more, because a process died under it that may live the next time."""
    if not outcome.lost or (outcome.error or {})["name"] == "TimeLimit":
        return False
    name = outcome.job.run.id
    deaths[name] = deaths.get(name, 0) + 1
    return deaths[name] <= RETRIES
