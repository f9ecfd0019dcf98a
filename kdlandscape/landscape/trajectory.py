"""Training trajectories: their plane, the coordinates of any points in it, and how far the weights travel."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import xarray as xr
from torch import Tensor, nn

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.evaluation.points import evaluate
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Ravel, Theta


class Trajectory(NamedTuple):
    """The principal plane of a trajectory (T, P): theta = origin + coordinates @ directions + what is off the plane.

    ``origin`` (P,) is the last point, ``directions`` (n, P) are orthonormal, ``points`` (T, n) the coordinates of the
    checkpoints, ``residuals`` (T,) their distances from the plane, ``explained`` (n,) the shares of the sum of squares
    of theta_t - origin, and ``losses`` the *true* loss and metrics of each checkpoint (T,), off the plane.
    """

    origin: Tensor
    directions: Tensor
    points: Tensor
    residuals: Tensor
    explained: Tensor
    losses: dict[str, Tensor]


def coordinates(points: Tensor, origin: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the coordinates (T, n) of points (T, P) and their distances (T,) from the plane, by least squares.

    :math:`\min_c \|\theta - \text{origin} - c\,D\|`, right for directions of any length and angle.

    Raises
    ------
    ValueError
        If the directions are linearly dependent.
    """
    offsets = points - origin
    if int(torch.linalg.matrix_rank(directions)) < len(directions):
        raise ValueError(f"expected {len(directions)} linearly independent directions, got dependent ones")
    found = torch.linalg.lstsq(directions.T, offsets.T).solution.T
    return found, (offsets - found @ directions).norm(dim=1)


def pca_directions(
    trajectory: Tensor | Sequence[Theta], n: int = 2, *, objective: MeanLoss | None = None
) -> Trajectory:
    r"""Lay the plane of largest variation through a training trajectory, with the final weights as its origin.

    The rows are :math:`\theta_t - \theta_T`, not centred, so that the plane holds the final weights (Li et al. 2018,
    section 7.2). Each direction points towards the first checkpoint.

    Parameters
    ----------
    trajectory
        Checkpoints in the order of training, (T, P); with an objective also modules or state dicts.
    n
        How many directions.
    objective
        With it the true loss of every checkpoint is evaluated. Costs T forward passes over the data.

    Raises
    ------
    ValueError
        If there are fewer than n + 1 checkpoints, or they span fewer than n dimensions.
    """
    if isinstance(trajectory, Tensor):
        rows = trajectory
    elif objective is not None:
        rows = torch.stack([objective.ravel(theta) for theta in trajectory])
    else:
        rows = torch.stack([_tensor(theta) for theta in trajectory])
    if rows.ndim != 2 or len(rows) <= n:
        raise ValueError(f"expected more than {n} checkpoints (T, P), got shape {tuple(rows.shape)}")
    origin = rows[-1]
    _, lengths, axes = torch.linalg.svd(rows[:-1] - origin, full_matrices=False)
    if not float(lengths[n - 1]) > torch.finfo(rows.dtype).eps * len(rows) * float(lengths[0]):
        raise ValueError(f"expected a trajectory that spans {n} dimensions, got singular values {lengths.tolist()}")
    directions = axes[:n]
    signs = torch.sign((rows[0] - origin) @ directions.T)
    directions = directions * torch.where(signs == 0, 1.0, signs)[:, None]
    points, residuals = coordinates(rows, origin, directions)
    losses = {} if objective is None else evaluate(objective, rows)
    return Trajectory(origin, directions, points, residuals, (lengths**2 / (lengths**2).sum())[:n], losses)


def _tensor(theta: Theta) -> Tensor:
    if isinstance(theta, nn.Module):
        return Ravel.of(theta).ravel(theta)
    if not isinstance(theta, Tensor):
        raise ValueError(f"expected checkpoints as flat tensors or modules, got {type(theta).__name__}: give objective")
    return theta


def travel(
    trajectory: Tensor, target: Tensor, *, steps: Sequence[int], dim: str = "network", coords: Sequence[Any] = ()
) -> xr.Dataset:
    r"""Measure distance and direction of travel of K networks on their way, with respect to a target.

    Parameters
    ----------
    trajectory
        (S, K, P), the first row holds the initial weights; ``distill(..., record_every=...)`` gives it.
    target
        Where they may be heading, such as a teacher (P,), or one for each network (K, P).
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
    axes = ("step", dim)
    values = {
        "distance": variable(axes, (trajectory - target).norm(dim=-1).cpu(), "distance to the target"),
        "distance_travelled": variable(axes, moved.norm(dim=-1).cpu(), "distance from the initial weights"),
        "path_length": variable(axes, length.cpu(), "length of the path through the recorded points"),
        "heading": variable(axes, cosine.cpu(), "cosine of the displacement and the direction to the target"),
    }
    places = list(coords) or list(range(trajectory.shape[1]))
    return dataset(values, coords={"step": list(steps), dim: places})
