"""How far and in which direction weights travel during training."""

from collections.abc import Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset


def travel(
    trajectory: Tensor, target: Tensor, *, steps: Sequence[int], dim: str = "network", coords: Sequence[Any] = ()
) -> xr.Dataset:
    r"""Measure distance and direction of travel of K networks on their way, with respect to a target.

    Parameters
    ----------
    trajectory
        (S, K, P), the first row holds the initial weights; ``distill(..., record_every=...)`` gives it.
    target
        The teacher (P,), or one for each network (K, P).
    steps
        S training steps.
    dim, coords
        Name and K coordinates of the axis of networks.

    Returns
    -------
    xarray.Dataset
        Over ``step`` and ``dim``: ``distance`` to the target; ``distance_travelled`` from the initial weights (straight
        line) and ``path_length`` along the recorded points; ``heading``, the cosine of the displacement so far and
        the direction from the initial weights to the target (NaN before the first move, and where the start is the
        target).

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if trajectory.ndim != 3 or len(steps) != len(trajectory):
        raise ValueError(
            f"expected a trajectory (S, K, P) with one step for each of S points; got shape {tuple(trajectory.shape)} "
            f"and {len(steps)} steps"
        )
    moved, wanted = trajectory - trajectory[0], target - trajectory[0]
    pieces = (trajectory[1:] - trajectory[:-1]).norm(dim=-1).cumsum(0)
    length = torch.cat([torch.zeros_like(trajectory[:1, :, 0]), pieces])
    norms = moved.norm(dim=-1) * wanted.norm(dim=-1)
    cosine = torch.where(norms > 0, (moved * wanted).sum(-1) / norms, torch.nan)
    values = {
        "distance": (trajectory - target).norm(dim=-1),
        "distance_travelled": moved.norm(dim=-1),
        "path_length": length,
        "heading": cosine,
    }
    places = list(coords) or list(range(trajectory.shape[1]))
    return dataset(
        {name: value.cpu() for name, value in values.items()}, ("step", dim), {"step": list(steps), dim: places}
    )
