"""What a recorded training shows: its plane, its way, its curvature, and the barriers to its end."""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.batch_norm import running_statistics
from kdlandscape.landscape.curvature.curvatures import hessian
from kdlandscape.landscape.evaluation.points import evaluate
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.many_networks import along
from kdlandscape.landscape.paths.interpolation import barrier, interpolate
from kdlandscape.landscape.recorded import Recorded
from kdlandscape.landscape.slices import slice_plane
from kdlandscape.landscape.trajectory import pca_directions, travel


def training_path(
    objective: MeanLoss,
    recorded: Recorded,
    *,
    num_eigenvalues: int = 1,
    tol: float = 1e-3,
    t: int = 11,
    plane_points: int = 15,
    margin: float = 0.2,
    bn: str | None = None,
) -> xr.Dataset:
    r"""Look at the loss surface along a recorded training.

    Parameters
    ----------
    objective
        The loss and its metrics; its data need not be the training set.
    recorded
        What `open_trajectory` gives. Weights of any other origin with a coordinate ``step`` will do too.
    num_eigenvalues, tol
        Largest eigenvalues of the Hessian at each checkpoint, and their tolerance; 0: none.
    t
        Points on the straight path from each checkpoint to the last one.
    plane_points, margin
        Points along each axis of the plane through the path, and how far it reaches beyond the path, as a share of the
        path's extent; 0 points: no plane.
    bn
        What BatchNorm does off the checkpoints, on paths and on the plane: ``frozen``, ``recalibrate`` or ``batch``;
        default: ``recalibrate`` for networks with running statistics. A checkpoint itself has its own.

    Returns
    -------
    xarray.Dataset
        Over ``step`` the facts of the recording and: ``loss`` and every metric at the checkpoint; ``distance`` to the
        last one, ``distance_travelled``, ``path_length`` and ``heading`` (see `kdlandscape.landscape.travel`);
        ``eigenvalues``, to be compared with ``stability_threshold`` (edge of stability, Cohen et al. 2021); ``barrier``
        on the straight path to the last checkpoint. ``points`` over ``step, axis`` in the principal plane of the path,
        with ``residual``, the distance from it, and ``explained`` over ``axis``; ``plane_loss`` over ``y, x``.
        Costs, a checkpoint, t + 1 forward passes and the Hessian products, and for the plane the square of
        ``plane_points`` forward passes.

    Raises
    ------
    SpaceError
        Checkpoints of another network: the first difference.
    ValueError
        If there are fewer than 3 checkpoints, or they lie on a line.
    """
    steps = recorded.facts["step"]
    if len(recorded.states) != steps.size:
        raise ValueError(f"expected a checkpoint for each of {steps.size} steps, got {len(recorded.states)}")
    rows = torch.stack([objective.ravel(state) for state in recorded.states])
    found = pca_directions(rows, 2)
    if bn is None:
        bn = "recalibrate" if running_statistics(objective.model) else "frozen"
    end, names = recorded.states[-1], steps.values.tolist()
    way = travel(rows[:, None], rows[-1], steps=names).isel(network=0, drop=True)
    paths = along("step", names, lambda one: interpolate(objective, one, end, t=t, bn=bn), recorded.states)
    parts: dict[str, Any] = {
        **_named(recorded.facts),
        **_values(objective, recorded.states),
        **_named(way),
        "barrier": barrier(paths).assign_attrs(long_name=f"{barrier(paths).long_name}, to the last checkpoint"),
        "points": variable(("step", "axis"), found.points.cpu(), "place in the principal plane of the training path"),
        "residual": variable("step", found.residuals.cpu(), "distance from the principal plane"),
        "explained": variable("axis", found.explained.cpu(), "share of the squared distances to the end"),
    }
    if num_eigenvalues:
        parts["eigenvalues"] = along(
            "step",
            names,
            lambda one: hessian(*objective.at(one)).top_eigenpairs(num_eigenvalues, tol=tol),
            recorded.states,
        )["eigenvalues"]
    if plane_points:
        axes = _axes(found.points, plane_points, margin)
        plane = slice_plane(objective, end, found.directions, x=axes[0], y=axes[1], bn=bn)
        parts["plane_loss"] = plane["loss"].assign_attrs(
            long_name=f"{plane['loss'].long_name} on the principal plane of the training path"
        )
    words = {"x": "from the end along the first direction", "y": "along the second direction"}
    places = {dim: variable(dim, parts["plane_loss"][dim].values, word) for dim, word in words.items() if plane_points}
    coords = {"step": variable("step", names, "optimizer steps taken"), "axis": ["x", "y"], **places}
    return dataset(parts, coords, bn=bn, num_examples=objective.num_examples)


def _named(found: xr.Dataset) -> dict[str, xr.DataArray]:
    return {str(name): array for name, array in found.data_vars.items()}


def _values(objective: MeanLoss, states: list[Any]) -> dict[str, xr.Variable]:
    """Return the loss and every metric of each checkpoint, with its own buffers."""
    each = []
    for state in states:
        loss, point = objective.at(state)
        each.append(evaluate(loss, point[None]))
    return {
        name: variable("step", torch.cat([one[name] for one in each]).cpu(), *label)
        for name, label in objective.labels.items()
    }


def _axes(points: Tensor, count: int, margin: float) -> list[list[float]]:
    """Return two axes of one length that hold all points, with a margin."""
    low, high = points.min(0).values.double(), points.max(0).values.double()
    half = float((high - low).max()) * (0.5 + margin)
    return [np.linspace(middle - half, middle + half, count).tolist() for middle in ((low + high) / 2).tolist()]
