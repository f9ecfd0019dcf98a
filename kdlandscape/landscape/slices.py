"""Slices of a loss surface along given directions."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import Theta


def slice_plane(
    objective: Objective, origin: Theta, directions: Tensor, *, x: Sequence[float], y: Sequence[float]
) -> xr.Dataset:
    r"""Evaluate the loss and the metrics at :math:`\theta(x, y) = \text{origin} + x\,d_0 + y\,d_1`.

    Parameters
    ----------
    objective, origin
        The loss and its metrics; the point at x = y = 0.
    directions
        (2, P), used as they are: their lengths set the scale of x and y.
    x, y
        Increasing coordinates.

    Returns
    -------
    xarray.Dataset
        ``loss`` and every metric over ``y, x``; NaN and inf are kept. Norms and cosine of the directions are in the
        attrs. Costs one forward pass over the data a point.
    """
    base = objective.ravel(origin)
    directions = directions.to(base)
    if directions.shape != (2, objective.dim):
        raise ValueError(f"expected directions of shape (2, {objective.dim}), got {tuple(directions.shape)}")
    coords = {"y": _increasing("y", y), "x": _increasing("x", x)}
    rows = []
    for v in coords["y"].tolist():
        xs = torch.as_tensor(coords["x"]).to(base)[:, None]
        rows.append(objective.evaluate(base + v * directions[1] + xs * directions[0]))
    norms = directions.norm(dim=1)
    return dataset(
        {name: torch.stack([row[name] for row in rows]).cpu() for name in objective.metric_names},
        ("y", "x"),
        coords,
        direction_norms=norms.tolist(),
        direction_cosine=float(directions[0] @ directions[1] / norms.prod()),
        num_examples=objective.num_examples,
    )


def _increasing(name: str, values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all() or (np.diff(array) <= 0).any():
        raise ValueError(f"expected {name} to be increasing finite coordinates, got {values!r}")
    return array
