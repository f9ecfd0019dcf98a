"""Curvature at size: GPT-2 small (124 million parameters, random weights, real text) beside the peers, on the CPU.

    python -m tests.bench.at_size

Every contender runs in a process of its own, one after the other, on one thread. A plain gradient and a product
are timed in turns there, in processor time, which other programs on the cores change less; their ratio is taken turn by
turn. Memory is the peak of that process above what it held with the network, the text and one vector. A peer that does
not run with the network as it comes is named with its error and gets one with unfused attention. Writes
results/at_size.md, a part at a time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from sklearn import datasets
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import kdlandscape as kdl
from tests.bench import peers
from tests.bench.goals import goal
from tests.bench.memory import forget_peak, resident
from tests.bench.peers import Product
from tests.bench.problems import Problem
from tests.bench.sections import update

RESULTS = Path(__file__).parent / "results" / "at_size.md"
HEAD = "# A network of 124 million parameters\n\nWritten by `python -m tests.bench.at_size`."
ATTENTION = {"sdpa": "the network as it comes", "eager": "unfused attention"}
Run = Callable[..., dict[str, Any]]  # measures one thing: what, size, more -> what came of it
PEERS = ("pyhessian", "hessian_eigenthings", "curvlinops")


class Size(NamedTuple):
    """The network's and the text's size; the defaults are GPT-2 small and 128 tokens."""

    layers: int = 12
    width: int = 768
    vocabulary: int = 50257
    rows: int = 4
    length: int = 32


def tokens(size: Size) -> Tensor:
    """Return real text in rows (n, length): scikit-learn's descriptions of its data, in byte pairs learned on them."""
    texts = [getattr(datasets, f"load_{name}")()["DESCR"] for name in ("digits", "iris", "wine", "breast_cancer")]
    pairs = ByteLevelBPETokenizer()
    pairs.train_from_iterator(texts, vocab_size=min(size.vocabulary, 2000), min_frequency=2, show_progress=False)
    return torch.tensor(pairs.encode("".join(texts)).ids[: size.rows * size.length]).view(size.rows, size.length)


