"""Slices side by side with loss-landscapes and Landscaper, in one run: ``python -m tests.bench.bench_slices``.

Every repetition times all contenders one after the other, so that they share the machine's weather; ratios are taken
within a repetition and their median is reported with the smallest and largest. Memory is the peak of a process of its
own for each contender, above that of the same process before its first point. Peers: loss-landscapes 3.0.6 and
landscaper 1.3.1 (``pip install --no-deps``). Writes results/slices.md beside this file.
"""

import argparse
import contextlib
import importlib
import io
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from kdlandscape.landscape.directions import random_directions
from kdlandscape.landscape.evaluation.evaluator import evaluator
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.evaluation.trial import choose
from kdlandscape.landscape.objective import Objective
from tests.bench.goals import goal
from tests.bench.memory import resident
from tests.bench.peers import missing
from tests.bench.problems import Problem, p1, p2

Contender = Callable[[int], None]  # evaluates a plane of n x n points
PROBLEMS = {"P1": p1, "P2": p2}
GOALS = {"P1": 1.5, "P2": 2.2}
#: By hand: what a quiet machine's trial chooses, compiled as well, which a trial does for long planes only.
BY_HAND = {
    "P1": Strategy(trace=True, affine=True, compile=True),
    "P2": Strategy(trace=True, examples=64, channels_last=True, compile=True),
}
RESULTS = Path(__file__).parent / "results" / "slices.md"


def ours(problem: Problem, strategy: Strategy | None, device: str = "cpu") -> tuple[Contender, Strategy, float]:
    """Return the evaluation of a plane as `slice_plane` does it, its strategy, and the seconds that choosing took."""
    objective = Objective(problem.module, problem.loss, (problem.inputs, problem.targets), device=device)
    directions = random_directions(objective, generator=torch.Generator().manual_seed(0)).directions

    def points(n: int) -> torch.Tensor:
        axis = torch.linspace(-1, 1, n, dtype=torch.float64)
        return torch.cartesian_prod(axis, axis).flip(1)  # x fastest, as slice_plane walks

    start = time.perf_counter()
    chosen = strategy or choose(objective, points(21), objective.theta, directions)
    evaluate = evaluator(objective, chosen, objective.theta, directions)
    evaluate(points(2))
    return lambda n: sum(v.sum().item() for v in evaluate(points(n)).values()), chosen, time.perf_counter() - start


def loss_landscapes(problem: Problem) -> Contender:
    import copy

    from loss_landscapes import random_plane
    from loss_landscapes.metrics import Loss

    module = copy.deepcopy(problem.module)
    metric = Loss(problem.loss, problem.inputs, problem.targets)

    def run(n: int) -> None:
        # normalization=None: its filter normalization takes a second once a call, which is no cost of a point.
        with problem.inputs.device:  # where it makes its directions, which are on the CPU otherwise
            random_plane(module, metric, distance=10, steps=n, normalization=None)

    return run


def landscaper(problem: Problem) -> Contender:
    import copy

    from landscaper.compute import compute_loss_landscape

    module = copy.deepcopy(problem.module)
    directions = [[torch.randn_like(p) for p in module.parameters()] for _ in range(2)]

    def loss(model, data):
        return problem.loss(model(data[0]), data[1]).item()

    def run(n: int) -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            data = (problem.inputs, problem.targets)
            compute_loss_landscape(module, data, directions, loss, n, distance=0.1, dim=2, device="cpu")

    return run


PEERS = {"loss-landscapes": loss_landscapes, "landscaper": landscaper}
MISSING = {name.replace("_", "-"): said for name, said in missing(["loss_landscapes", "landscaper"]).items()}


def forward(problem: Problem) -> Contender:
    """Forward passes of the module as it is, with its loss: the throughput to be reached."""

    def run(n: int) -> None:
        with torch.no_grad():
            for _ in range(n * n):
                problem.loss(problem.module(problem.inputs), problem.targets).item()

    return run


def contenders(problem: Problem, compiled: bool) -> tuple[dict[str, Contender], dict[str, str]]:
    chosen, strategy, seconds = ours(problem, None)
    found = {"kdlandscape": chosen}
    notes = {"kdlandscape": f"strategy {strategy.facts()}, chosen and prepared in {seconds:.1f} s"}
    if compiled:
        workers = torch.get_num_threads() if problem.name == "P1" else 1
        best, strategy, seconds = ours(problem, replace(BY_HAND[problem.name], workers=workers))
        found["kdlandscape, by hand"] = best
        notes["kdlandscape, by hand"] = f"strategy {strategy.facts()}, compiled and prepared in {seconds:.1f} s"
    for name, make in PEERS.items():
        if name not in MISSING:
            found[name] = make(problem)
    return found | {"forward pass": forward(problem)}, notes


