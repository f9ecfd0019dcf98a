"""The lines of code that bring back a view or a figure."""

import json
import os
from pathlib import Path
from typing import Any

import xarray as xr

from kdlandscape.cubes.schema import DONE
from kdlandscape.widgets.dims import default_axes, stories
from kdlandscape.widgets.state import ANGLE, State
from kdlandscape.widgets.variable_list import coordinate
from kdlandscape.widgets.view import cell_dims


def source(cube: xr.Dataset) -> str:
    """Return the line that opens a cube: the file it came from, relative to the present folder where it lies in it."""
    path = cube.encoding.get("source")
    if not path:
        return "cube = ...  # this cube was not opened from a file"
    near = os.path.relpath(path)
    quoted = json.dumps(Path(path if near.startswith("..") else near).as_posix(), ensure_ascii=False)
    return f"cube = kdl.open_cube({quoted})"


def view_code(cube: xr.Dataset, state: State) -> str:
    """Return the lines that open an explorer on the present view."""
    return f"import kdlandscape as kdl\n\n{source(cube)}\n{explore_call(cube, state)}"


def explore_call(cube: xr.Dataset, state: State) -> str:
    """Return the call that opens an explorer on the present view."""
    if not state.variable:
        return "kdl.explore(cube)"
    choices: dict[str, Any] = {"variable": state.variable, "at": place(cube, state, state.at), "view": state.view}
    if (state.x, state.y) != default_axes(cube, state.variable):
        choices |= {"x": state.x, "y": state.y}
    if state.view == "compare":
        choices["other"] = place(cube, state, state.other)
    if state.point:
        choices["point"] = tuple(round(value, 12) for value in state.point)
    if state.trio and state.view == "glance":
        choices["trio"] = state.trio
    if state.line:
        choices["line"] = state.line
    choices |= {"log": state.log, "shared": state.shared, "spread": state.spread, "colors": state.colors}
    if state.story != next(iter(stories(cube)), ""):
        choices["story"] = state.story
    if state.curve:
        choices["curve"] = state.curve
    if state.angle != ANGLE:
        choices["angle"] = tuple(round(value, 4) for value in state.angle)
    inner = "\n".join(f"    {name}={value!r}," for name, value in choices.items())
    return f"kdl.explore(\n    cube,\n{inner}\n)"


def figure_code(cube: xr.Dataset, draw: list[str], venue: str, path: str) -> str:
    """Return the lines that draw and export a figure; those of ``draw`` bind it to ``figure``."""
    body = "\n".join(draw).replace("\n", "\n    ")
    plots = "import matplotlib.pyplot as plt\n\n" if "plt." in body else ""
    return (
        f"{plots}import kdlandscape as kdl\n\n{source(cube)}\nwith kdl.figures.venue_style({venue!r}):\n    {body}\n"
        f"kdl.figures.export(figure, {path!r}, {venue!r})"
    )


def place(cube: xr.Dataset, state: State, at: dict[str, int]) -> dict[str, Any]:
    """Return the coordinates of a cell along the dims that have a slider, and along those that say which run it is."""
    dims = [*cell_dims(cube, state), *(map(str, cube[DONE].dims) if DONE in cube else ())]
    return {dim: coordinate(cube, dim)[at[dim]] for dim in dict.fromkeys(dims)}
