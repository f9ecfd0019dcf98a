"""How many points are evaluated: in a loop or as one batch, in small batches of examples, traced, by worker threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vmap

from kdlandscape.landscape.cuda_graphs import captured
from kdlandscape.landscape.evaluation.graph import (
    FIXED,
    GIVEN,
    SEEN,
    affine_parts,
    arguments,
    classes_first,
    constants,
    fold_batch_norm,
    in_place,
    own_results,
    split,
    trace,
    views,
)
from kdlandscape.landscape.evaluation.placement import Placement
from kdlandscape.landscape.evaluation.recalibration import statistics
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.measured import examples_that_fit, micro_batches, room
from kdlandscape.landscape.reduction import num_examples

Evaluate = Callable[[Tensor], dict[str, Tensor]]
Run = Callable[[Tensor], list[Tensor]]
Rows = Sequence[Tensor] | Tensor


def evaluator(
    objective: MeanLoss,
    strategy: Strategy,
    origin: Tensor | None = None,
    directions: Rows | None = None,
) -> Evaluate:
    """Return the function that evaluates every metric at K points: name -> (K,).

    Parameters
    ----------
    objective, strategy
        What to evaluate, and how.
    origin, directions
        (P,) and (D, P), or D vectors (P,): then points are coordinates (K, D), theta = origin + point @ directions, and
        one theta is made at a time; without them points are thetas (K, P).

    Notes
    -----
    Sums over examples are added in float64, a micro-batch at a time and always in the same order. Data held in memory
    are prepared once; data too large to hold are read once a call.
    """
    place = _placement(origin, directions)
    if objective.bn == "recalibrate":
        return _recalibrating(objective, strategy, place)
    if not objective.cuttable and strategy.examples is not None:
        raise ValueError(
            "the network mixes the examples of a batch (bn='batch', statistics-free BatchNorm, attention across "
            "examples), so the objective's own batches count: expected Strategy(examples=None)"
        )
    prepared: list[Run] = []

    def runs(batch: Any) -> list[Run]:
        return [prepare(objective, strategy, place, piece) for piece in pieces(objective, strategy, batch)]

    def evaluate(points: Tensor) -> dict[str, Tensor]:
        points = _given(objective, place, points)
        blocks = points.tensor_split(min(len(points), 4 * strategy.workers)) if strategy.workers > 1 else (points,)
        sums: list[Any] = [None] * len(blocks)
        with torch.no_grad(), _pool(strategy.workers) as map_:
            if objective.batches.held and not prepared:
                prepared.extend(run for batch in objective.batches.loaded() for run in runs(batch))
            for todo in [prepared] if prepared else map(runs, objective.batches.loaded()):
                parts = map_(lambda block, todo=todo: _total(todo, block), blocks)
                sums = [part if old is None else _add(old, part) for old, part in zip(sums, parts, strict=True)]
        return objective.criteria.finish([torch.cat(rows) for rows in zip(*sums, strict=True)])

    return evaluate


def plain(objective: MeanLoss) -> Strategy:
    """Return the loop, in micro-batches where one batch would not fit the caches."""
    size = objective.batches.batch_size or objective.num_examples
    fit = examples_that_fit(objective)
    return Strategy(examples=fit) if objective.cuttable and fit < size else Strategy()


def _total(runs: Sequence[Run], points: Tensor) -> list[Tensor]:
    """Add up sums and weights of every metric at each point over all pieces of the data."""
    with torch.no_grad():  # a thread's own
        total = [part.double() for part in runs[0](points)]
        for run in runs[1:]:
            total = _add(total, run(points))
        return total


def _add(total: list[Tensor], part: list[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(total, part, strict=True)]


@contextmanager
def _pool(workers: int) -> Iterator[Any]:
    if workers == 1:
        yield map
        return
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # a worker's setting is the default of every later thread


def _placement(origin: Tensor | None, directions: Rows | None) -> Placement | None:
    return None if origin is None or directions is None else Placement(origin, list(directions))


def _given(objective: MeanLoss, place: Placement | None, points: Tensor) -> Tensor:
    """Return thetas in the precision of theta, and coordinates in full precision."""
    points = points.detach()
    return points.to(objective.device, objective.dtype) if place is None else points.double()


def pieces(objective: MeanLoss, strategy: Strategy, batch: Any) -> Iterator[Any]:
    """Cut a batch into micro-batches, and lay out images."""
    yield from micro_batches(batch, strategy.examples or objective.batches.batch_size, strategy.channels_last)


def _recalibrating(objective: MeanLoss, strategy: Strategy, place: Placement | None) -> Evaluate:
    """Evaluate point by point, each with statistics of its own, in two passes over the data."""
    if strategy != Strategy():
        raise ValueError(f"bn='recalibrate' evaluates in a plain loop: expected Strategy(), got {strategy}")

    def evaluate(points: Tensor) -> dict[str, Tensor]:
        rows = []
        with torch.no_grad():
            for theta in _thetas(place, _given(objective, place, points)):
                buffers = statistics(objective, theta)
                parts = [objective.terms(theta, batch, buffers) for batch in objective.stream()]
                rows.append([torch.stack(values).double().sum(0) for values in zip(*parts, strict=True)])
        return objective.criteria.finish(_stack(rows))

    return evaluate


def _thetas(place: Placement | None, points: Tensor) -> Iterator[Tensor]:
    return iter(points) if place is None else place.walk(points.tolist())


def prepare(objective: MeanLoss, strategy: Strategy, place: Placement | None, piece: Any) -> Run:
    """Return the function that evaluates sums and weights at points (K, .) on one micro-batch."""
    if strategy.trace:
        return _traced(objective, strategy, place, piece)

    if strategy.points == 1:
        return lambda points: _stack([objective.terms(theta, piece) for theta in _thetas(place, points)])
    many = vmap(lambda theta: objective.terms(theta, piece))

    def run(points: Tensor) -> list[Tensor]:
        chunks = points.split(strategy.points)
        parts = [_many(objective, many, chunk if place is None else place.all(chunk)) for chunk in chunks]
        return [torch.cat(rows) for rows in zip(*parts, strict=True)]

    return run


def _many(objective: MeanLoss, many: Callable[[Tensor], list[Tensor]], thetas: Tensor) -> list[Tensor]:
    """Run a batch of points; on failure name the layer that cannot."""
    layers: list[str] = []
    modules = list(objective.model.named_modules())
    hooks = [m.register_forward_pre_hook(lambda *_, name=name: layers.append(name)) for name, m in modules]
    try:
        return many(thetas)
    except RuntimeError as error:
        kind = type(objective.model.get_submodule(layers[-1])).__name__ if layers else "?"
        raise ValueError(
            f"layer {layers[-1] if layers else '?'!r} ({kind}) cannot run several points at once ({error}); "
            "use Strategy(points=1)"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def _stack(rows: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [torch.stack(values) for values in zip(*rows, strict=True)]


def _traced(objective: MeanLoss, strategy: Strategy, place: Placement | None, piece: Any) -> Run:
    """Run the recorded graph point by point, with everything that the points share computed here, once."""
    leaves = arguments(piece)
    affine = strategy.affine and place is not None
    fix, first, look, rest = _graphs(objective, piece, (strategy.channels_last, affine))
    fixed = fix(objective.theta, *leaves)
    shared = [*leaves, *fixed]
    given: list[Placement] = []
    if affine and place is not None:

        def layer(theta: Tensor) -> list[Tensor]:
            return first(theta, *shared)

        values = layer(place.origin)
        slopes = [jvp(layer, (place.origin,), (direction,))[1] for direction in place.directions]
        given = [Placement(value, part) for value, part in zip(values, zip(*slopes, strict=True), strict=True)]
    _within_memory(objective, piece, [fixed, [[plane.origin, *plane.directions] for plane in given]])
    body = rest.forward
    if strategy.compile:
        arrays = [objective.theta, *shared, *(plane.origin for plane in given)]
        body = _compiled(objective, strategy, rest, piece, [*arrays, *look(*arrays)])

    def at(theta: Tensor, *values: Tensor) -> list[Tensor]:
        return body(theta, *shared, *values, *look(theta, *shared, *values))

    on_card = objective.device.type == "cuda" and strategy.workers == 1  # a recording has one set of arguments
    replayed = captured(at) if on_card else None

    def run(points: Tensor) -> list[Tensor]:
        """Write each point where the last one was, so that theta is looked at only once."""
        theta, *values = (torch.empty_like(one) for one in (objective.theta, *(plane.origin for plane in given)))
        known = (theta, *shared, *values)
        once = partial(replayed, theta, *values) if replayed else partial(body, *known, *look(*known))
        where = points.tolist()
        walks = [plane.walk(where, into) for plane, into in zip(given, values, strict=True)]
        thetas = map(theta.copy_, points) if place is None else place.walk(where, theta)
        return _stack([once() for _ in zip(thetas, *walks, strict=True)])

    return run


def _graphs(objective: MeanLoss, piece: Any, key: tuple[bool, bool]) -> tuple[Any, Any, Any, Any]:
    """Trace once for each shape of a micro-batch; cut: what is fixed, affine in theta, a part of it, and the rest."""
    shapes = ("graph", *key, *(leaf.shape for leaf in arguments(piece)))
    if shapes not in objective.cache:
        graph = fold_batch_norm(trace(objective.terms, objective.theta, piece))
        fix, rest = split(graph, constants(graph), FIXED)
        first: Any = None
        if key[1]:
            if not affine_parts(rest):
                raise ValueError("no layer is affine in theta: expected affine=False")
            first, rest = split(rest, affine_parts(rest), GIVEN)
        look, rest = split(rest, views(rest), SEEN)
        objective.cache[shapes] = (fix, first, look, in_place(classes_first(own_results(rest))))
    return objective.cache[shapes]


def _compiled(objective: MeanLoss, strategy: Strategy, graph: Any, piece: Any, inputs: list[Any]) -> Any:
    key = ("compiled", replace(strategy, examples=None), *(tensor.shape for tensor in inputs))
    if key not in objective.cache:
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if strategy.workers > 1 else threads)  # the number of threads is compiled in
        try:
            objective.cache[key] = torch._inductor.compile(graph, list(inputs))
        except Exception as error:
            raise ValueError(f"the loss cannot be compiled ({error}); use Strategy(compile=False)") from error
        finally:
            torch.set_num_threads(threads)
    return objective.cache[key]


def _within_memory(objective: MeanLoss, piece: Any, values: Any) -> None:
    kept = objective.num_examples / num_examples(piece) if objective.batches.held else 1.0
    size = kept * sum(tensor.nbytes for tensor in arguments(values))
    limit = room(objective.device)
    if size > limit:
        raise ValueError(
            f"keeping what the points share takes {size / 2**20:.0f} MiB: expected at most {limit / 2**20:.0f} MiB; "
            "use Strategy(affine=False), or trace=False"
        )
