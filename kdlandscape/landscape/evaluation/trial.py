"""Choose how to evaluate by measuring: a few candidates on a few of the points, within a memory budget."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from kdlandscape.landscape.batches import preserve_rng
from kdlandscape.landscape.evaluation.evaluator import MEMORY, Rows, evaluator, plain
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.measured import FEW, Budget, activation_bytes, examples_that_fit, fastest

LEAST_SECONDS = 0.25  # a loop of less than this is not worth a trial
TRIAL_SECONDS = 1.0  # that a trial may always take
SMALL_SECONDS = 5e-3  # a CPU gains from several points at once only where a point is mostly overhead
WORKER_SECONDS = 0.08  # of work for each worker in a measurement, since threads take milliseconds to start
SHARE = 0.1  # of the time that the plain loop would take
COMPILE_SECONDS = 600.0  # of plain looping, from which on compiling is tried
CLOCK_SECONDS = 0.12  # that fast candidates are timed for, to be above the clock's noise


class Ready(NamedTuple):
    """A strategy, the function that evaluates so many points by it, and how many."""

    strategy: Strategy
    evaluate: Callable[[], Any]
    points: int


def choose(
    objective: MeanLoss,
    points: Tensor,
    origin: Tensor | None = None,
    directions: Rows | None = None,
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
    objective: MeanLoss, points: Tensor, origin: Tensor | None, directions: Rows | None
) -> tuple[Strategy, bool]:
    """Improve the plain loop one setting at a time; both are timed in turn, since a busy machine drifts."""
    sample = points[torch.linspace(0, len(points) - 1, 3).long()][:1]
    evaluate = evaluator(objective, plain(objective), origin, directions)
    best = Ready(plain(objective), lambda: evaluate(sample), 1)
    with preserve_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = evaluate(sample)
        least = loop = fastest([best.evaluate], seconds=CLOCK_SECONDS / 4)[0]
        if loop * len(points) < LEAST_SECONDS:
            return best.strategy, False
        budget = Budget(max(SHARE * loop * len(points), TRIAL_SECONDS))
        for stage in (_sizes, _layouts, _recordings, _threads, _chunks, _compilations):
            for candidate in stage(objective, best.strategy, (least, loop * len(points)), origin is not None):
                if not budget.allows(4 * least):
                    return best.strategy, True
                each = max(1, int(WORKER_SECONDS / least)) if candidate.workers > 1 else 1
                count = max(candidate.points, candidate.workers * each)
                other = _prepared(objective, candidate, (origin, directions), sample.expand(count, -1), reference)
                if other is None:
                    continue
                old, new = fastest([best.evaluate, other.evaluate], seconds=CLOCK_SECONDS)
                if new / other.points < 0.97 * old / best.points:
                    best, least = other, new / other.points
    return best.strategy, True


def _prepared(objective: MeanLoss, candidate: Strategy, plane: Any, many: Tensor, reference: Any) -> Ready | None:
    """Return what is to be timed; None if the candidate fails or gives other numbers."""
    try:
        evaluate = evaluator(objective, candidate, *plane)
        values = evaluate(many[:1])
        if not all(_close(values[name], reference[name], objective.num_examples) for name in reference):
            return None
        evaluate(many)
    except (ValueError, RuntimeError, NotImplementedError, MemoryError):
        return None
    return Ready(candidate, lambda: evaluate(many), len(many))


def _close(a: Tensor, b: Tensor, num_examples: int) -> bool:
    double = a.dtype == torch.float64
    flips = 0.0 if double else 2.0 / num_examples  # one example may change its class by rounding
    return torch.allclose(a, b, rtol=1e-9 if double else 1e-3, atol=1e-12 + flips, equal_nan=True)


def _sizes(objective: MeanLoss, best: Strategy, seconds: tuple[float, float], plane: bool) -> Iterator[Strategy]:
    """Fewer forward passes, where a loader's batches are small."""
    size = objective.batches.batch_size
    if objective.cuttable and objective.batches.held and size is not None and size < examples_that_fit(objective):
        yield replace(best, examples=min(examples_that_fit(objective), objective.num_examples))


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
