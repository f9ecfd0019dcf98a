"""Barriers between many networks."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta
from kdlandscape.landscape.paths.interpolation import barrier, interpolate


def barrier_matrix(
    objective: MeanLoss,
    thetas: Sequence[Theta] | Tensor,
    names: Sequence[str],
    *,
    t: int | Sequence[float] = 21,
    metric: str = "loss",
    definition: str = "chord",
) -> xr.Dataset:
    """Return the barriers on the straight paths between all pairs of K networks.

    Returns
    -------
    xarray.Dataset
        ``barrier`` and ``distance`` over ``first, second``, both symmetric with zeros on the diagonal. Costs
        K (K - 1) / 2 paths.

    Raises
    ------
    ValueError
        If there is not one name for each network.
    """
    if len(thetas) != len(names):
        raise ValueError(f"expected one name for each of {len(thetas)} networks, got {len(names)}")
    height, distance = np.zeros((2, len(names), len(names)))
    attrs: dict[str, str] = {"long_name": f"barrier of the {metric}", "units": objective.labels[metric][1]}
    for i, j in combinations(range(len(names)), 2):
        path = interpolate(objective, thetas[i], thetas[j], t=t)
        found = barrier(path, metric, definition=definition)
        attrs = found.attrs
        height[i, j] = height[j, i] = found.item()
        distance[i, j] = distance[j, i] = path.attrs["distance"]
    pair = ("first", "second")
    values = {
        "barrier": xr.Variable(pair, height, attrs),
        "distance": variable(pair, distance, "distance between the networks"),
    }
    return dataset(values, coords={dim: list(names) for dim in pair})
