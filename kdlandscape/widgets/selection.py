"""From a cube and a state to the arrays that are drawn.  Reads one cell at a time, so a lazy cube stays lazy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.cubes import spectra as filed
from kdlandscape.widgets.state import State, coordinate, name_of, shown_variables

#: A picture needs no more points along an axis than a screen shows.
MAX_POINTS = 257
#: Variables smaller than this are read at once when a cube is opened, together at most eight times as much.
SMALL_BYTES = 8 * 2**20


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


def free_dims(cube: xr.Dataset, state: State) -> list[str]:
    """Return the dims that need a slider: those of the variable that are no axis of the picture, and the story's."""
    if not state.variable:
        return []
    own = [str(dim) for dim in cube.variables[state.variable].dims if dim not in (state.x, state.y)]
    story = [state.story] if state.story and state.story not in (*own, state.x, state.y) else []
    return [dim for dim in own + story if cube.sizes[dim] > 1]


def at_cell(array: xr.DataArray, at: Mapping[str, int], keep: tuple[str, ...] = ()) -> xr.DataArray:
    """Return a variable at a cell, keeping some dims; only this part is read."""
    return array.isel({dim: at[dim] for dim in map(str, array.dims) if dim not in keep and dim in at})


def plane(cube: xr.Dataset, state: State, at: Mapping[str, int] | None = None) -> xr.DataArray:
    """Return the chosen variable over ``(y, x)`` at a cell, as floats and with at most 257 points along each axis."""
    array = at_cell(cube[state.variable], state.at if at is None else at, (state.x, state.y))
    array = _thinned(array, (state.x, state.y))
    return array.transpose(*[dim for dim in (state.y, state.x) if dim]).astype(float).load()


def limits(cube: xr.Dataset, state: State, num: int = 11) -> tuple[float, float] | None:
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


def finite_limits(values: np.ndarray, log: bool) -> tuple[float, float] | None:
    """Return the least and greatest finite value; for a logarithmic scale three decades at most, below the top."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = float(finite.min()), float(finite.max())
    if log and high > 0:
        low = max(float(finite[finite > 0].min()), high / 1e3)
    return low, high


def chosen_point(state: State, values: xr.DataArray, marked: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the coordinates of the grid point next to the click; before a click the student, else the middle."""
    x, y = positions(values, state.x), positions(values, state.y)
    wanted = state.point
    if not wanted:
        students = [mark for mark in marked if mark["name"] == "student"]
        wanted = (students[0]["x"], students[0]["y"]) if students else (x[len(x) // 2], y[len(y) // 2])
    return float(x[np.abs(x - wanted[0]).argmin()]), float(y[np.abs(y - wanted[1]).argmin()])


def lines_through(state: State, values: xr.DataArray, point: tuple[float, float]) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the plane along x at the point's y, and along y at the point's x."""
    row = int(np.abs(positions(values, state.y) - point[1]).argmin())
    column = int(np.abs(positions(values, state.x) - point[0]).argmin())
    return values.isel({state.y: row}), values.isel({state.x: column})


def marks(cube: xr.Dataset, state: State, at: Mapping[str, int] | None = None) -> list[dict[str, Any]]:
    """Return name and coordinates of teacher, init and student, where the picture is the plane they lie on."""
    if (state.x, state.y) != ("x", "y") or "plane_points" not in cube:
        return []
    points = at_cell(cube["plane_points"], state.at if at is None else at, ("point", "axis"))
    if set(points.dims) != {"point", "axis"}:
        return []
    points = points.transpose("point", "axis")
    found = zip(points["point"].values.tolist(), points.values.tolist(), strict=True)
    return [{"name": str(name), "x": x, "y": y} for name, (x, y) in found if np.isfinite([x, y]).all()]


def spectra(cube: xr.Dataset, at: Mapping[str, int]) -> dict[str, xr.DataArray]:
    """Return the eigenvalues at a cell, by variable."""
    names = [
        name
        for name in shown_variables(cube)
        if name.endswith("eigenvalues") and "eigenvalue" in cube.variables[name].dims
    ]
    found = {name: at_cell(cube[name], at, ("eigenvalue",)).load() for name in names}
    return {name: array for name, array in found.items() if bool(np.isfinite(array).any())}


def density(cube: xr.Dataset, at: Mapping[str, int]) -> xr.DataArray | None:
    """Return the spectral density at a cell, mean over draws, with gaps below a millionth of its peak; None if none."""
    if not {"nodes", "weights"} <= set(cube.data_vars) or not {"draw", "node"} <= set(cube.variables["nodes"].dims):
        return None
    rules = xr.Dataset({name: at_cell(cube[name], at, ("draw", "node")) for name in ("nodes", "weights")}).load()
    if not bool(np.isfinite(rules["nodes"]).any()):
        return None
    found = filed.density(rules)["density"]
    return found.where(found > 1e-6 * found.max())


def path(cube: xr.Dataset, at: Mapping[str, int]) -> xr.DataArray | None:
    """Return the loss along the path to the teacher at a cell; None if the cube has none there."""
    if "path_loss" not in cube or "t" not in cube.variables["path_loss"].dims:
        return None
    found = at_cell(cube["path_loss"], at, ("t",)).load()
    return found if bool(np.isfinite(found).any()) else None


def curves(cube: xr.Dataset, names: Sequence[str], along: str, at: Mapping[str, int]) -> dict[str, xr.DataArray]:
    """Return variables against a dim at a cell; a ``split`` stays, one curve for each."""
    found = {}
    for name in names:
        if name not in cube or along not in cube.variables[name].dims:
            continue
        array = at_cell(cube[name], at, (along, "split")).load()
        if "split" not in array.dims:
            found[name] = array
            continue
        for i, split in enumerate(coordinate(cube, "split")):
            found[f"{name}, {split}"] = array.isel(split=i)
    return found


def hole(cube: xr.Dataset, at: Mapping[str, int]) -> str:
    """Say which run has not filled a cell; empty where it has, or where the cube does not know."""
    if "done" not in cube or bool(at_cell(cube["done"], at)):
        return ""
    where = cell_name(cube, at, [str(dim) for dim in cube["done"].dims])
    return f"missing: no run has filled {where or 'this cube'}; run the study again to execute what is missing"


def cell_name(cube: xr.Dataset, at: Mapping[str, int], dims: list[str]) -> str:
    """Return a cell in words, such as ``seed = 0, init_lambda = 0.25``."""
    return ", ".join(f"{dim} = {name_of(coordinate(cube, dim)[at[dim]])}" for dim in dims)


def positions(array: xr.DataArray | xr.Dataset, dim: str) -> np.ndarray:
    """Return the numbers along a dim: its coordinate, or the positions of one that is text."""
    numeric = dim in array.coords and array[dim].dtype.kind in "biuf"
    return array[dim].values.astype(float) if numeric else np.arange(array.sizes[dim], dtype=float)


def _thinned(array: xr.DataArray, dims: tuple[str, ...]) -> xr.DataArray:
    steps = {dim: -(-array.sizes[dim] // MAX_POINTS) for dim in dims if dim in array.dims}
    return array.isel({dim: slice(None, None, step) for dim, step in steps.items() if step > 1})
