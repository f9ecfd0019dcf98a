"""The clock of a trial, which runs ahead of the work that a trial leaves out.

A trial executes runs only to learn how long they take. Each of its processes has a journal, in the trial's folder:
there it notes the seconds by which its clock is ahead, and the files of the cache that it shares with other runs. The
time that a run will take is the time that it took plus the seconds ahead.
"""

import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from kdlandscape.cubes.locks import lock

VARIABLE = "KDLANDSCAPE_TRIAL"  # the path of this process's journal
_DRIVER, _LOCK = "driver.jsonl", "trial.lock"
_FIRST = 10  # steps before the clock: a program is recorded at its first call, and captured on a GPU soon after
_TIMED = 0.5  # seconds of steps that tell how long the others take
T = TypeVar("T")


@contextmanager
def trial() -> Iterator[Path]:
    """Make this process the driver of a trial; the folder that it gives is removed in the end, with all that is in it.

    Raises
    ------
    RuntimeError
        If this process belongs to a trial already.
    """
    if journal() is not None:
        raise RuntimeError("expected no trial inside a trial, got one; a study that a run executes needs none")
    before = os.environ.get(VARIABLE)
    with (
        tempfile.TemporaryDirectory(prefix="kdl-trial-", ignore_cleanup_errors=True) as folder,
        lock(Path(folder, _LOCK)),
    ):
        os.environ[VARIABLE] = str(Path(folder, _DRIVER))
        try:
            yield Path(folder)
        finally:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before


def journal() -> Path | None:
    """Return the journal of this process; None outside of a trial.

    The variable alone makes no trial, since it may be left over: the folder that it names has to hold a lock, which
    ends with the trial's driver.
    """
    named = os.environ.get(VARIABLE)
    if not named or not Path(named).with_name(_LOCK).is_file():
        return None
    with lock(Path(named).with_name(_LOCK), wait=False) as is_over:
        return None if is_over else Path(named)


def in_trial() -> bool:
    """Tell whether this process executes a run of a trial, whose results count for nothing; its driver does not."""
    own = journal()
    return own is not None and own.name != _DRIVER


def note(path: Path, event: str, **facts: Any) -> None:
    """Add a line to a journal."""
    line = json.dumps({"event": event, "at": time.monotonic(), **facts}) + "\n"
    with path.open("ab", buffering=0) as file:  # one write, so that processes may share a journal
        file.write(line.encode())


def notes(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal; none where nothing was noted."""
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def journal_of(own: Path, name: str) -> Path:
    """Return the journal of a run by its name, beside another one of the same trial."""
    return own.with_name(f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.jsonl")


@contextmanager
def followed(name: str) -> Iterator[None]:
    """In a trial, give a run a journal, which the processes that are started meanwhile continue."""
    own = journal()
    if own is None:
        os.environ.pop(VARIABLE, None)  # a variable that is left over goes no further
        yield
        return
    path = journal_of(own, name)
    path.unlink(missing_ok=True)  # of an attempt that died
    os.environ[VARIABLE] = str(path)
    note(path, "begin")
    try:
        yield
    finally:
        note(path, "end")
        os.environ[VARIABLE] = str(own)


class Steps:
    """The steps of a training; in a trial only the first ones, and the clock goes ahead by what the others would take.

    Parameters
    ----------
    total
        Number of steps. A training that ends early by its own rule is taken to be as long as it may be.
    finish
        Waits until a device has done what it was given.

    Attributes
    ----------
    is_trial
        Whether this is one.
    cut
        Whether the other steps are left out.
    """

    def __init__(self, total: int, finish: Callable[[], object]):
        self._journal = journal() if in_trial() else None
        self.is_trial, self.cut = self._journal is not None, False
        self._total, self._finish = total, finish
        self._taken, self._last = 0, 0.0
        self._seconds: list[float] = []  # of each step after the first ones

    def of(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the batches of an epoch, as far as steps are taken."""
        for batch in batches:
            yield batch
            if self._journal is not None:
                self._tick(self._journal)
                if self.cut:
                    return

    def _tick(self, own: Path) -> None:
        """Take the median step: a recording, for the shape of an epoch's last batch say, is not made at every step."""
        self._finish()
        now = time.monotonic()
        if self._taken >= _FIRST:
            self._seconds.append(now - self._last)
        self._last = now
        self._taken += 1
        if sum(self._seconds) > _TIMED and self._taken < self._total:
            note(own, "ahead", seconds=statistics.median(self._seconds) * (self._total - self._taken))
            self.cut = True


def place_of(path: Path) -> Path:
    """Return where a file of a cache is made: in a trial, whose networks are hardly trained, in the trial's folder."""
    own = journal()
    if own is None:
        return path
    return own.with_name("cache") / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:24]}{path.suffix}"


@contextmanager
def needing(path: Path) -> Iterator[Callable[[], None]]:
    """In a trial, note that a run needs a file that runs share; it calls the function when it begins to make it."""
    own = journal()
    if own is None:
        yield lambda: None
        return
    note(own, "need", file=path.name)
    try:
        yield lambda: note(own, "make", file=path.name)
    finally:
        note(own, "have", file=path.name)


class Piece(NamedTuple):
    """A stretch of a run.

    Attributes
    ----------
    file
        The shared file that the run needs next; None for work of its own.
    seconds
        What the work takes, or making the file; None if the run has found the file made.
    """

    file: str | None
    seconds: float | None


def pieces(lines: list[dict[str, Any]]) -> list[Piece]:
    """Return what a run's journal tells, in order: its own work, and the shared files that it needs.

    The time in which a run waited for a file that another one made is part of neither.
    """
    found: list[Piece] = []
    since, ahead, held = lines[0]["at"], 0.0, []  # held: the file that is needed, and those that it needs in turn
    for line in lines[1:]:
        event, at = line["event"], line["at"]
        if event == "ahead":
            ahead += line["seconds"]
        elif event == "need":
            held.append(line["file"])
            if len(held) == 1:
                found.append(Piece(None, at - since + ahead))
                since, ahead, is_made = at, 0.0, False
        elif event == "make" and len(held) == 1:
            since, is_made = at, True
        elif event == "have":
            file = held.pop()
            if not held:
                found.append(Piece(file, at - since + ahead if is_made else None))
                since, ahead = at, 0.0
    return [*found, Piece(None, lines[-1]["at"] - since + ahead)]
