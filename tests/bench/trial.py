"""Whether the trial of strategies can be trusted: ``python -m tests.bench.trial``; writes results/trial.md.

Each count is of fresh processes with nothing remembered, on quiet cores and beside a process that keeps one core busy.
A process lets the trial choose for a plane, then times the choice and what one would try by hand, in turns; what counts
is how much slower the choice is than the best of all.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kdlandscape.landscape.evaluation.strategy import Strategy
from tests.bench.bench_slices import loss_landscapes, ours
from tests.bench.clock import in_turns
from tests.bench.goals import goal
from tests.bench.peers import missing
from tests.bench.problems import Problem, p1, p2
from tests.bench.sections import update

RESULTS = Path(__file__).parent / "results" / "trial.md"
HEAD = "# The trial of strategies\n\nWritten by `python -m tests.bench.trial`."
BUSY = {False: "quiet cores", True: "one core busy"}
NEAR, ENOUGH = 1.1, 0.9  # a choice is near the best within 10 %, in 9 of 10 processes


def by_hand(threads: int) -> dict[str, list[Strategy]]:
    """Return what one would try on each problem; a compiler takes longer than these planes."""
    affine = Strategy(trace=True, affine=True)
    images = Strategy(examples=64, channels_last=True, trace=True)
    changes = ({}, {"channels_last": False}, {"trace": False}, {"examples": 32}, {"workers": threads})
    return {
        "P1": [Strategy(), Strategy(trace=True), affine, replace(affine, workers=threads), Strategy(points=16)],
        "P2": [replace(images, **change) for change in changes],
    }


def measured(problem: Problem, axis: int, turns: int, *, peer: bool) -> dict[str, Any]:
    """Let the trial choose; return what it chose, how much slower that is than the best, and how it does by a peer."""
    run, chosen, seconds = ours(problem, None)
    hand = [one for one in by_hand(torch.get_num_threads())[problem.name] if one != chosen]
    runs = [run, *(ours(problem, one)[0] for one in hand)]
    if peer:
        runs.append(loss_landscapes(problem))
    times = [statistics.median(row) for row in in_turns([lambda each=each: each(axis) for each in runs], turns)]
    best = min(times[: 1 + len(hand)])
    found = {"chosen": chosen.facts(), "trial": seconds, "slower": times[0] / best}
    found["best"] = [chosen, *hand][times.index(best)].facts()
    return found | ({"peer": times[-1] / times[0]} if len(times) > 1 + len(hand) else {})


@contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """Keep one core busy meanwhile."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if wanted else None
    try:
        yield
    finally:
        if other is not None:
            other.kill()
            other.wait()


def process(name: str, beside: bool) -> dict[str, Any]:
    """Measure in a process of its own that remembers nothing."""
    with tempfile.TemporaryDirectory() as folder, busy(beside):
        environment = {**os.environ, "KDLANDSCAPE_CACHE": folder}
        peer = name == "P1" and not beside and not missing(["loss_landscapes"])
        command = [sys.executable, "-m", "tests.bench.trial", "--one", name, *(["--peer"] if peer else [])]
        said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(said.splitlines()[-1])


def section(name: str, beside: bool, found: list[dict[str, Any]]) -> list[str]:
    """Return the table of the processes of one problem, and what became of the goals."""
    lines = [
        f"## {name}, {BUSY[beside]}",
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
    ]
    lines += [
        "",
        "| chosen | best by hand | slower than it | s of the trial | × loss-landscapes |",
        "|---|---|---|---|---|",
    ]
    for one in found:
        peer = f"{one['peer']:.2f}" if "peer" in one else "–"
        lines.append(f"| {one['chosen']} | {one['best']} | {one['slower']:.2f} | {one['trial']:.1f} | {peer} |")
    near = sum(one["slower"] <= NEAR for one in found)
    what = f"{name}, {BUSY[beside]}: the trial's choice within 10 % of the best by hand in 9 of 10 processes"
    lines += ["", goal(what, f"{near} of {len(found)}", near >= ENOUGH * len(found))]
    peers = [one["peer"] for one in found if "peer" in one]
    if peers:
        middle = statistics.median(peers)
        what = f"{name}, by the trial: ≥ 1.5× loss-landscapes, the median of processes"
        lines.append(goal(what, f"{middle:.2f}× ({min(peers):.2f}–{max(peers):.2f})", middle >= 1.5))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.trial", description=__doc__.splitlines()[0])
    parser.add_argument("--one", choices=list(PROBLEMS), help=argparse.SUPPRESS)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--only", default=",".join(PROBLEMS), help="problems, by comma")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    if chosen.one:
        make, axis, turns = PROBLEMS[chosen.one]
        print(json.dumps(measured(make(), axis, turns, peer=chosen.peer)))
        return
    for name in chosen.only.split(","):
        for beside in BUSY:
            found, load = [], os.getloadavg()[0]
            for _ in range(chosen.processes):
                found.append(process(name, beside))
                print(f"{time.strftime('%X')} {name}, {BUSY[beside]}: {found[-1]}", flush=True)
                update(RESULTS, HEAD, section(name, beside, found), load)


#: how each is made, points along an axis of the plane that is timed, and turns
PROBLEMS: dict[str, tuple[Callable[[], Problem], int, int]] = {"P1": (p1, 12, 9), "P2": (p2, 2, 3)}

if __name__ == "__main__":
    main()
