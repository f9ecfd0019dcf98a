"""Curvature side by side with PyHessian, curvlinops and hessian-eigenthings: ``python -m tests.bench.bench_spectra``.

Every repetition times all contenders one after the other, so that they share the machine's weather; ratios are taken
within a repetition and their median is reported with the smallest and largest. Wall-clock and processor time are both
given; goals are judged by processor time, which other programs on the cores change less. Single products are timed in
processes of their own: in one process, the peers that take gigabytes run up to twice as fast once another contender has
grown the heap. Memory is the peak of that process after two products, above what it held before it prepared.

Peers: PyHessian 0.1, curvlinops 3.0.1 and hessian-eigenthings 1.0.0a5; one that is missing is left out, with the line
that installs it. Writes results/spectra.md beside this file.
"""

import argparse
import contextlib
import copy
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from kdlandscape.landscape.curvature.curvatures import ggn, hessian
from kdlandscape.landscape.curvature.questions import Curvature
from kdlandscape.landscape.curvature.spectral_paths import spectrum_along
from kdlandscape.landscape.objective import Objective
from kdlandscape.linalg.trace.hutchinson import hutchinson
from kdlandscape.linalg.trace.hutchpp import hutchpp
from kdlandscape.linalg.trace.xnystrace import xnystrace
from kdlandscape.linalg.trace.xtrace import xtrace
from tests.bench.goals import goal
from tests.bench.memory import forget_peak, resident
from tests.bench.peers import Product, curvlinops, eigenthings, missing, pyhessian_cached, pyhessian_loader
from tests.bench.problems import Problem, p1, p2, train
from tests.bench.sections import update

PROBLEMS = {"P1": p1, "P2": p2}
RESULTS = Path(__file__).parent / "results" / "spectra.md"
PEERS = ("pyhessian", "curvlinops", "hessian_eigenthings")
HEAD = "# Curvature, measured side by side\n\nWritten by `python -m tests.bench.bench_spectra`."


def objective_of(problem: Problem) -> Objective:
    return Objective(problem.module, problem.loss, (problem.inputs, problem.targets))


def ours(problem: Problem, **settings: Any) -> Curvature:
    objective = objective_of(problem)
    return hessian(objective, objective.theta, **settings)


class Times(NamedTuple):
    """Seconds of every contender in every repetition."""

    wall: dict[str, list[float]]
    processor: dict[str, list[float]]


