"""What an explorer shows, as traits: no drawing, no browser, so that a test sets a trait and looks at the data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from traitlets import Bool, Dict, Enum, HasTraits, Tuple, Unicode

from kdlandscape.cubes.schema import DONE
from kdlandscape.cubes.words import kind
from kdlandscape.nearest import did_you_mean
from kdlandscape.widgets.dims import default_axes, long_dims, shown_variables, stories
from kdlandscape.widgets.variable_list import coordinate

#: Maps that stay readable with colour-blind eyes and in greyscale.
COLOR_MAPS = ("viridis", "cividis", "magma")
VIEWS = ("explore", "compare", "story", "glance")
#: Turn and tilt (radians) and zoom of the surface from the side.
ANGLE = (-0.6, 0.62, 1.0)


class State(HasTraits):
    """The choices behind a picture: a variable, its two axes, the cell at every other dim, and a point."""

    view = Enum(VIEWS, default_value="explore")
    variable = Unicode()
    x = Unicode(help="dim along the horizontal axis")
    y = Unicode(help="dim along the vertical axis; empty where the variable is drawn as lines")
    story = Unicode(help="the dim that the story moves along; empty where there is none")
    curve = Unicode(help="variable drawn against the story's dim")
    at: Dict = Dict(help="index of the shown cell along every dim")
    other: Dict = Dict(help="index of the second cell, for comparison")
    point: Tuple = Tuple(default_value=(), help="coordinates (x, y) of the clicked point; empty before a click")
    line: Tuple = Tuple(default_value=(), help="a line on the plane: two names of networks, or x, y, x, y; empty: none")
    trio: Tuple = Tuple(default_value=(), help="names of the networks that were clicked, the last two count")
    log = Bool(False, help="logarithmic colours and heights")
    shared = Bool(True, help="one scale for all cells of the story, not one for each")
    spread = Bool(True, help="every repeat (seed) as a thin line, with their mean and its 95 % interval")
    colors = Enum(COLOR_MAPS, default_value="viridis")
    angle: Tuple = Tuple(default_value=ANGLE, help="turn, tilt and zoom of the surface from the side")

    def copy(self, **changes: Any) -> "State":
        """Return the same choices with some of them changed."""
        return State(**{name: getattr(self, name) for name in self.trait_names()} | changes)

    def choose(self, cube: xr.Dataset, variable: str) -> None:
        """Show another variable, with the axes and the scale that suit it; a point of other axes is forgotten."""
        axes = default_axes(cube, variable)
        if axes != (self.x, self.y):
            self.point = self.line = ()
        self.variable, (self.x, self.y) = variable, axes
        self.log = "loss" in variable and bool(self.y)

    def tell(self, cube: xr.Dataset, story: str) -> None:
        """Move along another dim, with a curve that has it."""
        known = curve_variables(cube, story)
        self.story = story
        if self.curve not in known:
            self.curve = "agreement" if "agreement" in known else next(iter(known), "")


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
        The variable to show; default: the first over ``y, x``, else the first of two long dims, else the first.
    at, other
        Coordinates along some dims, of the shown cell and of the one it is compared with; default: the first cell that
        is done, and the last along the story.
    choices
        Values of further traits of `State`, by name: ``view``, ``x``, ``y``, ``point``, ``log`` and so on.

    Raises
    ------
    ValueError
        If the variable, a dim, a coordinate or a choice is not known.
    """
    state, choices = State(at=first_cell(cube)), dict(choices or {})
    known = shown_variables(cube)
    if variable is not None and variable not in known:
        names = ", ".join(known) or "none"
        raise ValueError(f"variable: expected one of {names}, got {variable!r}.{did_you_mean(variable, known)}")
    state.at = locate(cube, at or {}, state.at)
    if known:
        state.choose(cube, variable or _best(cube, known))
    told = stories(cube)
    if "story" in choices and choices["story"] not in told:
        raise ValueError(f"story: expected one of {told}, got {choices['story']!r}")
    state.tell(cube, choices.pop("story", next(iter(told), "")))
    state.other = locate(cube, other or {}, next_cell(cube, state.at, told))
    for name, value in choices.items():
        _choose(cube, state, name, value)
    return state


