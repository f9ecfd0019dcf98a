"""The straight line between two points of a plane: what lies on it, from the plane's own grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.cubes.words import kind, short_words, unit_of

#: So many places along a line: more than a plane has points along an axis.
NUM = 65
NOTES = (
    "between the points of the plane's grid: interpolated (bilinear)",
    "second differences of the plane's grid, interpolated (bilinear)",
)

Line = tuple[Any, ...]
Place = tuple[float, float]


@dataclass(frozen=True)
class Cut:
    """A line over ``t`` from 0 to 1: the value, its curvature along the line, and the names of its two ends.

    ``notes`` say where the numbers of the value and of the curvature come from.
    """

    ends: tuple[Place, Place]
    names: tuple[str, str]
    value: xr.DataArray
    curvature: xr.DataArray
    notes: tuple[str, str] = NOTES


def chosen_line(message: Mapping[str, Any]) -> Line:
    """Return the line of a drag on a board: two names where both ends lie at networks, else x, y, x, y; or none."""
    names = [str(name) for name in message.get("names", ())]
    return tuple(names) if len(names) == 2 and all(names) else tuple(map(float, message.get("line", ())))


def ends_of(line: Line, marks: Sequence[Mapping[str, Any]]) -> tuple[Place, Place] | None:
    """Return the two ends of a line: of two names among the marks, or of four numbers x, y, x, y; None without one."""
    if len(line) == 2:
        known = {mark["name"]: (float(mark["x"]), float(mark["y"])) for mark in marks}
        found = [known[name] for name in line if name in known]
    else:
        found = [(float(line[0]), float(line[1])), (float(line[2]), float(line[3]))] if line else []
    return (found[0], found[1]) if len(found) == 2 and found[0] != found[1] else None


def names_of(line: Line) -> tuple[str, str]:
    """Return what the two ends of a line are called: the names of networks, or coordinates."""
    if len(line) == 2:
        return str(line[0]), str(line[1])
    first, last = (f"({x:.3g}, {y:.3g})" for x, y in (line[:2], line[2:]))
    return first, last


def can_be_cut(values: xr.DataArray, axes: tuple[str, str]) -> bool:
    """Return whether a line can be laid over values: both axes are continuous numbers in order, two or more each."""
    if any(kind(values, dim) != "continuous" or dim not in values.coords for dim in axes):
        return False
    return all(values.sizes[dim] > 1 and bool((np.diff(values[dim].values) > 0).all()) for dim in axes)


def cut(values: xr.DataArray, axes: tuple[str, str], line: Line, ends: tuple[Place, Place], length: str = "") -> Cut:
    r"""Return what a plane holds on the line between two of its points.

    With the ends :math:`a, b`, the point :math:`p_t = (1 - t) a + t b` and the unit vector :math:`u` from a to b, the
    value is the bilinear interpolation of the grid at :math:`p_t`, and the curvature is that of the Hessian's form
    :math:`u^\top H u`, whose entries are second differences at the grid points (exact for a quadratic surface).

    Parameters
    ----------
    values
        The plane, over the two axes.
    axes
        The dims across and up.
    line, ends
        The line as it was chosen, and its two ends (x, y).
    length
        The unit of length on the plane.

    Returns
    -------
    Cut
        NaN where the line leaves the grid or runs beside a gap. The cost is that of the grid, once.
    """
    x, y = axes
    t = np.linspace(0, 1, NUM)
    (x0, y0), (x1, y1) = ends
    at = {x: xr.DataArray(x0 + t * (x1 - x0), dims="t"), y: xr.DataArray(y0 + t * (y1 - y0), dims="t")}
    names, unit = names_of(line), unit_of(values)
    way = f"along the line from {names[0]} (t = 0) to {names[1]} (t = 1)"
    shape = values.transpose(y, x).astype(float)
    u = np.array([x1 - x0, y1 - y0]) / np.hypot(x1 - x0, y1 - y0)
    bent = shape.copy(data=bending(shape.values, shape[x].values, shape[y].values, u))
    found = xr.Dataset({"value": shape, "curvature": bent}).interp(at, method="linear")
    labels = {
        "value": (f"{short_words(values)} {way}", unit or "1"),
        "curvature": (f"curvature of the {short_words(values)} {way}", per_area(unit, length)),
    }
    made = dataset({name: variable("t", found[name], *label) for name, label in labels.items()}, coords={"t": t})
    return Cut(ends, names, made["value"].rename(values.name), made["curvature"])


def per_area(unit: str, length: str) -> str:
    """Return the unit of a curvature: that of the value over the square of that of a length."""
    return f"{unit or '1'} / ({length})²" if length else unit or "1"


def bending(z: np.ndarray, x: np.ndarray, y: np.ndarray, u: Sequence[float] | np.ndarray) -> np.ndarray:
    r"""Return :math:`u^\top H u` at the points of a grid (y, x); on its edge that of the next point inside."""
    mixed = np.gradient(np.gradient(z, x, axis=1), y, axis=0)
    own = u[0] ** 2 * second_differences(z, x, 1) + u[1] ** 2 * second_differences(z, y, 0)
    return np.asarray(own + 2 * u[0] * u[1] * mixed)


def second_differences(z: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Return second differences over places at any distances."""
    if len(places) < 3:
        return np.full(z.shape, np.nan)
    held, gap = np.moveaxis(z, axis, -1), np.diff(places)
    slope = np.diff(held, axis=-1) / gap
    inner = 2 * np.diff(slope, axis=-1) / (gap[1:] + gap[:-1])
    return np.moveaxis(np.concatenate([inner[..., :1], inner, inner[..., -1:]], -1), -1, axis)
