"""From a cube and a cell to the arrays that are drawn.  Reads one cell at a time, so a lazy cube stays lazy."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.cubes import spectra as filed
from kdlandscape.cubes.schema import DONE
from kdlandscape.cubes.words import unit_of, visible
from kdlandscape.widgets.dims import hue_dim, positions, repeat_dim, shown_variables
from kdlandscape.widgets.state import State
from kdlandscape.widgets.variable_list import place_words

#: A picture needs no more points along an axis than a screen shows.
MAX_POINTS = 257
#: Variables smaller than this are read at once when a cube is opened, together at most eight times as much.
SMALL_BYTES = 8 * 2**20

Limits = tuple[float, float] | None


@dataclass(frozen=True)
class Lines:
    """A variable along one dim at a cell: over ``x``, and over ``hue`` and ``repeat`` where these are not empty.

    ``here`` is the position of the cell along ``repeat``; ``limits`` hold for all cells of the story.
    """

    values: xr.DataArray
    x: str
    hue: str
    repeat: str
    here: int
    limits: Limits


def hold_small(cube: xr.Dataset) -> xr.Dataset:
    """Read what is small into memory and leave the rest where it is, so that a slider waits for no file.

    Coordinates that are no axis (where each run came from) are left out.
    """
    held, budget = cube.reset_coords(drop=True), 8 * SMALL_BYTES
    for name, array in sorted(held.data_vars.items(), key=lambda item: item[1].nbytes):
        if array.nbytes > min(SMALL_BYTES, budget):
            break
        budget -= array.nbytes
        held[name] = array.compute() if array.dtype.kind in "biuf" else array
    return held


def at_cell(array: xr.DataArray, at: Mapping[str, int], keep: Collection[str] = ()) -> xr.DataArray:
    """Return a variable at a cell, keeping some dims; only this part is read."""
    return array.isel({dim: at[dim] for dim in map(str, array.dims) if dim not in keep and dim in at})


def plane(cube: xr.Dataset, state: State, at: Mapping[str, int] | None = None) -> xr.DataArray:
    """Return the chosen variable over ``(y, x)`` at a cell, as floats and with at most 257 points along each axis."""
    array = at_cell(cube[state.variable], state.at if at is None else at, (state.x, state.y))
    array = _thinned(array, (state.x, state.y))
    return array.transpose(*[dim for dim in (state.y, state.x) if dim]).astype(float).load()


def lines(cube: xr.Dataset, name: str, x: str, state: State, at: Mapping[str, int]) -> Lines:
    """Return a variable along a dim at a cell, with the limits it has along the story."""
    hue = hue_dim(cube, name, (x, state.story))
    repeat = repeat_dim(cube, name) if state.spread else ""
    repeat = "" if repeat in (x, hue) else repeat
    wide = {x, hue, repeat, state.story if state.shared else x}
    array = cube[name]
    size = array.dtype.itemsize * int(np.prod([cube.sizes[dim] for dim in map(str, array.dims) if dim in wide]))
    found = at_cell(array, at, wide if size <= SMALL_BYTES else {x, hue, repeat}).astype(float).load()
    held = found.isel({dim: at[dim] for dim in map(str, found.dims) if dim not in (x, hue, repeat)})
    return Lines(held, x, hue, repeat, at.get(repeat, 0), finite_limits(found.values, log=False))


def limits(cube: xr.Dataset, state: State, num: int = 11) -> Limits:
    """Return the colour limits over cells of the story (at most ``num``, evenly), or over the shown ones.

    None where nothing is finite.
    """
    cells = [state.at, state.other] if state.view == "compare" else [state.at]
    story = state.story
    along = story and story in cube.variables[state.variable].dims and story not in (state.x, state.y)
    if (state.shared or state.view == "story") and along:
        size = cube.sizes[story]
        places = np.unique(np.linspace(0, size - 1, min(num, size)).round().astype(int)).tolist()
        cells = [{**cell, story: int(place)} for cell in cells for place in [*places, cell[story]]]
    parts = [finite_limits(plane(cube, state, cell).values, state.log) for cell in cells]
    known = [part for part in parts if part is not None]
    if not known:
        return None
    high = max(part[1] for part in known)
    low = min(part[0] for part in known)
    return (max(low, high / 1e3), high) if state.log and high > 0 else (low, high)


def finite_limits(values: np.ndarray, log: bool) -> Limits:
    """Return the least and greatest finite value; for a logarithmic scale three decades at most, below the top."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = float(finite.min()), float(finite.max())
    if log and high > 0:
        low = max(float(finite[finite > 0].min()), high / 1e3)
    return low, high


