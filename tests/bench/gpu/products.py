"""Products of a Hessian and a Gauss–Newton matrix beside the peers', as ratios to a plain gradient."""

import gc
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import kdlandscape as kdl
from tests.bench import peers
from tests.bench.clock import in_turns, seconds, spread
from tests.bench.goals import goal
from tests.bench.gpu.ledger import Part, Row, Rows, Setting, table
from tests.bench.peers import Product, missing
from tests.bench.problems import Problem, p1, p2, resnet18

Make = Callable[[Problem], Product]
VECTORS = 16  # multiplied at once
TURNS = 7


def gpt2(tiny: bool) -> Problem:
    """Return GPT-2 small on 1024 tokens, its attention unfused, which every contender can differentiate twice."""
    from tests.bench.at_size import Logits, Size, network, tokens

    size = Size(1, 8, 300, 4, 8) if tiny else Size(rows=8, length=128)
    text = tokens(size)
    return Problem("GPT-2 small", Logits(network(size, "eager")).eval(), nn.CrossEntropyLoss(), text, text[:, 1:])


def problems(tiny: bool) -> dict[str, Callable[[], Problem]]:
    """Return how each problem is made."""
    found = {
        "P1": lambda: p1(2) if tiny else p1(),
        "P2": p2,
        "ResNet-18": lambda: resnet18(4, 2) if tiny else resnet18(),
        "GPT-2 small": lambda: gpt2(tiny),
    }
    left_out = {"P2"} if tiny else set()  # whose layers ResNet-18 has too
    if missing(["transformers"]):
        left_out.add("GPT-2 small")
    return {name: make for name, make in found.items() if name not in left_out}


def ours(kind: str = "hessian", **settings: Any) -> Make:
    def make(problem: Problem) -> Product:
        objective = kdl.Objective(
            problem.module, problem.loss, (problem.inputs, problem.targets), device=problem.inputs.device
        )
        return getattr(kdl, kind)(objective, problem.module, **settings)

    return make


CONTENDERS: dict[str, tuple[str, Make]] = {  # name: the module it needs, and how it is made
    "kdlandscape": ("torch", ours()),
    f"kdlandscape, {VECTORS} vectors": ("torch", ours()),
    "PyHessian, cached graph": ("pyhessian", peers.pyhessian_cached),
    "PyHessian, loader": ("pyhessian", peers.pyhessian_loader),
    "curvlinops": ("curvlinops", peers.curvlinops),
    "hessian-eigenthings": ("hessian_eigenthings", peers.eigenthings),
    "kdlandscape, Gauss–Newton": ("torch", ours("ggn")),
    "curvlinops, Gauss–Newton": ("curvlinops", lambda problem: peers.curvlinops(problem, kind="GGN")),
    "kdlandscape, compiled": ("torch", ours(compile=True)),
}


#: At the size of a test: every contender on the smallest network, one on the others.
FEW = {("P1", name) for name in CONTENDERS} | {(which, "kdlandscape") for which in ("ResNet-18", "GPT-2 small")}


def gradient(problem: Problem) -> Tensor:
    """Return the plain gradient: the unit of the others."""
    parameters = list(problem.module.parameters())
    return peers.flat(torch.autograd.grad(problem.loss(problem.module(problem.inputs), problem.targets), parameters))


def reference(problem: Problem, v: Tensor, gauss_newton: bool) -> Tensor:
    """Return Hv by double backward, or J'HJv with Jv as the derivative of J'u by u: what all have to give."""
    parameters = list(problem.module.parameters())
    parts, outputs = peers.split(v, parameters), problem.module(problem.inputs)
    if not gauss_newton:
        first = torch.autograd.grad(problem.loss(outputs, problem.targets), parameters, create_graph=True)
        return peers.flat(torch.autograd.grad(first, parameters, parts))
    u, at = torch.zeros_like(outputs, requires_grad=True), outputs.detach().requires_grad_()
    pulled = torch.autograd.grad(outputs, parameters, u, create_graph=True)
    moved = torch.autograd.grad(pulled, u, parts)[0]
    slope = torch.autograd.grad(problem.loss(at, problem.targets), at, create_graph=True)[0]
    curved = torch.autograd.grad(slope, at, moved)[0]
    return peers.flat(torch.autograd.grad(outputs, parameters, curved))


