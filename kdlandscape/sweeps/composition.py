"""What a study takes in all, composed of what its runs take: the trial's side of ``run_study``."""

import heapq
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

from kdlandscape.cubes.clock_ahead import Piece, journal, journal_of, note, notes, pieces
from kdlandscape.cubes.files import read_error
from kdlandscape.sweeps.plan import Run
from kdlandscape.sweeps.processes import default_workers

STUDIES = "studies.jsonl"  # in a trial's folder: what it has found of each study
_EACH = 2  # runs of a trial for each worker at most


@contextmanager
def composed(runs: list[Run], todo: list[Run], folder: Path, workers: int | None) -> Iterator[list[Run]]:
    """Yield the runs to execute: outside of a trial all that are to do, in a trial some that stand for them.

    In the end, the trial's clock goes ahead by what all runs would have taken beyond what these took.

    Parameters
    ----------
    runs, todo
        The study's runs, and those that are to be executed.
    folder
        The study's folder.
    workers
        Processes that execute them; default: as `kdlandscape.sweeps.engines.local` has it.
    """
    own = journal()
    if own is None or not todo:
        yield todo
        return
    workers = min(workers or default_workers(), len(todo))
    chosen = spread(todo, _EACH * workers)
    yield chosen
    lines = {run.id: notes(journal_of(own, str(folder / "runs" / f"{run.id}.nc"))) for run in chosen}
    lines = {name: found for name, found in lines.items() if found}
    if not lines:
        return
    seconds = makespan(stand_for(runs, todo, {name: pieces(found) for name, found in lines.items()}), workers)
    taken = max(each[-1]["at"] for each in lines.values()) - min(each[0]["at"] for each in lines.values())
    note(own, "ahead", seconds=seconds - taken)
    note(
        own.with_name(STUDIES),
        "study",
        study="/".join(folder.relative_to(own.with_name("roots")).parts[1:]),
        runs=len(todo),
        executed=len(chosen),
        workers=workers,
        seconds=seconds,
        taken=taken,
        failed=[_failure(folder, run) for run in chosen if (folder / "errors" / f"{run.id}.json").exists()],
    )


def spread(runs: list[Run], most: int) -> list[Run]:
    """Return at most so many runs, at even distances from the first to the last."""
    if len(runs) <= most:
        return runs
    if most == 1:
        return runs[:1]
    return [runs[round(i * (len(runs) - 1) / (most - 1))] for i in range(most)]


def makespan(runs: list[list[Piece]], workers: int) -> float:
    """Return the seconds from the start of the first run to the end of the last one.

    Each worker takes the next run when it is free. A shared file is made by the run that needs it first, while others
    that need it wait; one that nobody made was there.
    """
    costs = {file: seconds for run in runs for file, seconds in run if file is not None and seconds is not None}
    ready: dict[str, float] = {}
    queue = deque(runs)
    clocks: list[tuple[float, int, Iterator[Piece]]] = [(0.0, worker, iter(())) for worker in range(workers)]
    end = 0.0
    while clocks:
        now, worker, rest = heapq.heappop(clocks)
        piece = next(rest, None)
        end = max(end, now)
        if piece is None and not queue:
            continue
        if piece is None:
            rest = iter(queue.popleft())
        elif piece.file is None:
            now += piece.seconds or 0.0
        else:
            now = max(now, ready.setdefault(piece.file, now + costs.get(piece.file, 0.0)))
        heapq.heappush(clocks, (now, worker, rest))
    return end


def stand_for(runs: list[Run], todo: list[Run], found: dict[str, list[Piece]]) -> list[list[Piece]]:
    """Return the pieces of all runs that are to do: a run that was not executed has those of the one most like it.

    That is the one that shares most coordinates with it, and among these the nearest one. Which shared files it needs
    follows from the coordinates that tell the files of the executed runs from each other.
    """
    places = {run.id: i for i, run in enumerate(runs)}
    known = [run for run in todo if run.id in found]
    told = _telling(runs, known, found)
    sharing = {_at(run, told): run.id for run in reversed(known)}
    composed = []
    for run in todo:
        if run.id in found:
            composed.append(found[run.id])
            continue
        like = max(known, key=lambda one: (_shared(one, run), -abs(places[one.id] - places[run.id])))
        composed.append(_with_files(found[like.id], found.get(sharing.get(_at(run, told), "")), _at(run, told)))
    return composed


def _telling(runs: list[Run], known: list[Run], found: dict[str, list[Piece]]) -> tuple[str, ...]:
    """Return the axes that shared files follow from: of all that would do, those with the fewest places."""
    axes = list(known[0].coords)
    fitting = []
    for names in (names for size in range(len(axes) + 1) for names in combinations(axes, size)):
        files: dict[tuple, set[tuple]] = {}
        for run in known:
            files.setdefault(_at(run, names), set()).add(_files(found[run.id]))
        if all(len(each) == 1 for each in files.values()):
            fitting.append(names)
    return min(fitting, key=lambda names: len({_at(run, names) for run in runs}))


def _with_files(like: list[Piece], sharing: list[Piece] | None, place: tuple) -> list[Piece]:
    """Return a run's pieces with the shared files of another one, or with files of its own that cost as much."""
    names = [f"{file} at {place}" for file in _files(like)] if sharing is None else list(_files(sharing))
    left = deque(names)
    return [piece if piece.file is None or not left else Piece(left.popleft(), piece.seconds) for piece in like]


def _files(run: list[Piece]) -> tuple[str, ...]:
    return tuple(piece.file for piece in run if piece.file is not None)


def _at(run: Run, names: tuple[str, ...]) -> tuple:
    return tuple(run.coords[name] for name in names)


def _shared(one: Run, other: Run) -> int:
    return sum(one.coords[name] == other.coords[name] for name in one.coords)


def _failure(folder: Path, run: Run) -> dict[str, Any]:
    """Return how a run of a trial has failed, and whether its work was done by then."""
    error = read_error(folder / "errors" / f"{run.id}.json")
    checked = error["name"] == "AssertionError" or bool(error.get("recorded"))
    said = " ".join(str(error["value"]).split())[:300]
    return {"run": run.id, "error": f"{error['name']}: {said}", "excused": checked}
