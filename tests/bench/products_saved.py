"""Products that an effective dimension takes to 2 %: knowing the pairs that pay first, against plain draws.

    python -m tests.bench.products_saved

Counts need no quiet machine. Both ways stop at a standard error of 2 % of the value. The errors' coverage is what
``tests/landscape/test_deflation.py`` tests, over 50 seeds. Writes results/products_saved.md, a network at a time.
"""

import argparse
import os
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

import kdlandscape as kdl
from tests.bench.goals import goal
from tests.bench.problems import p1
from tests.bench.sections import update

PAGE = Path(__file__).parent / "results" / "products_saved.md"
HEAD = "# Products saved by what is known\n\nWritten by `python -m tests.bench.products_saved`."
RTOL, STEPS = 0.02, 60


class Asked(NamedTuple):
    """A network, its data and the prior precisions z of the summed loss at which it is asked."""

    name: str
    module: nn.Module
    inputs: torch.Tensor
    targets: torch.Tensor
    precisions: tuple[float, ...] = (1.0, 100.0, 10_000.0)


def small() -> Asked:
    """Return P1."""
    problem = p1()
    return Asked("P1, 26 thousand parameters", problem.module, problem.inputs, problem.targets)


def large(examples: int = 128) -> Asked:
    """Return an MLP of 5 million parameters on digits."""
    problem = p1(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        widths = (64, 2176, 2176, 64)
        layers = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
        module = nn.Sequential(*layers, nn.Linear(64, 10)).eval()
    count = sum(p.numel() for p in module.parameters()) / 1e6
    inputs, targets = problem.inputs[:examples], problem.targets[:examples]
    return Asked(f"MLP, {count:.1f} million parameters", module, inputs, targets)


def plain(asked: Asked, z: float, most: int) -> tuple[int, float, float]:
    """Draw without any pairs until the standard error is small; return products, value and standard error."""
    a, draws = _operator(asked), 10
    while True:
        found = a.effective_dimension(z, num_matvecs=STEPS, num_draws=draws)
        value, sem = _numbers(found)
        if sem <= RTOL * value or a.num_matvecs >= most:
            return a.num_matvecs, value, sem
        draws = min(max(int(draws * (sem / (RTOL * value)) ** 2), draws + 1), 2 * draws, most // STEPS + 1)


def ours(asked: Asked, z: float, seed: int = 0) -> tuple[int, float, float, int]:
    """Ask with a tolerance; return products, value, standard error and the pairs that were known."""
    a = _operator(asked)
    generator = torch.Generator().manual_seed(seed)
    found = a.effective_dimension(z, rtol=RTOL, num_matvecs=STEPS, generator=generator)
    return a.num_matvecs, *_numbers(found), int(a.found["rules"]["exact"].sum())


def _operator(asked: Asked):
    objective = kdl.Objective(asked.module, nn.CrossEntropyLoss(), (asked.inputs, asked.targets))
    return kdl.ggn(objective, asked.module)


def _numbers(found) -> tuple[float, float]:
    return tuple(float(found[f"effective_dimension{end}"][0]) for end in ("", "_sem"))


def section(asked: Asked, most: int, seeds: int) -> list[str]:
    """Return the section on one network."""
    lines = [f"## {asked.name}", "", f"Gauss–Newton, {len(asked.inputs)} examples, {STEPS} steps a draw.", ""]
    lines += ["| z | way | products | N_eff | standard error | pairs known |", "|---|---|---|---|---|---|"]
    goals = []
    for z in asked.precisions:
        products, value, sem = plain(asked, z, most)
        rows = [ours(asked, z, seed) for seed in range(seeds)]
        lines += [f"| {z:g} | plain draws | {products} | {value:.2f} | {100 * sem / value:.1f} % | 0 |"]
        lines += [
            f"| {z:g} | seed {i} | {n} | {v:.2f} | {100 * s / v:.1f} % | {k} |" for i, (n, v, s, k) in enumerate(rows)
        ]
        taken = max(row[0] for row in rows)
        got = f"at most {taken} products, {products} by plain draws"
        got += "" if sem <= RTOL * value else f", which were at {100 * sem / value:.1f} % then"
        goals.append(goal(f"N_eff to {100 * RTOL:g} %, z = {z:g}: fewer than plain draws", got, taken < products))
    return [*lines, "", *goals, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["small", "large"])
    parser.add_argument("--most", type=int, default=20_000, help="products at which plain draws are given up")
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    for make in [small, large] if chosen.only is None else [small if chosen.only == "small" else large]:
        load = os.getloadavg()[0]
        print(f"## {update(PAGE, HEAD, section(make(), chosen.most, chosen.seeds), load)}\n", flush=True)


if __name__ == "__main__":
    main()