def alternating(found: dict[str, Contender], n: int, repetitions: int) -> dict[str, list[float]]:
    """Milliseconds a point of every contender, one repetition after the other.

    With one thread it is processor time, which other processes on the machine do not lengthen.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in found}
    for run in found.values():
        run(2)
    for _ in range(repetitions):
        for name, run in found.items():
            start = clock()
            run(n)
            times[name].append((clock() - start) / n**2 * 1e3)
    return times


def spread(values: list[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def table(name: str, times: dict[str, list[float]], notes: dict[str, str], size: str) -> list[str]:
    base, plain = times.get("loss-landscapes"), times["forward pass"]
    lines = [f"## {name}", "", f"{size}. Ratios: median (smallest–largest) over repetitions.", ""]
    lines += ["| contender | ms a point | × loss-landscapes | share of forward throughput |", "|---|---|---|---|"]
    for who, own in times.items():
        ratio = spread([b / t for b, t in zip(base, own, strict=True)]) if base else "–"
        share = [100 * p / t for p, t in zip(plain, own, strict=True)]
        lines.append(f"| {who} | {spread(own)} | {ratio} | {spread(share, 0)} % |")
    lines += [""] + [f"- {who}: {note}" for who, note in notes.items()] + [f"- {said}" for said in MISSING.values()]
    for who in notes:
        share = statistics.median(b / t for b, t in zip(plain, times[who], strict=True))
        mine = f"{name}, {'strategy by hand' if who.endswith('hand') else 'strategy of the trial'}"
        if base:
            ratio = statistics.median(b / t for b, t in zip(base, times[who], strict=True))
            lines.append(goal(f"{mine}: ≥ {GOALS[name]}× loss-landscapes", f"{ratio:.2f}×", ratio >= GOALS[name]))
        lines.append(goal(f"{mine}: ≥ 80 % of forward throughput", f"{100 * share:.0f} %", share >= 0.8))
    return [*lines, ""]


def peak(who: str) -> float:
    """Peak memory in MiB of one process that evaluates 3 x 3 points of P2, above its state before."""
    command = [sys.executable, __file__, "--threads", str(torch.get_num_threads()), "--peak", who]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure_peak(who: str) -> None:
    problem = p2()
    if who in PEERS:
        importlib.import_module(who.replace("-", "_"))
    before = resident("VmRSS")
    make = {**PEERS, "forward pass": forward}
    run = ours(problem, None)[0] if who == "kdlandscape" else make[who](problem)
    run(3)
    print((resident("VmHWM") - before) / 2**10)


def memory_table() -> list[str]:
    sizes = {who: peak(who) for who in ("kdlandscape", *PEERS, "forward pass") if who not in MISSING}
    rows = [f"| {who} | {size:.0f} |" for who, size in sizes.items()]
    text = "Processes of their own; 3x3 points, the trial of strategies included."
    own = sizes["kdlandscape"]
    end = goal("slices on P2 in ≤ 750 MiB extra", f"{own:.0f} MiB", own <= 750)
    return ["## Peak extra memory on P2", "", text, "", "| contender | MiB |", "|---|---|", *rows, "", end, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--points", type=int, nargs=2, default=(21, 3), help="points an axis on P1 and P2")
    parser.add_argument("--repetitions", type=int, nargs=2, default=(15, 4))
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled variants out")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        measure_peak(arguments.peak)
        return
    facts = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"
    head = ["# Slices, measured side by side", "", "Written by `python -m tests.bench.bench_slices`.", ""]
    clock = "processor time" if torch.get_num_threads() == 1 else "wall time"
    sections = [[*head, f"{platform.machine()}, {facts}, {clock}.", ""]]
    for (name, make), n, repetitions in zip(PROBLEMS.items(), arguments.points, arguments.repetitions, strict=True):
        found, notes = contenders(make(), not arguments.no_compile)
        loads = [os.getloadavg()[0]]
        times = alternating(found, n, repetitions)
        loads.append(os.getloadavg()[0])
        size = f"{n}x{n} points, {repetitions} alternating repetitions, load average {loads[0]:.1f} to {loads[1]:.1f}"
        sections.append(table(name, times, notes, size))
        write(sections)
    sections.append(memory_table())
    write(sections)
    print(RESULTS.read_text())


def write(sections: list[list[str]]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(line for section in sections for line in section).rstrip() + "\n")


if __name__ == "__main__":
    main()