def measured(problem: Problem, name: str, turns: int, least: float) -> dict[str, Any]:
    """Prepare a contender, compare its product with the reference, and time it in turns with the gradient."""
    make, many = CONTENDERS[name][1], VECTORS if "vectors" in name else 1
    draw = torch.Generator(problem.inputs.device).manual_seed(0)
    size = sum(p.numel() for p in problem.module.parameters())
    v = torch.randn(many, size, generator=draw, device=problem.inputs.device)
    rows = v if many > 1 else v[0]
    expected = reference(problem, v[0], "Newton" in name)
    gc.collect()
    card = problem.inputs.is_cuda and torch.cuda.is_available()
    before = torch.cuda.memory_allocated() if card else 0
    if card:
        torch.cuda.reset_peak_memory_stats()
    prepared, made = [], problem.own()
    preparation = seconds(lambda: prepared.append(make(made)))
    product = prepared[0]
    found = product(rows)
    first = (found[0] if many > 1 else found).detach()
    off = float((first - expected).norm() / expected.norm())
    plain, own = in_turns([lambda: gradient(problem), lambda: product(rows)], turns, least=least)
    return {
        "gradient": plain,
        "seconds": [one / many for one in own],
        "ratios": [one / many / unit for one, unit in zip(own, plain, strict=True)],
        "preparation": preparation,
        "GB": (torch.cuda.max_memory_allocated() - before) / 2**30 if card else None,
        "off": off,
    }


def rows(setting: Setting) -> Iterator[Row]:
    """Yield a row for each problem and contender."""
    lacking = missing({module for module, _ in CONTENDERS.values()} - {"torch"})
    for which, make in problems(setting.tiny).items():
        for name, (module, _) in CONTENDERS.items():
            if module in lacking or (setting.tiny and (name.endswith("compiled") or (which, name) not in FEW)):
                continue

            def measure(make: Callable[[], Problem] = make, name: str = name) -> dict[str, Any]:
                return measured(make().to(setting.device), name, *((2, 0.0) if setting.tiny else (TURNS, 0.05)))

            yield Row(f"{which}: {name}", measure, 30.0)


def lines(found: Rows) -> list[str]:
    """Return the table and what became of the goals."""

    def cells(name: str, values: dict[str, Any]) -> list[str]:
        memory = "–" if values["GB"] is None else f"{values['GB']:.2f}"
        times = [spread([1e3 * one for one in values["seconds"]]), spread(values["ratios"])]
        return [*times, f"{values['preparation']:.2g}", memory, f"{values['off']:.1e}"]

    columns = ["problem: contender", "ms a vector", "in gradients", "s to prepare", "GB at peak", "off the reference"]
    return [*table(columns, found, cells), "", *_goals(found)]


def _goals(found: Rows) -> list[str]:
    middle = {name: statistics.median(values["ratios"]) for name, values in found.items()}
    said = []
    for which in dict.fromkeys(name.split(":")[0] for name in found):
        of = {n: v for n, v in middle.items() if n.startswith(f"{which}:") and "Newton" not in n and "vectors" not in n}
        mine = {name: value for name, value in of.items() if ": kdlandscape" in name}
        theirs = {name: value for name, value in of.items() if name not in mine}
        if not mine:
            continue
        best = min(mine, key=mine.__getitem__)
        if which in ("P2", "ResNet-18"):
            what = f"a GPU, {which}: a Hessian product ≤ 2.2 gradients"
            said.append(goal(what, f"{mine[best]:.2f} with {best.split(': ')[1]}", mine[best] <= 2.2))
        if theirs:
            peer = min(theirs, key=theirs.__getitem__)
            what = f"a GPU, {which}: a product no slower than any peer's"
            got = f"{mine[best]:.2f} gradients, {theirs[peer]:.2f} by {peer.split(': ')[1]}"
            said.append(goal(what, got, mine[best] <= theirs[peer]))
    return said


PART = Part(
    "Products",
    rows,
    lines,
    needs=("pyhessian", "curvlinops", "hessian_eigenthings", "transformers"),
    about="A product is timed in turns with the plain gradient of the same network; float32, TF32 off. The reference "
    "is double backward, twice more for J'HJv.",
)
