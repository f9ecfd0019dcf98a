"""What a scene shows, read from the cube once.  The panels are made from it and never ask the cube again."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from kdlandscape.widgets import selection
from kdlandscape.widgets.state import State

Limits = tuple[float, float] | None

#: What the story follows beside the chosen variable: title and variables of each panel, where a cube has them.
STORY = {
    "agreement with the teacher": ("agreement", "control_agreement"),
    "distance to the teacher": ("distance_start", "distance_end"),
    "barrier": ("barrier",),
}


@dataclass(frozen=True)
class Cell:
    """One cell of the cube: the chosen variable there, and what belongs to the same networks.

    ``missing`` says why there are no ``values``; it is empty where there are some. ``row`` and ``column`` are the lines
    through ``point``.
    """

    title: str
    missing: str
    values: xr.DataArray | None
    point: tuple[float, float] | None
    row: xr.DataArray | None
    column: xr.DataArray | None
    marks: list[dict[str, float | str]]
    spectra: Mapping[str, xr.DataArray]
    density: xr.DataArray | None


@dataclass(frozen=True)
class View:
    """Everything on the board: the cells by name ("" where there is one), and what runs along the story."""

    problem: str
    cells: Mapping[str, Cell]
    limits: Limits = None
    path: xr.DataArray | None = None
    curves: Mapping[str, Mapping[str, xr.DataArray]] | None = None
    here: float = 0.0


def read(cube: xr.Dataset, state: State, limits: Limits = None) -> View:
    """Read what the present view shows.

    Parameters
    ----------
    cube, state
        What to choose from, and the choice.
    limits
        The colour limits; default: they are computed from the cube.
    """
    problem = problem_of(cube, state)
    if problem:
        return View(problem, {})
    chosen = {"A": state.at, "B": state.other} if state.view == "compare" else {"": state.at}
    cells = {name: read_cell(cube, state, at, name) for name, at in chosen.items()}
    story = state.view == "story"
    return View(
        "",
        cells,
        limits or selection.limits(cube, state),
        selection.path(cube, state.at) if story else None,
        None if state.view == "compare" else _curves(cube, state, story),
        float(selection.positions(cube, state.story)[state.at[state.story]]) if state.story else 0.0,
    )


def read_cell(cube: xr.Dataset, state: State, at: Mapping[str, int], name: str = "") -> Cell:
    """Read a cell; ``name`` stands before its title."""
    dims = [str(dim) for dim in cube[state.variable].dims if dim not in (state.x, state.y) and cube.sizes[dim] > 1]
    title = (f"{name}: " if name else "") + (selection.cell_name(cube, at, dims) or state.variable)
    spectra, density = selection.spectra(cube, at), selection.density(cube, at)
    missing = selection.hole(cube, at) or thin(cube, state)
    values = None if missing else selection.plane(cube, state, at)
    if values is not None and not np.isfinite(values.values).any():
        missing = f"every value of {state.variable} is missing (NaN) or infinite here; choose another cell"
    if values is None or missing or not state.y:
        return Cell(title, missing, values, None, None, None, [], spectra, density)
    marks = selection.marks(cube, state, at)
    point = selection.chosen_point(state, values, marks)
    row, column = selection.lines_through(state, values, point)
    return Cell(title, "", values, point, row, column, marks, spectra, density)


def problem_of(cube: xr.Dataset, state: State) -> str:
    """Say why there is nothing at all to show; empty if there is something."""
    if not state.variable:
        held = ", ".join(map(str, cube.data_vars)) or "no variable"
        return (
            f"expected a cube with numbers over at least one dim, got {held}; "
            "open one with kdl.open_cube, or make one with kdl.run_study"
        )
    if state.x == state.y:
        return f"expected two different axes, got {state.x} twice; choose another one for x or y"
    return ""


def thin(cube: xr.Dataset, state: State) -> str:
    """Say which axis has a single point, where a picture needs two."""
    for dim in (state.x, state.y):
        if dim and cube.sizes[dim] < 2:
            more = " or more along it, or another axis"
            return f"expected at least two points along {dim}, got {cube.sizes[dim]}: a picture needs two{more}"
    return ""


def _curves(cube: xr.Dataset, state: State, story: bool) -> dict[str, dict[str, xr.DataArray]]:
    if not state.story:
        return {}
    wanted: Mapping[str, tuple[str, ...]] = STORY
    if not story:
        if not state.curve:
            return {}
        title = str(cube[state.curve].attrs.get("long_name", state.curve))
        wanted = {title: (state.curve, f"control_{state.curve}")}
    return {title: selection.curves(cube, names, state.story, state.at) for title, names in wanted.items()}
