"""Straight paths between two networks, and the barrier on them."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import Theta


def mix(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    r"""Return :math:`(1 - t)\,\text{start} + t\,\text{end}` for every t: (K, P); exact at t = 0 and t = 1."""
    t = t.to(start)[:, None]
    return (1 - t) * start + t * end


def interpolate(objective: Objective, start: Theta, end: Theta, *, t: int | Sequence[float] = 51) -> xr.Dataset:
    r"""Evaluate the loss and the metrics on the straight path :math:`(1-t)\,\theta_{start} + t\,\theta_{end}`.

    Parameters
    ----------
    objective
        The loss and its metrics.
    start, end
        The networks at t = 0 and t = 1: theta, module or state dict. Names and shapes are checked; buffers are no
        part of theta and stay those of the objective's model.
    t
        The points, or how many of them evenly spaced from 0 to 1, both ends included.

    Returns
    -------
    xarray.Dataset
        ``loss`` and every metric over ``t``, and the ``distance`` of the ends in the attrs. Costs one forward pass
        over the data a point.
    """
    points = np.linspace(0.0, 1.0, t) if isinstance(t, int) else np.asarray(t, dtype=float)
    if points.ndim != 1 or len(points) < 2 or (np.diff(points) <= 0).any() or not np.isfinite(points).all():
        raise ValueError(f"expected t to be at least 2 increasing finite points, got {t!r}")
    first, last = objective.ravel(start), objective.ravel(end)
    # Point by point, so that memory is one theta whatever the number of points.
    rows = [objective.evaluate(mix(first, last, torch.tensor([point]))) for point in points.tolist()]
    return dataset(
        {name: torch.cat([row[name] for row in rows]).cpu() for name in objective.metric_names},
        ("t",),
        {"t": points},
        distance=float((last - first).norm()),
        num_examples=objective.num_examples,
    )


def barrier(path: xr.Dataset, metric: str = "loss") -> xr.DataArray:
    r"""Return :math:`\max_t [L(\theta_t) - (1-t) L(\theta_0) - t L(\theta_1)]`, the height of a path over its chord.

    The path must contain t = 0 and t = 1, so the barrier is never negative. Other dims are kept. A NaN on the path
    gives NaN. Source: Frankle et al. 2020 (linear mode connectivity) with the chord of Entezari et al. 2022.
    """
    ends = path["t"].values[[0, -1]]
    if tuple(ends) != (0.0, 1.0):
        raise ValueError(f"expected a path from t = 0 to t = 1, got t from {ends[0]} to {ends[1]}")
    values = path[metric].astype(float)
    chord = (1 - path["t"]) * values.isel(t=0) + path["t"] * values.isel(t=-1)
    height = (values - chord).max("t", skipna=False)
    units = path[metric].attrs.get("units", "1")
    return height.rename("barrier").assign_attrs(long_name=f"linear barrier of the {metric}", units=units)
