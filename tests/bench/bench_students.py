"""Many students as one batched program against plain PyTorch loops: the same updates, the same final weights.

Run: ``OMP_NUM_THREADS=1 python -m tests.bench.bench_students``; writes results/students.md.
"""

import os
import platform
import statistics
from pathlib import Path

import torch
from torch import Tensor, nn

from kdlandscape.distillation.networks import mlp, random_thetas
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.training import distill
from tests.bench.clock import in_turns
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


def compare(width: int, batch: int, repeats: int = 5) -> tuple[str, float]:
    recipe = Recipe(epochs=STEPS * batch // EXAMPLES, batch_size=batch, lr=0.05)
    exact = problem(width, torch.float64, "cpu")
    ours, theirs = batched(*exact, recipe), plain(*exact, recipe)
    off = float((ours - theirs).abs().max() / theirs.abs().max())
    single = problem(width, torch.float32, "cpu")
    calls = [lambda: plain(*single, recipe), lambda: batched(*single, recipe)]
    both = in_turns(calls, repeats, processor=True)
    ratios = sorted(one / other for one, other in zip(*both, strict=True))
    slow, fast = map(statistics.median, both)
    row = (
        f"| {width} | {batch} | {slow:.2f} | {fast:.2f} | {statistics.median(ratios):.1f} "
        f"({ratios[0]:.1f}–{ratios[-1]:.1f}) | {off:.0e} |"
    )
    return row, statistics.median(ratios)


def main() -> None:
    goals: list[str] = []
    lines = [
        "# 32 MLP students: one batch against one after another",
        "",
        f"{STUDENTS} students (40 inputs, 2 hidden layers, 10 classes) distilled from {STUDENTS} teachers, tau 4, SGD "
        f"with Nesterov momentum and cosine schedule, {STEPS} steps of the batch size, float32. "
        "CPU seconds of one thread; sides alternate; "
        "median (range) of 5. Last column: largest difference of the final weights, relative to the largest weight, in "
        "float64.",
        "",
        "| width | batch | plain loops [s] | batched [s] | speedup | weights differ |",
        "|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        row, ratio = compare(*size)
        print(row, flush=True)
        lines.append(row)
        goals.append(goal(f"{STUDENTS} batched students, width {size[0]}: ≥ 8×", f"{ratio:.1f}×", ratio >= 8))
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
