"""What an explorer shows, as traits: no drawing, no browser, so that a test sets a trait and looks at the data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from traitlets import Bool, Dict, Enum, HasTraits, Tuple, Unicode

from kdlandscape.nearest import did_you_mean, listed

#: Maps that stay readable with colour-blind eyes and in greyscale.
COLOR_MAPS = ("viridis", "cividis", "magma")
VIEWS = ("explore", "compare", "story")
#: Drawn in their own way: holes, marks on a plane, and the rules behind a spectral density.
NEVER_SHOWN = ("done", "plane_points", "nodes", "weights")


class State(HasTraits):
    """The choices behind a picture: a variable, its two axes, the cell at every other dim, and a point."""

    view = Enum(VIEWS, default_value="explore")
    variable = Unicode()
    x = Unicode(help="dim along the horizontal axis")
    y = Unicode(help="dim along the vertical axis; empty where the variable has no second one")
    story = Unicode(help="the dim that the story moves along; empty where there is none")
    curve = Unicode(help="variable drawn against the story's dim")
    at: Dict = Dict(help="index of the shown cell along every dim")
    other: Dict = Dict(help="index of the second cell, for comparison")
    point: Tuple = Tuple(default_value=(), help="coordinates (x, y) of the clicked point; empty before a click")
    log = Bool(False, help="logarithmic colours and heights")
    shared = Bool(True, help="one colour scale for all cells of the story, not one for each")
    colors = Enum(COLOR_MAPS, default_value="viridis")


def make_state(
    cube: xr.Dataset,
    *,
    variable: str | None = None,
    at: Mapping[str, Any] | None = None,
    other: Mapping[str, Any] | None = None,
    choices: Mapping[str, Any] | None = None,
) -> State:
    """Make the state that a cube opens with.

    Parameters
    ----------
    cube
        Any cube; one without anything to show gives an empty state.
    variable
        The variable to show; default: the first over ``y, x``, else the first of two dims, else the first.
    at, other
        Coordinates along some dims, of the shown cell and of the one it is compared with; default: the first cell that
        is done, and the last along λ.
    choices
        Values of further traits of `State`, by name: ``view``, ``x``, ``y``, ``point``, ``log`` and so on.

    Raises
    ------
    ValueError
        If the variable, a dim, a coordinate or a choice is not known.
    """
    state = State(at=first_cell(cube))
    known = shown_variables(cube)
    if variable is not None and variable not in known:
        listed = ", ".join(known) or "none"
        raise ValueError(f"variable: expected one of {listed}, got {variable!r}.{did_you_mean(variable, known)}")
    state.at = locate(cube, at or {}, state.at)
    state.other = locate(cube, other or {}, next_cell(cube, state.at))
    if known:
        state.variable = variable or _best(cube, known)
        state.x, state.y = default_axes(cube, state.variable)
        state.log = "loss" in state.variable
    state.story = "init_lambda" if "init_lambda" in cube.dims else next(iter(_numeric_dims(cube)), "")
    curves = curve_variables(cube, state.story)
    state.curve = "agreement" if "agreement" in curves else next(iter(curves), "")
    for name, value in (choices or {}).items():
        _choose(cube, state, name, value)
    return state


def _choose(cube: xr.Dataset, state: State, name: str, value: Any) -> None:
    allowed: dict[str, list[Any]] = {
        "x": [str(dim) for dim in cube.variables[state.variable].dims] if state.variable else [],
        "y": ["", *map(str, cube[state.variable].dims)] if state.variable else [],
        "curve": curve_variables(cube, state.story),
        "view": list(VIEWS),
        "colors": list(COLOR_MAPS),
        "log": [False, True],
        "shared": [False, True],
    }
    if name == "point":
        state.point = tuple(map(float, value))
    elif value not in allowed[name]:
        raise ValueError(f"{name}: expected one of {allowed[name]}, got {value!r}")
    else:
        setattr(state, name, value)


def shown_variables(cube: xr.Dataset) -> list[str]:
    """Return the variables that can be drawn: numbers over at least one dim of at least one place."""
    return [
        str(name)
        for name, array in cube.data_vars.items()
        if array.dtype.kind in "biuf" and array.ndim and array.size and name not in NEVER_SHOWN
    ]


def curve_variables(cube: xr.Dataset, story: str) -> list[str]:
    """Return the variables that are a few numbers for each place of the story."""
    inner = {"x", "y", "t", "eigenvalue", "point", "axis", "dim", "step", "epoch"}
    return [
        name
        for name in shown_variables(cube)
        if story in cube.variables[name].dims and not inner & set(cube.variables[name].dims)
    ]


def default_axes(cube: xr.Dataset, variable: str) -> tuple[str, str]:
    """Return the dims for the horizontal and vertical axis: x and y, else the innermost with more than one place."""
    dims = [str(dim) for dim in cube[variable].dims]
    if {"x", "y"} <= set(dims):
        return "x", "y"
    long = [dim for dim in reversed(dims) if cube.sizes[dim] > 1] or dims[-1:]
    numbers = [dim for dim in long if dim in cube.coords and cube[dim].dtype.kind in "iuf"]
    long = numbers + [dim for dim in long if dim not in numbers]
    return (long[0], long[1]) if len(long) > 1 else (long[0], "")


def first_cell(cube: xr.Dataset) -> dict[str, int]:
    """Return the index along every dim of the first cell that is done; zeros where a cube does not say."""
    at = {str(dim): 0 for dim in cube.dims}
    if "done" in cube and cube["done"].ndim:
        done = np.argwhere(cube["done"].values.astype(bool))
        if len(done):
            at |= dict(zip(map(str, cube["done"].dims), done[0].tolist(), strict=True))
    return at


def next_cell(cube: xr.Dataset, at: Mapping[str, int]) -> dict[str, int]:
    """Return another cell than the given one to compare it with: the last place of the first dim that has two."""
    outer = [dim for dim in _numeric_dims(cube) if dim not in ("x", "y", "t", "eigenvalue")]
    best = next((dim for dim in ("init_lambda", *outer) if cube.sizes.get(dim, 1) > 1), None)
    return {**at, best: cube.sizes[best] - 1} if best else dict(at)


def locate(cube: xr.Dataset, at: Mapping[str, Any], base: Mapping[str, int]) -> dict[str, int]:
    """Replace places of a cell by the indices of coordinates; ValueError names what is not in the cube."""
    cell = dict(base)
    for dim, value in at.items():
        if dim not in cube.dims:
            known = [str(name) for name in cube.dims]
            raise ValueError(f"at: expected a dim of {listed(known)}, got {dim!r}.{did_you_mean(dim, known)}")
        values = coordinate(cube, dim)
        if value not in values:
            raise ValueError(f"at: expected a coordinate of {dim} among {values}, got {value!r}")
        cell[dim] = values.index(value)
    return cell


def coordinate(cube: xr.Dataset, dim: str) -> list[Any]:
    """Return the coordinate values of a dim, or its positions where it has none."""
    return cube[dim].values.tolist() if dim in cube.coords else list(range(cube.sizes[dim]))


def name_of(value: Any) -> str:
    """Return a coordinate as text."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _numeric_dims(cube: xr.Dataset) -> list[str]:
    return [
        str(dim) for dim in cube.dims if dim in cube.coords and cube[dim].dtype.kind in "iuf" and cube.sizes[dim] > 1
    ]


def _best(cube: xr.Dataset, known: list[str]) -> str:
    planes = [name for name in known if {"x", "y"} <= set(cube.variables[name].dims)]
    flat = [name for name in known if sum(cube.sizes[dim] > 1 for dim in cube.variables[name].dims) > 1]
    return (planes or flat or known)[0]
