"""Paths between two networks, linear and spherical, and the barriers on them."""

from collections.abc import Callable, Mapping, Sequence
from math import acos, cos, sin

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.batch_norm import running_statistics
from kdlandscape.landscape.curvature.curvatures import hessian
from kdlandscape.landscape.evaluation.points import combined, evaluate, evaluate_along
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.network import differing
from kdlandscape.landscape.params import Params, SpaceError, Theta, described, matching
from kdlandscape.landscape.paths.ends import shared_loss

KINDS = ("linear", "spherical")
DEFINITIONS = {
    "chord": "max over t of loss - ((1 - t) loss(0) + t loss(1))",
    "end": "max over t of loss - max(loss(0), loss(1))",
}
Correction = Callable[[Tensor, float], Tensor]


def mix(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    r"""Return :math:`(1 - t)\,\text{start} + t\,\text{end}` for every t: (K, P); exact at t = 0 and t = 1."""
    t = t.to(start)[:, None]
    return (1 - t) * start + t * end


def interpolate(
    objective: MeanLoss,
    start: Theta,
    end: Theta,
    *,
    t: int | Sequence[float] = 51,
    kind: str = "linear",
    params: Params = None,
    correct: Correction | None = None,
    curvature: bool = False,
    bn: str | None = None,
) -> xr.Dataset:
    r"""Evaluate the loss and the metrics on a path from one network to another.

    Parameters
    ----------
    objective
        The loss and its metrics.
    start, end
        The networks at t = 0 and t = 1: theta, module, state dict or alignment. Buffers are no part of theta. Where
        whole networks bring running statistics of their own, these move linearly with t (attrs:
        ``running_statistics``), so that each end is that network; other buffers must be the same.
    t
        The points, or how many of them evenly spaced from 0 to 1, both ends included.
    kind
        ``linear``: :math:`(1-t)\,\theta_0 + t\,\theta_1`; ``spherical``: :math:`[\sin((1-t)\omega)\,\theta_0 +
        \sin(t\omega)\,\theta_1] / \sin\omega` with :math:`\omega` the angle between the ends.
    params
        Glob patterns of parameter names, such as ``"layer1.*"``: these move to the end, the rest stays at the start.
    correct
        A function of (theta, t) applied inside the path, not at its ends; see
        `kdlandscape.landscape.permutations.repair.repair`.
    curvature
        Whether to add ``path_curvature``, :math:`v^T H v` for the unit tangent v, by one Hessian product a point.
    bn
        What BatchNorm does along the path: ``frozen`` (the model's statistics), ``recalibrate`` (re-estimated at every
        point, for one more forward pass) or ``batch``; default: the objective's policy. Kept in the attrs.

    Returns
    -------
    xarray.Dataset
        ``loss`` and every metric over ``t``, and the ``distance`` of the ends in the attrs. Costs one forward pass
        over the data a point. Memory: six copies of theta.

    Raises
    ------
    SpaceError
        If an end does not belong to the objective's network, or the ends differ in dtype: the first difference.
    ValueError
        If the points do not increase, a pattern matches nothing, the ends differ in frozen parameters or buffers (with
        ``params``, in running statistics too), or the ends of a spherical path are opposite.
    """
    points = _points(t)
    objective = objective if bn is None else objective.with_batch_norm(bn)
    objective, first, last, moving = _ends(objective, start, end, params)
    weights, tangent = _path(first, last, kind)
    shares = torch.tensor([weights(value) for value in points.tolist()], dtype=torch.float64)
    if correct is None and not moving:
        found = evaluate_along(objective, (first, last), shares)
    else:
        rows = []
        for share, value in zip(shares.tolist(), points.tolist(), strict=True):
            theta = combined((first, last), share)
            corrected = correct(theta, value) if correct is not None and 0 < value < 1 else theta
            loss = objective.holding(_mixed(*moving, value)) if moving else objective
            rows.append(evaluate(loss, corrected[None]))
        found = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    values = over_t(objective, found)
    if curvature:
        label = "curvature along the path, vᵀHv of the unit tangent v"
        bent = [
            _curvature(
                objective.holding(_mixed(*moving, value)) if moving else objective,
                combined((first, last), share),
                tangent(value),
            )
            for share, value in zip(shares.tolist(), points.tolist(), strict=True)
        ]
        values["path_curvature"] = variable("t", torch.stack(bent).cpu(), label, objective.units)
    return dataset(
        values,
        coords={"t": points},
        distance=float((last - first).norm()),
        num_examples=objective.num_examples,
        path=kind,
        params=described(params),
        correction="none" if correct is None else getattr(correct, "__name__", "custom"),
        bn=objective.bn,
        **(
            {"running_statistics": "interpolated linearly with t, from those of the start to those of the end"}
            if moving
            else {}
        ),
    )


def over_t(objective: MeanLoss, values: Mapping[str, Tensor]) -> dict[str, xr.Variable]:
    """Return the loss and the metrics along a path as variables over t, labelled by those who compute them."""
    return {name: variable("t", row.cpu(), *objective.labels[name]) for name, row in values.items()}


def interpolate_blocks(
    objective: MeanLoss,
    start: Theta,
    end: Theta,
    *,
    blocks: Sequence[str] | None = None,
    t: int | Sequence[float] = 51,
    kind: str = "linear",
) -> xr.Dataset:
    """Move one block of parameters at a time from start to end, holding the rest at the start.

    Parameters
    ----------
    objective, start, end, t, kind
        As for `interpolate`.
    blocks
        Glob patterns; default: every layer that has parameters.

    Returns
    -------
    xarray.Dataset
        The paths over ``block, t``. At t = 1 only the block has reached the end.
    """
    if blocks is None:
        layers = [name.rpartition(".")[0] for name in objective.shapes]
        blocks = list(dict.fromkeys(f"{x}.*" if x else name for x, name in zip(layers, objective.shapes, strict=True)))
    paths = [interpolate(objective, start, end, t=t, kind=kind, params=block) for block in blocks]
    return xr.concat(paths, xr.DataArray(list(blocks), dims="block", name="block"), combine_attrs="drop_conflicts")


def barrier(path: xr.Dataset, metric: str = "loss", *, definition: str = "chord") -> xr.DataArray:
    r"""Return the height of a path over its ends; its definition and what it is a barrier of are kept in the attrs.

    Parameters
    ----------
    path
        With ``t`` from 0 to 1, both included, so that the barrier is never negative. Other dims are kept; a NaN on
        the path gives NaN.
    metric
        The variable, one that is better when lower.
    definition
        ``chord``: :math:`\max_t [L(\theta_t) - (1-t) L(\theta_0) - t L(\theta_1)]` (Entezari et al. 2022);
        ``end``: :math:`\max_t L(\theta_t) - \max(L(\theta_0), L(\theta_1))`, the climb from the worse end, never more
        than the first.

    Raises
    ------
    ValueError
        For an unknown definition, or a path without both ends.

    Notes
    -----
    Frankle et al. 2020 (linear mode connectivity) take the mean of the ends instead of the chord, so that a sloping
    path without a bump has a barrier there and none here.
    """
    if definition not in DEFINITIONS:
        raise ValueError(f"expected definition to be one of {', '.join(DEFINITIONS)}; got {definition!r}")
    ends = path["t"].values[[0, -1]]
    if tuple(ends) != (0.0, 1.0):
        raise ValueError(f"expected a path from t = 0 to t = 1, got t from {ends[0]} to {ends[1]}")
    values = path[metric].astype(float)
    first, last = values.isel(t=0), values.isel(t=-1)
    if definition == "chord":
        height = (values - ((1 - path["t"]) * first + path["t"] * last)).max("t", skipna=False)
    else:
        height = values.max("t", skipna=False) - xr.where(first > last, first, last)
    of, kind = path[metric].attrs.get("long_name", metric), path.attrs.get("path")
    attrs = {
        "long_name": f"{kind} barrier of the {of}" if kind else f"barrier of the {of}",
        "units": path[metric].attrs.get("units", "1"),
        "definition": f"{definition}: {DEFINITIONS[definition]}",
        "of": of,
    }
    return height.drop_vars("t", errors="ignore").rename("barrier").assign_attrs(attrs)


def _points(t: int | Sequence[float]) -> np.ndarray:
    points = np.linspace(0.0, 1.0, t) if isinstance(t, int) else np.asarray(t, dtype=float)
    if points.ndim != 1 or len(points) < 2 or (np.diff(points) <= 0).any() or not np.isfinite(points).all():
        raise ValueError(f"expected t to be at least 2 increasing finite points, got {t!r}")
    return points


Statistics = dict[str, Tensor]


def _ends(
    objective: MeanLoss, start: Theta, end: Theta, params: Params
) -> tuple[MeanLoss, Tensor, Tensor, tuple[Statistics, Statistics] | None]:
    """Return the loss, both ends, and their running statistics where these differ and move along the path."""
    moving = _moving(objective, start, end) if params is None else None
    loss, (first, last) = shared_loss(objective, start, end, free=moving[0].keys() if moving else ())
    dtypes = [_dtypes(objective, theta) for theta in (start, end)]
    for name in objective.shapes:
        if dtypes[0][name] != dtypes[1][name]:
            raise SpaceError(
                f"parameter {name!r} differs: {dtypes[0][name]} at the start, {dtypes[1][name]} at the end; "
                "convert one of the networks"
            )
    if params is None:
        return loss, first, last, moving
    chosen = matching(objective.shapes, params)
    mask = torch.cat([torch.full((shape.numel(),), name in chosen) for name, shape in objective.shapes.items()])
    return loss, first, torch.where(mask.to(first.device), last, first), None


def _moving(objective: MeanLoss, start: Theta, end: Theta) -> tuple[Statistics, Statistics] | None:
    """Return the running statistics of both ends if they differ and BatchNorm keeps what it is given."""
    if objective.bn != "frozen":
        return None
    names = running_statistics(objective.model)
    first, last = (
        {name: x for name, x in objective.at(theta)[0].constants.items() if name in names and x.is_floating_point()}
        for theta in (start, end)
    )
    return None if differing(first, last) is None else (first, last)


def _mixed(start: Statistics, end: Statistics, t: float) -> Statistics:
    return {name: (1 - t) * start[name] + t * end[name] for name in start}


def _dtypes(objective: MeanLoss, theta: Theta) -> dict[str, torch.dtype]:
    if isinstance(theta, nn.Module | Mapping):
        tensors = objective.named(theta)
        return {name: tensors[name].dtype for name in objective.shapes}
    return dict.fromkeys(objective.shapes, torch.as_tensor(theta).dtype)


def _path(
    first: Tensor, last: Tensor, kind: str
) -> tuple[Callable[[float], tuple[float, float]], Callable[[float], Tensor]]:
    """Return the shares of both ends and the unit tangent as functions of t."""
    if kind not in KINDS:
        raise ValueError(f"expected kind to be one of {', '.join(KINDS)}; got {kind!r}")
    norms = float(first.norm() * last.norm())
    angle = acos(max(-1.0, min(1.0, float(first @ last) / norms))) if norms > 0 else 0.0
    if kind == "spherical" and angle > np.pi - 1e-6:
        raise ValueError(
            "the ends of the spherical path are opposite: expected an angle below 180 degrees between them"
        )
    if kind == "linear" or angle < 1e-6:  # a spherical path between parallel ends is straight
        return lambda t: (1 - t, t), lambda t: _unit(last - first)

    def shares(t: float) -> tuple[float, float]:
        return sin((1 - t) * angle) / sin(angle), sin(t * angle) / sin(angle)

    return shares, lambda t: _unit(cos(t * angle) * last - cos((1 - t) * angle) * first)


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm().clamp_min(torch.finfo(vector.dtype).tiny)


def _curvature(objective: MeanLoss, theta: Tensor, tangent: Tensor) -> Tensor:
    return tangent @ (hessian(objective, theta, num_matvecs=1) @ tangent)
