"""The plane through a teacher and a student's start and end, for each student."""

from collections.abc import Sequence

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, placed, variable
from kdlandscape.landscape.directions import plane_through
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.many_networks import along
from kdlandscape.landscape.params import Theta
from kdlandscape.landscape.slices import slice_plane

POINTS = ["teacher", "init", "student"]
SIDE = 2.25  # of the plane, in distances from the teacher to the random weights


def planes_through_starts(
    objective: MeanLoss,
    teacher: Theta,
    random: Tensor,
    starts: Tensor,
    students: Tensor,
    init_lambda: Sequence[float],
    *,
    points: int,
    bn: str = "frozen",
    generator: torch.Generator,
) -> xr.Dataset:
    r"""Evaluate the loss on :math:`\theta(x, y) = \theta_{teacher} + x\,d_1 + y\,d_2` for each of K students.

    The teacher is the origin, the student lies at y = 0 and its start at y > 0. One unit is the distance from the
    teacher to the random weights, up to the few percent by which each plane is scaled so that its student lies on the
    grid: what is drawn there is the student's own loss. Where points coincide the directions are random.

    Parameters
    ----------
    objective, teacher
        The loss, and the teacher with its running statistics if it has any.
    random
        The random weights that starts are mixed with (P,).
    starts, students
        Weights before and after distillation, (K, P).
    init_lambda
        K coordinates of the students.
    points
        Of the grid, along each axis; the teacher is one of them.
    bn
        As for `slice_plane`.
    generator
        Draws the random directions.

    Returns
    -------
    xarray.Dataset
        ``plane_loss`` over ``init_lambda, y, x``; ``plane_points`` over ``init_lambda, point, axis``,
        ``plane_point_loss`` over ``init_lambda, point``, and ``plane_unit``, the length of one unit over that distance.
    """
    origin = objective.ravel(teacher)
    unit = float((random - origin).norm())
    step = SIDE / (points - 1)
    axis = [step * (i - 2 * (points - 1) // 9) for i in range(points)]  # 0 is among them, two ninths from the edge
    layouts = [
        plane_through(origin, student, start, unit=unit, step=step, fill=True, generator=generator)
        for student, start in zip(students, starts, strict=True)
    ]
    places = torch.stack([layout.points[[0, 2, 1]] for layout in layouts])

    def cut(directions: Tensor, at: Tensor) -> xr.Dataset:
        marks = dict(zip(POINTS, at.tolist(), strict=True))
        return slice_plane(objective, teacher, directions, x=axis, y=axis, marks=marks, bn=bn)

    planes = along("init_lambda", init_lambda, cut, torch.stack([layout.directions for layout in layouts]), places)
    lengths = [float(layout.directions[0].norm()) / unit for layout in layouts]
    return _labelled(planes, places, lengths, axis, objective.units)


def _labelled(planes: xr.Dataset, places: Tensor, lengths: list[float], axis: list[float], units: str) -> xr.Dataset:
    unit, loss = "≈ teacher–random distance", planes["loss"].long_name
    three = "teacher, initial and final student"
    values: dict[str, xr.Variable | xr.DataArray] = {
        "plane_loss": placed(planes["loss"], f"on the plane through {three}"),
        "plane_points": variable(
            ("init_lambda", "point", "axis"), places.cpu(), f"place of {three} on the plane", unit
        ),
        "plane_unit": variable(
            "init_lambda",
            lengths,
            "length of one unit on the plane, over the distance from the teacher to the random weights",
        ),
        "plane_point_loss": variable(
            ("init_lambda", "point"), planes["marked_loss"].sel(mark=POINTS), f"{loss} of {three}", units
        ),
    }
    coords = {
        "x": variable("x", axis, "from the teacher towards the final student", unit),
        "y": variable("y", axis, "across, towards the initial student", unit),
        "point": POINTS,
        "axis": ["x", "y"],
    }
    return dataset(values, coords)
