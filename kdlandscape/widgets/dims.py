"""What a dim of a cube is: it decides how the dim is drawn and how a place on it is chosen."""

from collections.abc import Iterable

import numpy as np
import xarray as xr

from kdlandscape.cubes.schema import DONE
from kdlandscape.cubes.words import kind

#: The first of these dims that a cube has tells the story; ``t`` only where a spectrum is known along it.
STORIES = ("init_lambda", "t", "partner", "member", "alignment")
#: Dims of one picture: a plane, a quadrature rule, the coordinates of a point.
PICTURE = ("x", "y", "point", "axis", "node", "draw", "grid", "eigenvalue")
#: Drawn in their own way: holes, marks on a plane, and the rules behind a spectral density.
NEVER_SHOWN = (DONE, "plane_points", "nodes", "weights")
#: A dim with at most so many places can become so many lines in one picture.
MAX_LINES = 6


def shown_variables(cube: xr.Dataset) -> list[str]:
    """Return the variables that can be drawn: numbers over at least one dim of at least one place."""
    return [
        str(name)
        for name, array in cube.data_vars.items()
        if array.dtype.kind in "biuf" and array.ndim and array.size and name not in NEVER_SHOWN
    ]


def long_dims(cube: xr.Dataset, variable: str) -> list[str]:
    """Return the dims of a variable that have more than one place."""
    return [str(dim) for dim in cube.variables[variable].dims if cube.sizes[dim] > 1]


def run_dims(cube: xr.Dataset) -> list[str]:
    """Return the dims that tell runs apart; none where the cube does not know its runs."""
    return [str(dim) for dim in cube[DONE].dims] if DONE in cube else []


def repeat_dim(cube: xr.Dataset, variable: str) -> str:
    """Return the dim that a variable is averaged over; empty if it has none."""
    return next((dim for dim in long_dims(cube, variable) if kind(cube, dim) == "repeat"), "")


def hue_dim(cube: xr.Dataset, variable: str, taken: Iterable[str]) -> str:
    """Return the dim whose places become lines of their own colour; empty if none is short enough.

    It is the longest of at most six places among the dims inside a run that are neither continuous nor repeats.
    """
    away = {*taken, *run_dims(cube), *PICTURE[:4]}
    short = [dim for dim in long_dims(cube, variable) if dim not in away and cube.sizes[dim] <= MAX_LINES]
    short = [dim for dim in short if kind(cube, dim) in ("category", "ordered") or dim == "z"]
    return max(short, key=lambda dim: cube.sizes[dim], default="")


def stories(cube: xr.Dataset) -> list[str]:
    """Return the dims that a story can move along, the most telling one first.

    After `STORIES` come the dims of most variables: continuous and ordered ones before categories, dims inside a run
    before those between runs, and repeats last.
    """
    known = shown_variables(cube)
    counts: dict[str, int] = {}
    for name in known:
        for dim in long_dims(cube, name):
            counts[dim] = counts.get(dim, 0) + (dim not in PICTURE)
    order = {"continuous": 0, "ordered": 0, "category": 1, "repeat": 3}
    runs = run_dims(cube)
    found = [dim for dim, count in counts.items() if count]
    found.sort(key=lambda dim: (order[kind(cube, dim)] + (dim in runs), dim == "z", -counts[dim]))
    curved = any({"t", "eigenvalue"} <= set(cube.variables[name].dims) for name in known)
    first = [dim for dim in STORIES if dim in found and (dim != "t" or curved)]
    return [*first, *(dim for dim in found if dim not in first)]


def default_axes(cube: xr.Dataset, variable: str) -> tuple[str, str]:
    """Return the dims of the horizontal and of the vertical axis; the second is empty for a variable drawn as a line.

    A plane has x and y. Any other variable has the innermost continuous dim across, and up the next one; without a
    second continuous dim it is drawn as lines. Ordered dims and categories are taken where nothing is continuous.
    """
    dims = [str(dim) for dim in cube.variables[variable].dims]
    if {"x", "y"} <= set(dims):
        return "x", "y"
    long = long_dims(cube, variable)[::-1] or dims[-1:]
    smooth = [dim for dim in long if kind(cube, dim) == "continuous" and dim != "z"]
    if smooth:
        return smooth[0], smooth[1] if len(smooth) > 1 else ""
    told = [dim for dim in stories(cube) if dim in long and kind(cube, dim) != "repeat"]
    inner = [dim for dim in long if kind(cube, dim) != "repeat" and dim not in run_dims(cube)]
    return ([dim for dim in told if dim in inner] or inner or told or long)[0], ""


def positions(array: xr.DataArray | xr.Dataset, dim: str) -> np.ndarray:
    """Return the numbers along a dim: its coordinate, or the positions of one that is no number."""
    numeric = dim in array.coords and array[dim].dtype.kind in "iuf"
    return array[dim].values.astype(float) if numeric else np.arange(array.sizes[dim], dtype=float)
