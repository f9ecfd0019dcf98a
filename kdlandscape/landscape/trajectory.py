"""The plane of a training trajectory, and the coordinates of any points in a plane."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

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
