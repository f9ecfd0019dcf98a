"""The loop of a driver: what an engine reports is filed, what others are executing is waited for, the cube follows."""

import time
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, suppress
from pathlib import Path

from kdlandscape.cubes.files import DiskFullError, write_error
from kdlandscape.cubes.locks import foreign_holder, lock, tell_once
from kdlandscape.cubes.store import CubeError, compact
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.execute import OUT_OF_DESCRIPTORS, settled
from kdlandscape.sweeps.job import Job, Outcome
from kdlandscape.sweeps.processes import is_out_of_descriptors
from kdlandscape.sweeps.progress import Progress

Engine = Callable[[Iterable[Job]], Generator[Outcome | int]]
Look = Callable[[Outcome], None]
_LOOK, _LONGEST_LOOK = 0.5, 8.0  # seconds between looks at what another driver is executing
_REFRESH = 30.0  # seconds; the cube is made anew at most so often while the study runs
_SHARE = 0.05  # of the driver's time goes into that at most
_NO_DESCRIPTORS = (
    "workers: expected descriptors for the files of another process, got none; finished runs are kept: raise the limit "
    "(ulimit -n) or take fewer workers, then the same command goes on"
)


def drive(jobs: list[Job], engine: Engine, reporter: Progress, look: Look, folder: Path) -> None:
    """Have jobs executed, and what came of each kept.

    Parameters
    ----------
    jobs
        What to execute.
    engine
        Who executes.
    reporter
        Who is told.
    look
        Is given each result, or what became of a run instead, and raises StudyError if the others need not be made.
    folder
        The study's folder.

    Raises
    ------
    StudyError, DiskFullError
        If no other run can do better.
    """
    refresh = _Refresh(folder)
    busy: list[Job] = []
    try:
        while jobs:
            with closing(engine(jobs)) as events:
                for event in events:
                    if not isinstance(event, Outcome):
                        reporter.running(event)
                    elif event.busy:
                        busy.append(event.job)
                    else:
                        _file(event, reporter, look)
                    refresh.if_due()
            jobs, busy = _released(busy, reporter, look, refresh)
    except OSError as error:
        if is_out_of_descriptors(error):
            raise StudyError(_NO_DESCRIPTORS) from error
        raise


def _released(busy: list[Job], reporter: Progress, look: Look, refresh: "_Refresh") -> tuple[list[Job], list[Job]]:
    """Wait, without any process, until other drivers let go of jobs; return those that are free, and the others."""
    pause = _LOOK
    while busy:
        for job in list(busy):
            outcome = settled(job)
            if outcome is not None:
                busy.remove(job)
                _file(outcome, reporter, look)
        free = [job for job in busy if _is_free(job)]
        if free:
            return free, [job for job in busy if job not in free]
        if busy:
            reporter.running(0)
            refresh.if_due()
            _tell_of_holders(busy)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK)
    return [], []


def _tell_of_holders(busy: list[Job]) -> None:
    """Say once whom on another machine a driver waits for, since it cannot see whether they live."""
    for job in busy:
        holder = foreign_holder(job.claim)
        if holder is not None:
            tell_once(
                f"holder:{job.run.id}",
                f"waiting for {job.run.id}, which {holder[0]} executes; if that has ended, remove {holder[1]}",
            )


def _is_free(job: Job) -> bool:
    with lock(job.claim, wait=False) as ours:
        return ours


def _file(outcome: Outcome, reporter: Progress, look: Look) -> None:
    """Keep how a run has ended."""
    record = outcome.job.error_record
    if outcome.error is None:
        record.unlink(missing_ok=True)
    elif outcome.error["name"] == DiskFullError.__name__:
        raise DiskFullError(outcome.job.study)
    elif outcome.error["name"] == OUT_OF_DESCRIPTORS:
        raise StudyError(_NO_DESCRIPTORS)
    elif outcome.error["name"] == "CannotForkError":
        raise StudyError(f"warm: {outcome.error['value']}")
    else:
        write_error(outcome.error, record)
    reporter.ended(outcome)
    look(outcome)


class _Refresh:
    """Makes the cube anew now and then while the study runs."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._due = time.monotonic() + _REFRESH

    def if_due(self) -> None:
        began = time.monotonic()
        if began < self._due:
            return
        with suppress(CubeError), warnings.catch_warnings(action="ignore"):  # the last compaction will speak of it
            compact(self._folder)
        now = time.monotonic()
        self._due = now + max(_REFRESH, (now - began) / _SHARE)
