"""The lines of code that bring back a view or a figure."""

import os
from pathlib import Path
from typing import Any

import xarray as xr

from kdlandscape.widgets.selection import free_dims
from kdlandscape.widgets.state import State, coordinate, default_axes


def source(cube: xr.Dataset) -> str:
    """Return the line that opens a cube: the file it came from, relative to the present folder where it lies in it."""
    path = cube.encoding.get("source")
    if not path:
        return "cube = ...  # this cube was not opened from a file"
    near = os.path.relpath(path)
    return f'cube = kdl.open_cube("{Path(path if near.startswith("..") else near).as_posix()}")'


def view_code(cube: xr.Dataset, state: State) -> str:
    """Return the lines that open an explorer on the present view."""
    if not state.variable:
        return "\n".join(["import kdlandscape as kdl", "", source(cube), "kdl.explore(cube)"])
    choices: dict[str, Any] = {"variable": state.variable, "at": place(cube, state, state.at), "view": state.view}
    if (state.x, state.y) != default_axes(cube, state.variable):
        choices |= {"x": state.x, "y": state.y}
    if state.view == "compare":
        choices["other"] = place(cube, state, state.other)
    if state.point:
        choices["point"] = tuple(round(value, 12) for value in state.point)
    choices |= {"log": state.log, "shared": state.shared, "colors": state.colors}
    if state.curve:
        choices["curve"] = state.curve
    inner = "\n".join(f"    {name}={value!r}," for name, value in choices.items())
    return f"import kdlandscape as kdl\n\n{source(cube)}\nkdl.explore(\n    cube,\n{inner}\n)"


def figure_code(cube: xr.Dataset, call: str, venue: str, path: str) -> str:
    """Return the lines that draw and export a figure, given its call."""
    return (
        f"import matplotlib.pyplot as plt\n\nimport kdlandscape as kdl\n\n{source(cube)}\n"
        f"with kdl.figures.venue_style({venue!r}):\n    {call}\n"
        f"kdl.figures.export(plt.gcf(), {path!r}, {venue!r})"
    )


def place(cube: xr.Dataset, state: State, at: dict[str, int]) -> dict[str, Any]:
    """Return the coordinates of a cell along the dims that have a slider, and along those that say which run it is."""
    dims = [*free_dims(cube, state), *(map(str, cube["done"].dims) if "done" in cube else ())]
    return {dim: coordinate(cube, dim)[at[dim]] for dim in dict.fromkeys(dims)}