def _choose(cube: xr.Dataset, state: State, name: str, value: Any) -> None:
    dims = [str(dim) for dim in cube.variables[state.variable].dims] if state.variable else []
    allowed: dict[str, list[Any]] = {
        "x": dims,
        "y": ["", *dims],
        "curve": curve_variables(cube, state.story),
        "view": list(VIEWS),
        "colors": list(COLOR_MAPS),
        "log": [False, True],
        "shared": [False, True],
        "spread": [False, True],
    }
    if name in ("point", "angle"):
        numbers = tuple(map(float, value))
        if len(numbers) != len(ANGLE if name == "angle" else "xy") or not np.isfinite(numbers).all():
            raise ValueError(f"{name}: expected {3 if name == 'angle' else 2} finite numbers, got {value!r}")
        setattr(state, name, numbers)
    elif name == "trio":
        state.trio = tuple(map(str, value))[-2:]
    elif name == "line":
        state.line = checked_line(value)
    elif value not in allowed[name]:
        raise ValueError(f"{name}: expected one of {allowed[name]}, got {value!r}")
    else:
        setattr(state, name, value)


def checked_line(value: Any) -> tuple[Any, ...]:
    """Return a line as two names or four numbers; ValueError for anything else."""
    line = tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(line) == 2 and all(isinstance(end, str) for end in line):
        return line
    if len(line) == 4 and all(isinstance(end, (int, float)) and np.isfinite(end) for end in line):
        return tuple(map(float, line))
    raise ValueError(f"line: expected two names of networks on the plane, or four numbers x, y, x, y, got {value!r}")


def curve_variables(cube: xr.Dataset, story: str) -> list[str]:
    """Return the variables that are a few numbers for each place of the story."""
    away = {"x", "y", "t", "grid", "point", "axis", "step", "epoch"} - {story}
    return [
        name
        for name in shown_variables(cube)
        if story in long_dims(cube, name) and not away & set(cube.variables[name].dims)
    ]


def first_cell(cube: xr.Dataset) -> dict[str, int]:
    """Return the index along every dim of the first cell that is done; zeros where a cube does not say."""
    at = {str(dim): 0 for dim in cube.dims}
    if DONE in cube and cube[DONE].ndim:
        done = np.argwhere(cube[DONE].values.astype(bool))
        if len(done):
            at |= dict(zip(map(str, cube[DONE].dims), done[0].tolist(), strict=True))
    return at


def next_cell(cube: xr.Dataset, at: Mapping[str, int], told: list[str]) -> dict[str, int]:
    """Return another cell to compare with: the last place of the story that is no path, or the next place of a dim."""
    best = next((dim for dim in told if dim != "t" and cube.sizes[dim] > 1), None)
    if best is None:
        return dict(at)
    last = cube.sizes[best] - 1
    return {**at, best: last if at[best] != last or kind(cube, best) == "continuous" else 0}


def locate(cube: xr.Dataset, at: Mapping[str, Any], base: Mapping[str, int]) -> dict[str, int]:
    """Replace places of a cell by the indices of coordinates; ValueError names what is not in the cube."""
    cell = dict(base)
    for dim, value in at.items():
        if dim not in cube.dims:
            known = [str(name) for name in cube.dims]
            raise ValueError(
                f"at: expected a dim of {', '.join(known) or 'none'}, got {dim!r}.{did_you_mean(dim, known)}"
            )
        values = coordinate(cube, dim)
        if value not in values:
            raise ValueError(f"at: expected a coordinate of {dim} among {values}, got {value!r}")
        cell[dim] = values.index(value)
    return cell


def _best(cube: xr.Dataset, known: list[str]) -> str:
    planes = [name for name in known if {"x", "y"} <= set(cube.variables[name].dims)]
    flat = [name for name in known if len(long_dims(cube, name)) > 1]
    return (planes or flat or known)[0]