def alternate(contenders: dict[str, Callable[[], Any]], repetitions: int) -> Times:
    times = Times({name: [] for name in contenders}, {name: [] for name in contenders})
    for run in contenders.values():
        run()
    for seed in range(repetitions):
        for name, run in contenders.items():
            torch.manual_seed(seed)  # of the start vectors of those who take the global generator
            gc.collect()  # what the contender before left behind is not this one's to clear away
            start, used = time.perf_counter(), time.process_time()
            run()
            times.wall[name].append(time.perf_counter() - start)
            times.processor[name].append(time.process_time() - used)
    return times


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> str:
    if slow not in times:
        return "–"
    ratios = [a / b for a, b in zip(times[slow], times[fast], strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def table(times: Times, base: str, *, scale: float = 1e3, unit: str = "ms") -> list[str]:
    lines = [
        f"| contender | wall {unit} | processor {unit} | speed over {base}: wall | processor |",
        "|---|---|---|---|---|",
    ]
    for name in times.wall:
        spreads = [
            f"{scale * statistics.median(row):.3g} ({scale * min(row):.3g}–{scale * max(row):.3g})"
            for row in (times.wall[name], times.processor[name])
        ]
        speeds = [ratio(row, base, name) for row in (times.wall, times.processor)]
        lines.append(f"| {name} | {' | '.join([*spreads, *speeds])} |")
    return [*lines, ""]


def contenders(problem: Problem, *, compile: bool) -> dict[str, Callable[[], Product]]:
    makers: dict[str, Callable[[], Product]] = {"kdlandscape": lambda: ours(problem)}
    if problem.name == "P2":
        makers["kdlandscape, one product only"] = lambda: ours(problem, num_matvecs=1)
        makers["kdlandscape, 4 GB of graphs kept"] = lambda: ours(problem, memory=2**32)
    if compile:
        more = {"memory": 2**32} if problem.name == "P2" else {}
        makers["kdlandscape, compiled" + (", 4 GB" if more else "")] = lambda: ours(problem, compile=True, **more)
    makers |= {
        "PyHessian, cached graph": lambda: pyhessian_cached(problem.own()),
        "PyHessian, loader, all at once": lambda: pyhessian_loader(problem.own(), None),
        "curvlinops, all at once": lambda: curvlinops(problem.own(), None),
        "hessian-eigenthings, all at once": lambda: eigenthings(problem.own(), None),
    }
    if problem.name == "P2":
        makers |= {
            "PyHessian, loader, batches of 64": lambda: pyhessian_loader(problem.own(), 64),
            "curvlinops, batches of 64": lambda: curvlinops(problem.own(), 64),
        }
    return makers


def serve(which: str, name: str, path: str) -> None:
    """Prepare one contender, save its product, say what that took; time products for 0.3 s for each line that comes."""
    problem = PROBLEMS[which]()
    v = torch.randn(objective_of(problem).dim, generator=torch.Generator().manual_seed(0))
    forget_peak()
    before, start = resident("VmRSS"), time.perf_counter()
    product = contenders(problem, compile=True)[name]()
    prepared = time.perf_counter() - start
    torch.save(product(v), path)
    product(v)
    facts = product.facts if isinstance(product, Curvature) else None
    print(json.dumps({"prepared": prepared, "GB": (resident("VmHWM") - before) / 2**20, "facts": facts}), flush=True)
    for _ in sys.stdin:
        start, used, count = time.perf_counter(), time.process_time(), 0
        while not count or time.perf_counter() - start < 0.3:
            product(v)
            count += 1
        print(json.dumps([(time.perf_counter() - start) / count, (time.process_time() - used) / count]), flush=True)


class Served:
    """A contender in a process of its own, as its user has it: no other's garbage, and no other's warm heap."""

    def __init__(self, problem: str, name: str, folder: str, threads: int) -> None:
        path = str(Path(folder) / f"{name}.pt")
        command = [sys.executable, "-W", "ignore", "-m", "tests.bench.bench_spectra", "--threads", str(threads)]
        self.process = subprocess.Popen(
            [*command, "--serve", problem, name, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.facts = self._read()
        self.product: Tensor = torch.load(path, weights_only=True)

    def _read(self) -> Any:
        assert self.process.stdout
        while line := self.process.stdout.readline():
            with contextlib.suppress(json.JSONDecodeError):  # peers print too
                return json.loads(line)
        raise RuntimeError(f"ended with exit code {self.process.wait()}")

    def time(self) -> list[float]:
        """Take products for a while; return wall-clock and processor seconds of one."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Let the process end."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def products(problem: Problem, repetitions: int, threads: int, *, compile: bool) -> list[str]:
    """One product each, every contender in a process of its own, after checking that all give the same vector."""
    notes = [f"- {said}" for said in missing(PEERS).values()]
    served: dict[str, Served] = {}
    base = "PyHessian, cached graph"
    with tempfile.TemporaryDirectory() as folder:
        for name in contenders(problem, compile=compile):
            try:
                served[name] = Served(problem.name, name, folder, threads)
            except RuntimeError as error:  # a peer that does not run here is left out by name
                notes.append(f"- {name} left out: {error}")
    expected = served.get(base, served["kdlandscape"]).product
    for name, one in list(served.items()):
        error = float((one.product - expected).norm() / expected.norm())
        if error > 1e-2:
            notes.append(f"- {name} left out: its product differs by {error:.1e}")
            served.pop(name).close()
    times = Times({name: [] for name in served}, {name: [] for name in served})
    for _ in range(repetitions):
        for name, one in served.items():
            wall, processor = one.time()
            times.wall[name].append(wall)
            times.processor[name].append(processor)
    for one in served.values():
        one.close()
    lines = [f"## One product on {problem.name}", ""]
    lines += [f"{repetitions} alternating repetitions, each contender in a process of its own.", ""]
    lines += table(times, base)
    lines += [*notes, "| contender | s to prepare | GB at peak, above the start |", "|---|---|---|"]
    lines += [f"| {name} | {one.facts['prepared']:.2g} | {one.facts['GB']:.2f} |" for name, one in served.items()]
    known = {name: one.facts["facts"] for name, one in served.items() if one.facts["facts"]}
    lines += ["", *(f"- {name}: {fact}" for name, fact in known.items())]
    if problem.name == "P2":
        fastest = min(known, key=lambda name: statistics.median(times.processor[name]))
        got = ratio(times.processor, base, fastest)
        lines.append(faster("a product on P2 ≥ 1.8× PyHessian's cached graph", got, 1.8, fastest))
        for peer in [name for name in times.wall if name.endswith("64")]:
            got = ratio(times.processor, peer, fastest)
            lines.append(faster(f"a product on P2 ≥ 1.5× {peer}", got, 1.5, fastest))
        for name in ("kdlandscape", "kdlandscape, one product only"):
            got = served[name].facts["GB"]
            lines.append(goal(f"P2 in ≤ 0.75 GB extra, {name}", f"{got:.2f} GB", got <= 0.75))
    return [*lines, ""]


def faster(what: str, got: str, wanted: float, which: str = "") -> str:
    if got == "–":
        return f"- not measured, for want of the peer: {what}"
    return goal(what, f"{got}{f' with {which}' if which else ''}", float(got.split()[0]) >= wanted)


def eigenvalues(problem: Problem, repetitions: int) -> list[str]:
    """Top 5 of P1 to 1e-6, and the true error of each against a tighter solution in float64."""
    objective = objective_of(problem)
    true = hessian(objective, objective.theta, dtype=torch.float64).top_eigenpairs(5, tol=1e-11)["eigenvalues"].values
    counts: dict[str, list[int]] = {}
    errors: dict[str, float] = {}

    def keep(name: str, values: Any, count: int) -> None:
        counts[name] = [*counts.get(name, []), count]
        errors[name] = max(errors.get(name, 0.0), float(abs(torch.as_tensor(values) / torch.as_tensor(true) - 1).max()))

    def lanczos() -> None:
        found = hessian(objective, objective.theta).top_eigenpairs(5, tol=1e-6)
        keep("kdlandscape", found["eigenvalues"].values, found.attrs["num_matvecs"])

    def by_value() -> None:
        found = hessian(objective, objective.theta).top_eigenpairs(5, tol=1e-6, stop="value")
        keep("kdlandscape, stop on the value", found["eigenvalues"].values, found.attrs["num_matvecs"])

    def power() -> None:
        from pyhessian import hessian, utils

        it = hessian(problem.own().module, problem.loss, data=problem.batches()[0], cuda=False)
        plain, count = utils.hessian_vector_product, [0]

        def counting(*args: Any) -> Any:
            count[0] += 1
            return plain(*args)

        home = sys.modules["pyhessian.hessian"]
        home.hessian_vector_product = counting
        try:
            found = it.eigenvalues(maxIter=1000, tol=1e-6, top_n=5)[0]
        finally:
            home.hessian_vector_product = plain
        keep("PyHessian, power iteration, tol 1e-6", sorted(found, reverse=True), count[0])

    def eigsh() -> None:
        import numpy as np
        from scipy.sparse.linalg import LinearOperator
        from scipy.sparse.linalg import eigsh as solve

        product, count = curvlinops(problem.own(), None), [0]

        def matvec(v: Any) -> Any:
            count[0] += 1
            return product(torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32)).reshape(-1)).numpy()

        n = objective.dim
        found = solve(LinearOperator((n, n), matvec=matvec, dtype=np.float32), k=5, which="LA", tol=1e-6)[0]
        keep("curvlinops + scipy eigsh", sorted(found.tolist(), reverse=True), count[0])

    contenders = {
        "kdlandscape": lanczos,
        "kdlandscape, stop on the value": by_value,
        "PyHessian, power iteration, tol 1e-6": power,
        "curvlinops + scipy eigsh": eigsh,
    }
    notes = [f"- {said}" for said in missing(PEERS).values()]
    for name, run in list(contenders.items()):
        try:
            run()
        except Exception as error:
            notes.append(f"- {name} left out: {type(error).__name__}: {str(error)[:160]}")
            del contenders[name]
    times = alternate(contenders, repetitions)
    lines = [f"## Top 5 eigenvalues of {problem.name}, construction included", ""]
    lines += table(times, "PyHessian, power iteration, tol 1e-6", scale=1.0, unit="s")
    for name in times.wall:
        count = f"{statistics.median(counts[name]):g} ({min(counts[name])}–{max(counts[name])})"
        lines.append(f"- {name}: {count} products, largest relative error {errors[name]:.1e}")
    # Power iteration stops on the change of the value, so the stop on the value's error is its like.
    got = ratio(times.processor, "PyHessian, power iteration, tol 1e-6", "kdlandscape, stop on the value")
    return [*lines, *notes, faster("top 5 of P1 to 1e-6 ≥ 10× PyHessian", got, 10.0), ""]


def _eig(matrix: Tensor, eigenvectors: bool) -> tuple[Tensor, Tensor]:
    """Stand in for torch.eig, which is gone and which PyHessian 0.1 calls on a symmetric matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], dim=1), vectors


def density(problem: Problem, repetitions: int) -> list[str]:
    """SLQ of one draw and 50 steps, on an operator and a graph that are ready."""
    a, fast = ours(problem), ours(problem, compile=True)
    generator = torch.Generator().manual_seed(0)

    contenders = {
        "kdlandscape": lambda: a.quadrature(num_matvecs=50, num_draws=1, generator=generator),
        "kdlandscape, compiled": lambda: fast.quadrature(num_matvecs=50, num_draws=1, generator=generator),
    }
    lacking = missing(["pyhessian"])
    if not lacking:
        torch.eig = _eig
        it = pyhessian_cached(problem.own()).hessian  # type: ignore[attr-defined]
        contenders["PyHessian, cached graph"] = lambda: it.density(iter=50, n_v=1)
    times = alternate(contenders, repetitions)
    names = [name for name in times.wall if name.startswith("kdlandscape")]
    best = min(names, key=lambda name: statistics.median(times.processor[name]))
    got = ratio(times.processor, "PyHessian, cached graph", best)
    lines = [f"## SLQ of 50 steps on {problem.name}", "", *table(times, "PyHessian, cached graph", scale=1.0, unit="s")]
    goals = [f"- {said}" for said in lacking.values()]
    goals += [faster("SLQ(50) on P1 ≥ 1.5× PyHessian", got, 1.5, best)]
    return [*lines, *goals, ""]


def traces(problem: Problem, seeds: int) -> list[str]:
    """Relative root mean square error of the trace over seeds, against a long run or the dense matrix.

    Where every output is affine in every single weight (linear layers with ReLU), the Hessian's diagonal is that of the
    GGN, and so is its trace; the GGN has no negative eigenvalues and its trace takes fewer products.
    """
    objective = objective_of(problem)
    small = tiny()
    rows, goals = [], []
    for name, of, methods, count in (
        ("460 parameters, its own products", small, (hutchinson, hutchpp, xtrace), 5 * seeds),
        ("460 parameters, products of the GGN", small, (xtrace, xnystrace), 5 * seeds),
        (f"{problem.name}, its own products", objective, (xtrace,), seeds // 5),
        (f"{problem.name}, products of the GGN", objective, (hutchinson, xtrace, xnystrace), seeds // 5),
    ):
        semidefinite = name.endswith("GGN")
        a = (ggn if semidefinite else hessian)(of, of.theta)
        dense = a(torch.eye(a.dim, dtype=torch.float64)) if of is small else None
        product = a if dense is None else lambda v, matrix=dense: v @ matrix
        long = xtrace(a, a.theta, 600, generator=rng(10**6)) if dense is None else None
        truth = long.value if long else dense.trace()
        last = {}
        for method in methods:
            errors = []
            for products_ in (12, 30, 40):
                found = [method(product, a.theta, products_, generator=rng(s)).value for s in range(count)]
                errors.append(float(((torch.stack(found) / truth - 1) ** 2).mean().sqrt()))
            cells = " | ".join(f"{100 * error:.2g} %" for error in errors)
            rows.append(f"| {name}, {method.__name__}, {count} seeds | {cells} |")
            last[method.__name__] = errors[-1]
        if semidefinite:
            best = min(last, key=last.__getitem__)
            got = f"{100 * last[best]:.2g} % with {best}"
            goals.append(goal(f"the Hessian's trace to 1 % in 40 products, {name}", got, last[best] <= 0.01))
        if long:
            goals.append(f"- {name}: trace {float(truth):.5g} with standard error {float(long.sem):.2g}, 600 products")
    head = ["## Trace", "", "| relative rms error | 12 products | 30 | 40 |", "|---|---|---|---|"]
    return [*head, *rows, "", *goals, ""]


def tiny() -> Objective:
    """Digits on 64-6-10 ReLU, in float64."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    inputs, targets = torch.tensor(digits.data[:1437] / 16), torch.tensor(digits.target[:1437])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(64, 6), torch.nn.ReLU(), torch.nn.Linear(6, 10)).double()
    train(module, inputs, targets, 300)
    return Objective(module, torch.nn.CrossEntropyLoss(), (inputs, targets))


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def warm(problem: Problem, k: int = 10) -> list[str]:
    """Products of 11 points on a path to the network after more training, started cold and warm."""
    objective = objective_of(problem)
    t = [i / 10 for i in range(11)]
    lines = [f"## Top {k} along 11 points of a path on {problem.name}", ""]
    lines += ["| path | stop | cold | warm | warm / cold |", "|---|---|---|---|---|"]
    best = 9.0
    for steps in (100, 5):
        other = copy.deepcopy(problem.module)
        train(other, problem.inputs, problem.targets, steps)
        start, end = objective.theta, objective.ravel(other)
        curvatures = [hessian(objective, torch.lerp(start, end, at)) for at in t]
        for stop, tol in (("residual", 1e-6), ("value", 1e-6), ("value", 1e-3)):
            cold, hot = (
                int(spectrum_along(curvatures, t, k, warm=flag, tol=tol, stop=stop)["num_matvecs"].sum())
                for flag in (False, True)
            )
            best = min(best, hot / cold)
            lines.append(f"| {steps} more steps | {stop}, {tol:g} | {cold} | {hot} | {hot / cold:.2f} |")
    return [*lines, "", goal("warm top 10 along a path ≤ half the products of cold", f"{best:.2f}", best <= 0.5), ""]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="also time compiled products on P2 (minutes)")
    parser.add_argument("--only", default="", help="parts by comma; default: all of them")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")
    if chosen.serve:
        serve(*chosen.serve)
        return
    parts: dict[str, Callable[[], list[str]]] = {
        "product": lambda: products(p1(), 3 * chosen.repetitions, chosen.threads, compile=True),
        "eigenvalues": lambda: eigenvalues(p1(), chosen.repetitions),
        "density": lambda: density(p1(), chosen.repetitions),
        "trace": lambda: traces(p1(), 60),
        "warm": lambda: warm(p1()),
        "convolution": lambda: products(p2(), chosen.repetitions // 2, chosen.threads, compile=chosen.compile),
    }
    for name in chosen.only.split(",") if chosen.only else parts:
        load = os.getloadavg()[0]
        print(f"## {update(RESULTS, HEAD, parts[name](), load)}\n", flush=True)


if __name__ == "__main__":
    main()
