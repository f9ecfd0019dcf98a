"""Slices of a loss surface along given directions: lines, planes and grids of more dimensions."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.batches import preserve_rng
from kdlandscape.landscape.evaluation.evaluator import Evaluate, evaluator, plain
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.evaluation.trial import choose
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta, single_at_least
from kdlandscape.landscape.resumable_grid import STEP_SECONDS, STREAM_SECONDS, Grid, fill, key, load, saving
from kdlandscape.landscape.slice_axes import Axis, axis_values, marked_points, span_of_growth

Callback = Callable[[xr.Dataset, int, int], Any]


def slice_line(
    objective: MeanLoss,
    origin: Theta,
    direction: Any,
    *,
    x: Axis = 51,
    span: float | tuple[float, float] = 1.0,
    growth: float | None = None,
    marks: Mapping[str, Sequence[float]] | None = None,
    bn: str = "frozen",
    strategy: Strategy | None = None,
    resume: str | Path | None = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> xr.Dataset:
    r"""Evaluate the loss and the metrics at :math:`\theta(x) = \text{origin} + x\,d`.

    ``direction`` is (P,) or (1, P); everything else as in `slice_grid`, which says what is returned, over ``x``.

    Examples
    --------
    From one network to another, both ends included exactly once more as marks::

        slice_line(objective, a, b - a, x=51, span=(0, 1), marks={"end": [1]})
    """
    rows = _rows(direction)
    return slice_grid(
        objective,
        origin,
        rows[None] if rows.ndim == 1 else rows,
        {"x": x},
        span=span,
        growth=growth,
        marks=marks,
        bn=bn,
        strategy=strategy,
        resume=resume,
        callback=callback,
        progress=progress,
    )


def slice_plane(
    objective: MeanLoss,
    origin: Theta,
    directions: Any,
    *,
    x: Axis = 51,
    y: Axis = 51,
    span: float | tuple[float, float] = 1.0,
    growth: float | None = None,
    marks: Mapping[str, Sequence[float]] | None = None,
    bn: str = "frozen",
    strategy: Strategy | None = None,
    resume: str | Path | None = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> xr.Dataset:
    r"""Evaluate the loss and the metrics at :math:`\theta(x, y) = \text{origin} + x\,d_0 + y\,d_1`.

    ``directions`` (2, P) are used as they are: their lengths set the scale of x and y. Everything else as in
    `slice_grid`, which says what is returned, over ``y, x``.

    Examples
    --------
    In the plane of the two sharpest directions (Hessian eigenvectors)::

        pairs = hessian(objective, theta).top_eigenpairs(2, vectors=True)
        slice_plane(objective, theta, torch.as_tensor(pairs["eigenvectors"].values), x=51, y=51, growth=10.0)
    """
    return slice_grid(
        objective,
        origin,
        directions,
        {"x": x, "y": y},
        span=span,
        growth=growth,
        marks=marks,
        bn=bn,
        strategy=strategy,
        resume=resume,
        callback=callback,
        progress=progress,
    )


def slice_grid(
    objective: MeanLoss,
    origin: Theta,
    directions: Any,
    axes: Mapping[str, Axis],
    *,
    span: float | tuple[float, float] = 1.0,
    growth: float | None = None,
    marks: Mapping[str, Sequence[float]] | None = None,
    bn: str = "frozen",
    strategy: Strategy | None = None,
    resume: str | Path | None = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> xr.Dataset:
    r"""Evaluate the loss and the metrics at :math:`\theta = \text{origin} + \sum_i c_i\,d_i` on a grid of coordinates.

    Parameters
    ----------
    objective, origin
        The loss and its metrics; the point at coordinates 0.
    directions
        (D, P), or what `random_directions`, `plane_through` or `pca_directions` returned. Used as they are.
    axes
        Name of each direction's coordinate, and its values (increasing, taken literally), or how many points are
        evenly spaced over the span. Such an axis always holds 0 exactly (added where it is missing).
    span
        Half width, or both ends, of the axes given by a number of points.
    growth
        Choose the half width of each such axis: where the loss first grows to ``growth`` times the loss at the origin
        on either side. Costs about 30 forward passes an axis.
    marks
        name -> coordinates of more points (D,), evaluated exactly. The origin is always there, as ``center``.
    bn
        BatchNorm: ``frozen``, ``recalibrate`` or ``batch``; see `Objective.with_batch_norm`.
    strategy
        How to evaluate; default: the fastest in a short trial.
    resume
        A netCDF file that keeps the points: read at the start, written every 2 seconds and at the end, also after an
        error or an interrupt. Points at coordinates that it holds are not evaluated again; it then holds this grid.
    callback
        ``callback(dataset, done, total)`` after every step of about half a second, coarse points first; False stops.
    progress
        Whether to show a progress bar.

    Returns
    -------
    xarray.Dataset
        ``loss`` and every metric over the axes, the last axis first (``y, x``). ``done`` says what was evaluated,
        ``finite`` where the loss is finite; NaN and inf are kept. ``marked_loss`` and so on over ``mark``, with
        coordinates ``marked_x`` and so on. Attrs: norms and cosines of the directions, number of examples, BatchNorm
        policy, strategy. Costs one forward pass over the data a point (two with ``bn="recalibrate"``). Memory: six
        copies of theta beside the directions.

    Raises
    ------
    ValueError
        If shapes, coordinates, policy or settings do not fit, or the file holds another slice.
    """
    objective, base = objective.with_batch_norm(bn).at(origin)
    rows = _rows(directions).to(objective.device, objective.dtype)
    if rows.shape != (len(axes), objective.dim):
        raise ValueError(f"expected directions of shape ({len(axes)}, {objective.dim}), got {tuple(rows.shape)}")
    marked = marked_points(marks, list(axes))
    with preserve_rng(), torch.no_grad():
        one = evaluator(objective, plain(objective), base, rows)
        at_marks = one(torch.tensor(list(marked.values()), dtype=torch.float64))
        if growth is not None:
            spans = [span_of_growth(one, i, len(axes), growth, name) for i, name in enumerate(axes)]
        else:
            spans = [(-span, span) if isinstance(span, int | float) else span] * len(axes)
        grid = Grid(
            {name: axis_values(name, axis, ends) for (name, axis), ends in zip(axes.items(), spans, strict=True)},
            objective.metric_names,
        )
        facts: dict[str, Any] = _facts(objective, directions, rows)
        path = None if resume is None else Path(resume)
        if path is not None:
            facts["key"] = key(objective, base, rows)
            saved = load(path, facts["key"], {name: float(values[0]) for name, values in at_marks.items()})
            if saved is not None:
                grid.adopt(saved)
        left = torch.from_numpy(grid.points(np.flatnonzero(~grid.done)))
        strategy = strategy or choose(objective, left, base, rows)
        facts["strategy"] = json.dumps(strategy.facts())

        def result() -> xr.Dataset:
            return _assemble(grid, marked, at_marks, objective.labels, facts)

        _run(grid, evaluator(objective, strategy, base, rows), result, path, callback, progress, objective.batches.held)
    return result()


def _run(
    grid: Grid,
    evaluate: Evaluate,
    result: Callable[[], xr.Dataset],
    path: Path | None,
    callback: Callback | None,
    progress: bool,
    held: bool,
) -> None:
    with saving(path, result) as save, _bar(progress, grid.done.size) as tick:

        def report(done: int, total: int) -> Any:
            save()
            tick(done)
            return None if callback is None else callback(result(), done, total)

        fill(grid, evaluate, seconds=STEP_SECONDS if held else STREAM_SECONDS, report=report)


@contextmanager
def _bar(progress: bool, total: int) -> Iterator[Callable[[int], None]]:
    if not progress:
        yield lambda done: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="point") as bar:

        def tick(done: int) -> None:
            bar.update(done - bar.n)

        yield tick


def _rows(directions: Any) -> Tensor:
    rows = getattr(directions, "directions", directions)
    if not isinstance(rows, Tensor):
        raise ValueError(f"expected directions as a tensor (D, P), got {type(directions).__name__}")
    return rows.detach()


def _facts(objective: MeanLoss, directions: Any, rows: Tensor) -> dict[str, Any]:
    norms = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    wide = rows.to(single_at_least(rows.dtype))
    cosines = (wide @ wide.T / norms.outer(norms)).cpu()
    facts = {
        "direction_norms": norms.tolist(),
        "direction_cosines": cosines.flatten().tolist(),
        "num_examples": objective.num_examples,
        "bn": objective.bn,
        "dtype": str(objective.dtype).removeprefix("torch."),
        "device": str(objective.device),
    }
    if len(rows) == 2:
        facts["direction_cosine"] = float(cosines[0, 1])
    if not objective.cuttable:
        facts["batch_size"] = objective.batches.batch_size or objective.num_examples
    return facts | dict(getattr(directions, "facts", {}))


def _assemble(
    grid: Grid,
    marked: Mapping[str, list[float]],
    at_marks: Mapping[str, Tensor],
    labels: Mapping[str, tuple[str, str]],
    facts: Mapping[str, Any],
) -> xr.Dataset:
    dims = tuple(grid.coords)
    places = np.array(list(marked.values()))
    values = {name: variable(dims, array.copy(), *labels[name]) for name, array in grid.values.items()}
    values["done"] = variable(dims, grid.done.copy(), "evaluated")
    values["finite"] = variable(dims, np.isfinite(grid.values["loss"]), "finite loss")
    for name, rows in at_marks.items():
        long_name, units = labels[name]
        values[f"marked_{name}"] = variable("mark", rows.double().cpu(), f"{long_name} at the mark", units)
    for i, dim in enumerate(dims):
        values[f"marked_{dim}"] = variable("mark", places[:, i], f"{dim} of the mark", "length of direction")
    coords = {**grid.coords, "mark": list(marked)}
    return dataset(values, coords=coords, **facts).transpose(*reversed(dims), "mark")
