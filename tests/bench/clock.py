"""How the benches take time: a GPU is waited for, and on one CPU thread only this process's own time counts."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

Call = Callable[[], Any]


def wait() -> None:
    """Let the GPU, if there is one, finish what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(call: Call, *, least: float = 0.0, processor: bool = False) -> float:
    """Return the seconds of a call: the mean of as many as take ``least`` seconds together.

    ``processor`` counts the time of this process alone, which other programs on the cores do not lengthen.
    """
    clock = time.process_time if processor else time.perf_counter
    wait()
    start, count = clock(), 0
    while not count or clock() - start < least:
        call()
        wait()
        count += 1
    return (clock() - start) / count


def in_turns(calls: Sequence[Call], turns: int, **how: Any) -> list[list[float]]:
    """Return the seconds of each call, one turn after the other, so that a drift of the machine meets all alike."""
    rows = [[seconds(call, **how) for call in calls] for _ in range(turns)]
    return [list(column) for column in zip(*rows, strict=True)]


def fastest_threads(speed: Callable[[], float]) -> float:
    """Return the larger speed of one thread and of all: a small network is slowed down by many."""
    threads = torch.get_num_threads()
    try:
        found = []
        for count in sorted({1, threads}):
            torch.set_num_threads(count)
            found.append(speed())
        return max(found)
    finally:
        torch.set_num_threads(threads)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the median with the smallest and the largest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"
