"""Choose how to evaluate by measuring: a few candidates on a few of the points, within a memory budget."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from kdlandscape.landscape.batches import preserve_rng
from kdlandscape.landscape.evaluation.evaluator import MEMORY, activation_bytes, evaluator, fitting, plain
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.loss import MeanLoss

Clock = Callable[[], float]
FEW = 8  # points for which a trial never pays
LEAST_SECONDS = 0.25  # a loop of less than this is not worth a trial
TRIAL_SECONDS = 1.0  # that a trial may always take
SMALL_SECONDS = 5e-3  # a CPU gains from several points at once only where a point is mostly overhead
WORKER_SECONDS = 0.08  # of work for each worker in a measurement, since threads take milliseconds to start
SHARE = 0.1  # of the time that the plain loop would take
COMPILE_SECONDS = 600.0  # of plain looping, from which on compiling is tried


def choose(
    objective: MeanLoss, points: Tensor, origin: Tensor | None = None, directions: Tensor | None = None
) -> Strategy:
    """Return the fastest strategy of a short measured trial; a loop where there is too little to do.

    Parameters
    ----------
    objective, points
        What to evaluate, and the points that will be asked for (K, .).
    origin, directions
        The line or plane on which the points lie, as in `evaluator`.

    Notes
    -----
    Every candidate must give the numbers of the plain loop, or it is dropped. The trial takes up to a tenth of the
    time that the plain loop would, and is remembered by the objective.
    """
    if len(points) <= FEW or objective.bn == "recalibrate":
        return plain(objective)
    key = ("strategy", origin is None, torch.get_num_threads())
    if key not in objective.cache:
        chosen, enough = _measured(objective, points, origin, directions)
        if not enough:
            return chosen
        objective.cache[key] = chosen
    return objective.cache[key]


def _measured(
    objective: MeanLoss, points: Tensor, origin: Tensor | None, directions: Tensor | None
) -> tuple[Strategy, bool]:
    """Improve the plain loop one setting at a time; both are timed in turn, since a busy machine drifts."""
    sample = points[torch.linspace(0, len(points) - 1, 3).long()][:1]
    best = plain(objective)
    evaluate = evaluator(objective, best, origin, directions)
    with preserve_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = evaluate(sample)
        clock: Clock = partial(_seconds, lambda: evaluate(sample), 1)
        fastest = loop = clock()
        if loop * len(points) < LEAST_SECONDS:
            return best, False
        deadline = time.perf_counter() + max(SHARE * loop * len(points), TRIAL_SECONDS)
        for stage in (_sizes, _layouts, _recordings, _threads, _chunks, _compilations):
            for candidate in stage(objective, best, (fastest, loop * len(points)), origin is not None):
                if time.perf_counter() + 4 * fastest > deadline:
                    return best, True
                each = max(1, int(WORKER_SECONDS / fastest)) if candidate.workers > 1 else 1
                count = max(candidate.points, candidate.workers * each)
                other = _prepared(objective, candidate, (origin, directions), sample.expand(count, -1), reference)
                if other is None:
                    continue
                times = [(clock(), other()) for _ in range(2)]
                old, new = (min(row) for row in zip(*times, strict=True))
                if new < 0.97 * old:
                    best, clock, fastest = candidate, other, new
    return best, True


def _prepared(objective: MeanLoss, candidate: Strategy, plane: Any, many: Tensor, reference: Any) -> Clock | None:
    """Return a function that measures the seconds a point; None if the candidate fails or gives other numbers."""
    try:
        evaluate = evaluator(objective, candidate, *plane)
        values = evaluate(many[:1])
        if not all(_close(values[name], reference[name], objective.num_examples) for name in reference):
            return None
        evaluate(many)
    except (ValueError, RuntimeError, NotImplementedError, MemoryError):
        return None
    return partial(_seconds, lambda: evaluate(many), len(many))


def _close(a: Tensor, b: Tensor, num_examples: int) -> bool:
    double = a.dtype == torch.float64
    flips = 0.0 if double else 2.0 / num_examples  # one example may change its class by rounding
    return torch.allclose(a, b, rtol=1e-9 if double else 1e-3, atol=1e-12 + flips, equal_nan=True)


def _seconds(function: Callable[[], Any], count: int) -> float:
    """Seconds a point: the best of calls for 30 ms, after a first one that warms up unless it is slow."""
    times: list[float] = []
    while len(times) < 5 or sum(times) < 0.03:
        start = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        if times[0] > 0.1:
            break
    return min(times) / count


def _sizes(objective: MeanLoss, best: Strategy, seconds: tuple[float, float], plane: bool) -> Iterator[Strategy]:
    """Fewer forward passes, where a loader's batches are small."""
    size = objective.batches.batch_size
    if objective.bn == "frozen" and objective.batches.held and size is not None and size < fitting(objective):
        yield replace(best, examples=min(fitting(objective), objective.num_examples))


def _layouts(objective: MeanLoss, best: Strategy, seconds: tuple[float, float], plane: bool) -> Iterator[Strategy]:
    if any(leaf.ndim == 4 for leaf in tree_leaves(next(objective.batches.loaded())[0])):
        yield replace(best, channels_last=True)


def _recordings(objective: MeanLoss, best: Strategy, seconds: tuple[float, float], plane: bool) -> Iterator[Strategy]:
    yield replace(best, trace=True)
    if plane:
        yield replace(best, trace=True, affine=True)


def _chunks(objective: MeanLoss, best: Strategy, seconds: tuple[float, float], plane: bool) -> Iterator[Strategy]:
    """Several points at once: small chunks on a CPU, as many as the memory holds on a GPU."""
    on_cpu = objective.device.type == "cpu"
    if on_cpu and seconds[0] > SMALL_SECONDS:
        return
    free = MEMORY if on_cpu else torch.cuda.mem_get_info(objective.device)[0] // 2
    examples = best.examples or objective.batches.batch_size or objective.num_examples
    bytes_of_point = 4 * activation_bytes(objective) * examples + 2 * objective.theta.nbytes
    for points in (16,) if on_cpu else (16, 64, 256, 1024):
        if points * bytes_of_point <= free:
            yield replace(best, points=points, trace=False, affine=False, workers=1)


def _threads(objective: MeanLoss, best: Strategy, seconds: tuple[float, float], plane: bool) -> Iterator[Strategy]:
    threads = torch.get_num_threads()
    if objective.device.type == "cpu" and threads > 1 and best.trace:
        yield replace(best, workers=threads)


def _compilations(objective: MeanLoss, best: Strategy, seconds: tuple[float, float], plane: bool) -> Iterator[Strategy]:
    if seconds[1] > COMPILE_SECONDS and best.trace:
        yield replace(best, compile=True)