def network(size: Size, attention: str = "sdpa") -> nn.Module:
    """Return GPT-2 with random weights, of seed 0."""
    config = transformers.GPT2Config(
        vocab_size=size.vocabulary,
        n_positions=1024,
        n_embd=size.width,
        n_layer=size.layers,
        n_head=size.width // 64 or 1,
        attn_implementation=attention,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.GPT2LMHeadModel(config).eval()


def next_token(output: Any, text: Tensor) -> Tensor:
    """Return the mean cross entropy of each next token, for each row."""
    return cross_entropy(output.logits[:, :-1].transpose(1, 2), text[:, 1:], reduction="none").mean(1)


class Logits(nn.Module):
    """What the peers need to have wrapped: logits (n, C, length - 1), for torch's own cross entropy."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, text: Tensor) -> Tensor:
        return self.inner(text).logits[:, :-1].transpose(1, 2)


def ours(**settings: Any) -> Callable[[nn.Module, Tensor], Product]:
    def make(module: nn.Module, text: Tensor) -> Product:
        return kdl.hessian(kdl.Objective(module, next_token, (text, text)), module, **settings)

    return make


def theirs(make: Callable[[Problem], Product]) -> Callable[[nn.Module, Tensor], Product]:
    return lambda module, text: make(Problem("", Logits(module), nn.CrossEntropyLoss(), text, text[:, 1:]))


def gradient(module: nn.Module, text: Tensor) -> Product:
    """Return the plain gradient as if it were a product: the unit of the others."""
    parameters = list(module.parameters())
    return lambda v: peers.flat(torch.autograd.grad(next_token(module(text), text).mean(), parameters))


CONTENDERS: dict[str, Callable[[nn.Module, Tensor], Product]] = {
    "gradient, plain torch": gradient,
    "kdlandscape, nothing kept": ours(memory=0),
    "kdlandscape, graphs kept": ours(memory=2**32),
    "PyHessian, cached graph": theirs(peers.pyhessian_cached),
    "PyHessian, loader": theirs(peers.pyhessian_loader),
    "curvlinops": theirs(peers.curvlinops),
    "hessian-eigenthings": theirs(peers.eigenthings),
}


def measured(size: Size, name: str, attention: str, turns: str) -> dict[str, Any]:
    """Prepare one contender, take products, and say what that took."""
    module, text = network(size, attention), tokens(size)
    v = torch.randn(sum(p.numel() for p in module.parameters()), generator=torch.Generator().manual_seed(0))
    plain = gradient(module, text)
    before, peaks = resident("VmRSS"), []
    forget_peak()
    product = CONTENDERS[name](module, text)
    peaks.append(resident("VmHWM"))
    forget_peak()
    found = product(v)
    sample = found[:: max(len(v) // 1000, 1)].tolist()
    del found
    product(v)
    peaks.append(resident("VmHWM"))
    ratios, seconds = [], []
    for _ in range(int(turns)):
        times = [time.process_time()]
        for call in (plain, product):
            call(v)
            times.append(time.process_time())
        seconds.append(times[2] - times[1])
        ratios.append(seconds[-1] / (times[1] - times[0]))
    return {
        "name": name,
        "attention": attention,
        "parameters": len(v),
        "seconds": seconds,
        "ratios": ratios,
        "MB": [(peak - before) / 2**10 for peak in peaks],
        "sample": sample,
    }


def pairs_found(size: Size, k: str, tol: str) -> dict[str, Any]:
    """Find the top k eigenpairs and say what that took."""
    module, text = network(size), tokens(size)
    before = resident("VmRSS")
    start, used = time.perf_counter(), time.process_time()
    a = ours()(module, text)
    made = time.process_time() - used
    forget_peak()
    found = a.top_eigenpairs(int(k), tol=float(tol))
    return {
        "parameters": a.dim,
        "products": int(found.attrs["num_matvecs"]),
        "preparation": made,
        "processor": time.process_time() - used,
        "wall": time.perf_counter() - start,
        "MB": (resident("VmHWM") - before) / 2**10,
        "eigenvalues": found["eigenvalues"].values.tolist(),
        "residuals": found["residuals"].values.tolist(),
        "converged": found["converged"].values.tolist(),
    }


def here(what: str, size: Size, *arguments: Any) -> dict[str, Any]:
    """Measure in this process."""
    return (measured if what == "product" else pairs_found)(size, *arguments)


def in_its_own_process(what: str, size: Size, *arguments: Any) -> dict[str, Any]:
    """Return what a process of this module says last, or the last line of its error."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench.at_size", "--size", *map(str, size)]
    done = subprocess.run([*command, "--measure", what, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return {"error": said[-1][:300] if said else f"exit code {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def products(size: Size, turns: int, run: Run = in_its_own_process) -> list[str]:
    """Return the section on one product: every contender's time over the gradient's, and its memory."""
    notes, rows = list(peers.missing(PEERS).values()), []
    for name in CONTENDERS:
        for attention in ("sdpa", "eager"):
            found = run("product", size, name, attention, turns)
            if "error" not in found:
                rows.append(found)
                break
            notes.append(f"{name}, {ATTENTION[attention]}: left out, {found['error']}")
    theta, reference = rows[0]["parameters"] * 4 / 2**20, rows[1]
    lines = [f"## A Hessian product of GPT-2 with {told(rows[0], size)}", ""]
    lines += ["| contender | processor s | in gradients | GB while preparing | GB while multiplying | vectors like θ |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in rows:
        cells = [spread(row["seconds"]), spread(row["ratios"]), *(f"{size / 1024:.2f}" for size in row["MB"])]
        name = row["name"] if row["attention"] == "sdpa" else f"{row['name']}, {ATTENTION['eager']}"
        lines.append(f"| {name} | {' | '.join(cells)} | {max(row['MB']) / theta:.1f} |")
    lines += ["", "Memory is the peak beside the network, the text and the vector.", ""]
    lines += [f"- {note}" for note in notes]
    for row in rows[2:]:
        lines.append(f"- {row['name']}: {difference(row, reference):.1e} from the product of {reference['name']}")
    for row in rows:
        if row["name"].startswith("kdlandscape"):
            what = f"GPT-2 small, a Hessian product ≤ 3.5 gradients, {row['name'].split(', ')[1]}"
            lines.append(goal(what, spread(row["ratios"]), statistics.median(row["ratios"]) <= 3.5))
    return [*lines, ""]


def eigenpairs(size: Size, k: int, tol: float, run: Run = in_its_own_process) -> list[str]:
    """Return the section on the top k eigenpairs."""
    found = run("pairs", size, k, tol)
    lines = [f"## The top {k} eigenpairs of GPT-2 with {told(found, size)}", ""]
    lines += ["| eigenvalue, nat | residual / largest | converged |", "|---|---|---|"]
    largest = max(map(abs, found["eigenvalues"]))
    for value, residual, done in zip(found["eigenvalues"], found["residuals"], found["converged"], strict=True):
        lines.append(f"| {value:.4g} | {residual / largest:.1e} | {'yes' if done else 'no'} |")
    lines += [
        "",
        f"{found['products']} products, to a residual of {tol:g} of the largest eigenvalue in magnitude, took",
    ]
    lines += [f"{found['processor']:.0f} s of one processor, {found['preparation']:.0f} s of them to prepare, and"]
    lines += [
        f"{found['wall']:.0f} s by the clock; {found['MB'] / 1024:.1f} GB at most beside the network and the text."
    ]
    what = f"the top {k} eigenpairs of GPT-2 small converge to {tol:g}"
    got = f"{sum(found['converged'])} in {found['products']} products"
    return [*lines, "", goal(what, got, all(found["converged"])), ""]


def told(found: dict[str, Any], size: Size) -> str:
    """Say how large the network and the text are."""
    return f"{found['parameters'] / 1e6:.3g} million parameters on {size.rows * size.length} tokens"


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def difference(first: dict[str, Any], second: dict[str, Any]) -> float:
    """Return the relative difference of two products, on a sample of their entries."""
    one, other = torch.tensor(first["sample"]), torch.tensor(second["sample"])
    return float((one - other).norm() / other.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=5, default=Size(), metavar=tuple(Size._fields))
    parser.add_argument("--only", choices=["products", "pairs"])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--tol", type=float, default=1e-2)
    parser.add_argument("--page", type=Path, default=RESULTS)
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    size = Size(*chosen.size)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if chosen.measure:
        print(json.dumps(here(chosen.measure[0], size, *chosen.measure[1:])))
        return
    parts = {
        "products": lambda: products(size, chosen.turns),
        "pairs": lambda: eigenpairs(size, chosen.pairs, chosen.tol),
    }
    for name in [chosen.only] if chosen.only else parts:
        load = os.getloadavg()[0]
        print(f"## {update(chosen.page, HEAD, parts[name](), load)}\n", flush=True)


if __name__ == "__main__":
    main()