def chosen_point(
    values: xr.DataArray, wanted: Mapping[str, float], marked: list[dict[str, Any]], axes: tuple[str, str]
) -> tuple[float, float]:
    """Return the coordinates of the grid point next to the wanted place.

    ``wanted`` has a place for some of the axes; without one it is the student's, else the middle.
    """
    students = [mark for mark in marked if mark["name"] == "student"]
    found = []
    for dim, name in zip(axes, "xy", strict=True):
        places = positions(values, dim)
        middle = students[0][name] if students else places[len(places) // 2]
        found.append(float(places[np.abs(places - wanted.get(dim, middle)).argmin()]))
    return found[0], found[1]


def lines_through(
    values: xr.DataArray, point: tuple[float, float], axes: tuple[str, str]
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the plane along its first axis at the point's second coordinate, and the other way round."""
    x, y = axes
    row = int(np.abs(positions(values, y) - point[1]).argmin())
    column = int(np.abs(positions(values, x) - point[0]).argmin())
    return values.isel({y: row}), values.isel({x: column})


def marks(cube: xr.Dataset, state: State, at: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return name and coordinates of teacher, init and student, where the picture is the plane they lie on."""
    if (state.x, state.y) != ("x", "y") or "plane_points" not in cube:
        return []
    points = at_cell(cube["plane_points"], at, ("point", "axis"))
    if set(points.dims) != {"point", "axis"}:
        return []
    points = points.transpose("point", "axis")
    found = zip(points["point"].values.tolist(), points.values.tolist(), strict=True)
    return [{"name": visible(name), "x": x, "y": y} for name, (x, y) in found if np.isfinite([x, y]).all()]


def plane_unit(cube: xr.Dataset, state: State) -> str:
    """Return the unit of length on the plane, where the cube says in which its marks are."""
    on_plane = (state.x, state.y) == ("x", "y") and "plane_points" in cube
    return unit_of(cube.variables["plane_points"]) if on_plane else ""


def spectrum_variables(cube: xr.Dataset, story: str) -> list[str]:
    """Return the variables that are eigenvalues of one network; those along a path only where the story moves on it."""
    return [
        name
        for name in shown_variables(cube)
        if name.endswith("eigenvalues")
        and "eigenvalue" in cube.variables[name].dims
        and (story == "t" or "t" not in cube.variables[name].dims)
    ]


def has_density(cube: xr.Dataset) -> bool:
    """Return whether a cube holds the quadrature rules behind spectral densities."""
    return {"nodes", "weights"} <= set(cube.data_vars) and {"draw", "node"} <= set(cube.variables["nodes"].dims)


def density(cube: xr.Dataset, at: Mapping[str, int]) -> xr.DataArray | None:
    """Return the spectral density at a cell, mean over draws, with gaps below a millionth of its peak; None if none."""
    if not has_density(cube):
        return None
    rules = xr.Dataset({name: at_cell(cube[name], at, ("draw", "node")) for name in ("nodes", "weights")}).load()
    if not bool(np.isfinite(rules["nodes"]).any()):
        return None
    found = filed.density(rules)["density"]
    return found.where(found > 1e-6 * found.max())


def hole(cube: xr.Dataset, at: Mapping[str, int]) -> str:
    """Say which run has not filled a cell; empty where it has, or where the cube does not know."""
    if DONE not in cube or bool(at_cell(cube[DONE], at)):
        return ""
    where = place_words(cube, at, [str(dim) for dim in cube[DONE].dims])
    return f"missing: no run has filled {where or 'this cube'}; run the study again to execute what is missing"


def _thinned(array: xr.DataArray, dims: tuple[str, ...]) -> xr.DataArray:
    steps = {dim: -(-array.sizes[dim] // MAX_POINTS) for dim in dims if dim in array.dims}
    return array.isel({dim: slice(None, None, step) for dim, step in steps.items() if step > 1})
