"""Many students as one batched program against plain PyTorch loops: the same updates, the same final weights.

Batching takes away what a step costs beside its matrix products, so the time of these products alone, at the rates that
this machine reaches for all students at once, is the ceiling of the speedup. It is measured in turns with both sides.

Run: ``OMP_NUM_THREADS=1 python -m tests.bench.bench_students``; writes results/students.md.
"""

import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdlandscape.distillation.networks import mlp, random_thetas
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.training import distill
from tests.bench.clock import in_turns, spread
from tests.bench.goals import goal

STUDENTS, EXAMPLES, FEATURES, CLASSES, TAU, STEPS = 32, 1024, 40, 10, 4.0, 512
SIZES = [(32, 32), (100, 128)]  # width of two hidden layers, batch size


def plain(network: nn.Module, thetas: Tensor, teachers: Tensor, inputs: Tensor, recipe: Recipe) -> Tensor:
    """Distil the students one after another, as a PyTorch user would."""
    student, teacher = (mlp(FEATURES, CLASSES, width=network[0].out_features) for _ in range(2))
    student, teacher = (one.to(inputs.device, inputs.dtype) for one in (student, teacher))
    finals = []
    for start, target in zip(thetas, teachers, strict=True):
        nn.utils.vector_to_parameters(start.clone(), student.parameters())
        nn.utils.vector_to_parameters(target.clone(), teacher.parameters())
        optimizer = torch.optim.SGD(student.parameters(), lr=recipe.lr, momentum=recipe.momentum, nesterov=True)
        steps = recipe.epochs * -(-len(inputs) // recipe.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        generator = torch.Generator(inputs.device).manual_seed(0)
        for _ in range(recipe.epochs):
            for rows in torch.randperm(len(inputs), generator=generator, device=inputs.device).split(recipe.batch_size):
                x = inputs[rows]
                with torch.no_grad():
                    labels = (teacher(x) / TAU).softmax(-1)
                optimizer.zero_grad()
                loss = TAU**2 * nn.functional.cross_entropy(student(x) / TAU, labels)
                loss.backward()
                optimizer.step()
                schedule.step()
        finals.append(nn.utils.parameters_to_vector(student.parameters()).detach())
    return torch.stack(finals)


def batched(network: nn.Module, thetas: Tensor, teachers: Tensor, inputs: Tensor, recipe: Recipe) -> Tensor:
    """Distil all students at once."""
    generator = torch.Generator(inputs.device).manual_seed(0)
    return distill(network, thetas, teachers, inputs, recipe, generator=generator, temperature=TAU).thetas


def problem(
    width: int, dtype: torch.dtype, device: str, students: int = STUDENTS
) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    network = mlp(FEATURES, CLASSES, width=width).to(device, dtype)
    thetas = random_thetas(network, range(2 * students)).to(device)
    inputs = torch.randn(EXAMPLES, FEATURES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return network, thetas[:students], thetas[students:], inputs.to(device, dtype)


def products(width: int, batch: int, recipe: Recipe) -> Callable[[], None]:
    """Return the function that takes a training's matrix products alone, all students at once, into kept buffers.

    A step has the teacher's and the student's pass through each layer, and backward a product for its weights and, but
    for the first layer, one for its inputs.
    """
    sizes = [(FEATURES, width), (width, width), (width, CLASSES)]
    shapes = []
    for layer, (given, made) in enumerate(sizes):
        shapes += [(batch, given, made)] * 2 + [(made, batch, given)] + [(batch, made, given)] * (layer > 0)
    each = []
    for rows, inner, columns in shapes:
        left, right = torch.randn(STUDENTS, rows, inner), torch.randn(STUDENTS, inner, columns)
        each.append((left, right, torch.empty(STUDENTS, rows, columns)))

    def run() -> None:
        for _ in range(recipe.epochs * EXAMPLES // recipe.batch_size):
            for left, right, found in each:
                torch.bmm(left, right, out=found)

    return run


class Compared(NamedTuple):
    """A row of the table: its text, the median speedup, and the median share of the ceiling."""

    row: str
    speedup: float
    share: float


def compare(width: int, batch: int, repeats: int = 5) -> Compared:
    """Time the loop, the batch and the products alone in turns, and compare the final weights."""
    recipe = Recipe(epochs=STEPS * batch // EXAMPLES, batch_size=batch, lr=0.05)
    exact = problem(width, torch.float64, "cpu")
    ours, theirs = batched(*exact, recipe), plain(*exact, recipe)
    off = float((ours - theirs).abs().max() / theirs.abs().max())
    single = problem(width, torch.float32, "cpu")
    calls = [lambda: plain(*single, recipe), lambda: batched(*single, recipe), products(width, batch, recipe)]
    slow, fast, floor = in_turns(calls, repeats, processor=True)
    speedups = [one / other for one, other in zip(slow, fast, strict=True)]
    ceilings = [one / other for one, other in zip(slow, floor, strict=True)]
    shares = [100 * one / other for one, other in zip(speedups, ceilings, strict=True)]
    times = [f"{statistics.median(one):.2f}" for one in (slow, fast, floor)]
    cells = [width, batch, *times, spread(speedups, 1), spread(ceilings, 1), f"{spread(shares, 0)} %", f"{off:.0e}"]
    row = f"| {' | '.join(map(str, cells))} |"
    return Compared(row, statistics.median(speedups), statistics.median(shares) / 100)


def main() -> None:
    goals: list[str] = []
    lines = [
        "# 32 MLP students: one batch against one after another",
        "",
        f"{STUDENTS} students (40 inputs, 2 hidden layers, 10 classes) distilled from {STUDENTS} teachers, tau 4, SGD "
        f"with Nesterov momentum and cosine schedule, {STEPS} steps of the batch size, float32. "
        "CPU seconds of one thread; sides alternate; "
        "median (range) of 5. The ceiling is the loops' time over that of the matrix products alone, for all students "
        "at once. Last column: largest difference of the final weights, relative to the largest weight, in float64.",
        "",
        "| width | batch | loops [s] | batched [s] | products [s] | speedup | ceiling | share of it | weights differ |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        found = compare(*size)
        print(found.row, flush=True)
        lines.append(found.row)
        what, ratio, share = f"{STUDENTS} batched students, width {size[0]}", found.speedup, found.share
        if size == SIZES[0]:
            goals.append(goal(f"{what}: ≥ 8×", f"{ratio:.1f}×", ratio >= 8))
        else:
            goals.append(goal(f"{what}: ≥ 80 % of the ceiling", f"{100 * share:.0f} %", share >= 0.8))
        write([*lines, "", facts(), "", *goals])


def facts() -> str:
    return (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread, load "
        f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, torch {torch.__version__}. The gain is "
        "the overhead of a step that the students share: it falls as the layers grow and arithmetic dominates."
    )


def write(lines: list[str]) -> None:
    path = Path(__file__).parent / "results" / "students.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
