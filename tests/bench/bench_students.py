"""Many students as one batched program against plain PyTorch loops: the same updates, the same final weights.

Run: ``OMP_NUM_THREADS=1 python -m tests.bench.bench_students``; writes results/students.md.
"""

import os
import platform
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from kdlandscape.distillation.networks import mlp, random_thetas
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.training import distill
from tests.bench.goals import goal

STUDENTS, EXAMPLES, FEATURES, CLASSES, TAU, STEPS = 32, 1024, 40, 10, 4.0, 512
SIZES = [(32, 32), (100, 128)]  # width of two hidden layers, batch size


def plain(network: nn.Module, thetas: Tensor, teachers: Tensor, inputs: Tensor, recipe: Recipe) -> Tensor:
    """Distil the students one after another, as a PyTorch user would."""
    student, teacher = (mlp(FEATURES, CLASSES, width=network[0].out_features).to(inputs) for _ in range(2))
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


def problem(width: int, dtype: torch.dtype, device: str) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    network = mlp(FEATURES, CLASSES, width=width).to(device, dtype)
    thetas = random_thetas(network, range(2 * STUDENTS)).to(device)
    inputs = torch.randn(EXAMPLES, FEATURES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return network, thetas[:STUDENTS], thetas[STUDENTS:], inputs.to(device, dtype)


def seconds(function, *arguments) -> float:
    """Return CPU time of this process (one thread), so that other work does not count; on a GPU, wall time."""
    if not arguments[1].is_cuda:
        start = time.process_time()
        function(*arguments)
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    function(*arguments)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(width: int, batch: int, device: str, repeats: int = 5) -> tuple[str, float]:
    recipe = Recipe(epochs=STEPS * batch // EXAMPLES, batch_size=batch, lr=0.05)
    exact = problem(width, torch.float64, device)
    ours, theirs = batched(*exact, recipe), plain(*exact, recipe)
    off = float((ours - theirs).abs().max() / theirs.abs().max())
    single = problem(width, torch.float32, device)
    pairs = [(seconds(plain, *single, recipe), seconds(batched, *single, recipe)) for _ in range(repeats)]
    ratios = sorted(one / other for one, other in pairs)
    slow, fast = (statistics.median(side) for side in zip(*pairs, strict=True))
    row = (
        f"| {device} | {width} | {batch} | {slow:.2f} | {fast:.2f} | {statistics.median(ratios):.1f} "
        f"({ratios[0]:.1f}–{ratios[-1]:.1f}) | {off:.0e} |"
    )
    return row, statistics.median(ratios)


def main() -> None:
    goals: list[str] = []
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    lines = [
        "# 32 MLP students: one batch against one after another",
        "",
        f"{STUDENTS} students (40 inputs, 2 hidden layers, 10 classes) distilled from {STUDENTS} teachers, tau 4, SGD "
        f"with Nesterov momentum and cosine schedule, {STEPS} steps of the batch size, float32. "
        "CPU seconds of one thread (wall on a GPU); sides alternate; "
        "median (range) of 5. Last column: largest difference of the final weights, relative to the largest weight, in "
        "float64.",
        "",
        "| device | width | batch | plain loops [s] | batched [s] | speedup | weights differ |",
        "|---|---|---|---|---|---|---|",
    ]
    for device in devices:
        for size in SIZES:
            row, ratio = compare(*size, device)
            print(row, flush=True)
            lines.append(row)
            goals.append(
                goal(f"{STUDENTS} batched students, {device}, width {size[0]}: ≥ 8×", f"{ratio:.1f}×", ratio >= 8)
            )
            write([*lines, "", facts(), "", *goals])


def facts() -> str:
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread, load "
        f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, torch {torch.__version__}{gpu}. The gain is "
        "the overhead of a step that the students share: it falls as the layers grow and arithmetic dominates."
    )


def write(lines: list[str]) -> None:
    path = Path(__file__).parent / "results" / "students.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
