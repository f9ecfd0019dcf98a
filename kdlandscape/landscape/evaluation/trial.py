"""Choose how to evaluate by measuring: a few candidates on a few of the points, within a memory budget."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from kdlandscape.landscape.batches import preserve_rng
from kdlandscape.landscape.evaluation.evaluator import Rows, evaluator, plain
from kdlandscape.landscape.evaluation.remembered import recall, remember
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.measured import FEW, Budget, activation_bytes, compared, examples_that_fit, fastest, room
from kdlandscape.landscape.reduction import num_examples

LEAST_SECONDS = 0.25  # a loop of less than this is not worth a trial
TRIAL_SECONDS = 2.0  # that a trial may always take
SMALL_SECONDS = 5e-3  # a CPU gains from several points at once only where a point is mostly overhead
WORKER_SECONDS = 0.08  # of work for each worker in a measurement, since threads take milliseconds to start
SHARE = 0.1  # of the time that the plain loop would take
GAIN = 10.0  # times what compiling takes the plain loop has to take: code gains about a fifth of a faster strategy
CLOCK_SECONDS = 0.03  # that a fast loop is timed for, to be above the clock's noise
PAIR_SECONDS = 0.1  # that a comparison may always take
MATTERS = 0.03  # a difference below is none


Plane = tuple[Tensor | None, Rows | None]  # origin and directions


class Work(NamedTuple):
    """Seconds a point of the best strategy so far, those of the plain loop for all points, and whether code pays."""

    least: float
    ahead: float
    compile: bool


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
    Every candidate must give the numbers of the plain loop, or it is dropped. Where the loop takes micro-batches, two
    stand for all. The trial takes up to a tenth of the time that the plain loop would, and is remembered: by the
    objective, and where every difference was larger than its spread or too small to matter, for later processes on this
    machine; see `kdlandscape.landscape.evaluation.remembered`. What is recalled is checked on one point, and never
    compiled for less work than pays for it.
    """
    if len(points) <= FEW or objective.bn == "recalibrate":
        return plain(objective)
    with preserve_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _chosen(objective, points, (origin, directions))


def _chosen(objective: MeanLoss, points: Tensor, plane: Plane) -> Strategy:
    """Return what the objective, or this machine, remembers, else what a trial finds."""
    sample = points[torch.linspace(0, len(points) - 1, 3).long()][:1]
    loop = Ready(plain(objective), partial(evaluator(objective, plain(objective), *plane), sample), 1)
    on_plane, threads = plane[0] is not None, torch.get_num_threads()
    timed = ("seconds of the loop", on_plane, threads)
    if timed not in objective.cache:  # the faster of two calls, so that the first need not be repeated
        objective.cache[timed] = fastest([loop.evaluate], seconds=CLOCK_SECONDS)[0]
    least = objective.cache[timed]
    ahead = least * len(points)
    work = Work(least, ahead, ahead > GAIN * _compile_seconds(objective))
    key = ("strategy", on_plane, work.compile, threads)
    if key not in objective.cache:
        if ahead < LEAST_SECONDS:
            return loop.strategy
        objective.cache[key] = _recalled(objective, loop, (sample, plane), work)
    return objective.cache[key]


def _recalled(objective: MeanLoss, loop: Ready, given: tuple[Tensor, Plane], work: Work) -> Strategy:
    """Return what an earlier process found, if it still gives the numbers of the loop; else measure and remember."""
    sample, plane = given
    asked = {"plane": plane[0] is not None, "compile": work.compile}
    reference, known = loop.evaluate(), recall(objective, **asked)
    if known is not None and _prepared(objective, known, plane, sample, reference) is not None:
        return known
    part = _part(objective)
    if part is not objective:
        loop = loop._replace(evaluate=partial(evaluator(part, loop.strategy, *plane), sample))
        reference = loop.evaluate()
        work = work._replace(least=work.least * part.num_examples / objective.num_examples)
    best, speedup, sure = _improved(part, loop, (sample, reference, plane), work)
    if sure:
        remember(objective, best, speedup, **asked)
    return best


def _part(objective: MeanLoss) -> MeanLoss:
    """Return the loss on two micro-batches, where points take more: what is faster there is faster on all of them."""
    examples = plain(objective).examples
    if examples is None or not objective.batches.held:
        return objective
    batch = next(objective.batches.loaded())
    few = tree_map(lambda leaf: leaf[: 2 * examples], batch)
    return objective.on(few) if num_examples(few) < objective.num_examples else objective


def _improved(
    objective: MeanLoss, loop: Ready, given: tuple[Tensor, Any, Plane], work: Work
) -> tuple[Strategy, float, bool]:
    """Improve the plain loop one setting at a time; return the best, its speedup, and whether all was told apart."""
    sample, reference, plane = given
    best, sure, budget = loop, True, Budget(max(SHARE * work.ahead, TRIAL_SECONDS))
    first = work.least
    for stage in (_sizes, _recordings, _threads, _layouts, _chunks, _compilations):
        for candidate in stage(objective, best.strategy, work, plane[0] is not None):
            if not budget.allows(8 * work.least):
                return best.strategy, first / work.least, False
            each = max(1, int(WORKER_SECONDS / work.least)) if candidate.workers > 1 else 1
            count = max(candidate.points, candidate.workers * each)
            other = _prepared(objective, candidate, plane, sample.expand(count, -1), reference)
            if other is None:
                continue
            units, seconds = (other.points, best.points), max(budget.left / 3, PAIR_SECONDS)
            found = compared(other.evaluate, best.evaluate, units=units, matters=MATTERS, seconds=seconds)
            sure = sure and found.known
            if found.ratio < 1 - MATTERS:
                best, work = other, work._replace(least=work.least * found.ratio)
    return best.strategy, first / work.least, sure


def _prepared(objective: MeanLoss, candidate: Strategy, plane: Plane, many: Tensor, reference: Any) -> Ready | None:
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


def _sizes(objective: MeanLoss, best: Strategy, work: Work, plane: bool) -> Iterator[Strategy]:
    """Fewer forward passes, where a loader's batches are small."""
    size = objective.batches.batch_size
    if objective.cuttable and objective.batches.held and size is not None and size < examples_that_fit(objective):
        yield replace(best, examples=min(examples_that_fit(objective), objective.num_examples))


def _recordings(objective: MeanLoss, best: Strategy, work: Work, plane: bool) -> Iterator[Strategy]:
    yield replace(best, trace=True)
    if plane:
        yield replace(best, trace=True, affine=True)


def _threads(objective: MeanLoss, best: Strategy, work: Work, plane: bool) -> Iterator[Strategy]:
    """Take a point a thread, recorded, even where recording alone gains nothing: threads that share a point wait."""
    threads = torch.get_num_threads()
    if objective.device.type == "cpu" and threads > 1:
        yield replace(best, trace=True, workers=threads)


def _layouts(objective: MeanLoss, best: Strategy, work: Work, plane: bool) -> Iterator[Strategy]:
    """Channels last, compared where a point is on a thread of its own: what shares a busy machine is hard to time."""
    if any(leaf.ndim == 4 for leaf in tree_leaves(next(objective.batches.loaded())[0])):
        yield replace(best, channels_last=True)


def _chunks(objective: MeanLoss, best: Strategy, work: Work, plane: bool) -> Iterator[Strategy]:
    """Several points at once: small chunks on a CPU, as many as the memory holds on a GPU."""
    on_cpu = objective.device.type == "cpu"
    if on_cpu and work.least > SMALL_SECONDS:
        return
    examples = best.examples or objective.batches.batch_size or objective.num_examples
    bytes_of_point = 4 * activation_bytes(objective) * examples + 2 * objective.theta.nbytes
    for points in (16,) if on_cpu else (16, 64, 256, 1024):
        if points * bytes_of_point <= room(objective.device):
            yield replace(best, points=points, trace=False, affine=False, workers=1)


def _compilations(objective: MeanLoss, best: Strategy, work: Work, plane: bool) -> Iterator[Strategy]:
    if work.compile and best.trace:
        yield replace(best, compile=True)


def _compile_seconds(objective: MeanLoss) -> float:
    """Return about how long a compiler takes: longer for every layer with parameters."""
    return 3.0 + sum(any(True for _ in layer.parameters(recurse=False)) for layer in objective.model.modules())
