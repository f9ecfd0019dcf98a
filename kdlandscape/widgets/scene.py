"""From a cube and a state to the panels of a view.  Everything on the board follows from these two."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.widgets import panels, selection
from kdlandscape.widgets.panels import Panel
from kdlandscape.widgets.state import State, coordinate, name_of

Limits = tuple[float, float] | None

#: What the story follows beside the chosen variable: title and variables of each panel, where a cube has them.
STORY = {
    "agreement with the teacher": ("agreement", "control_agreement"),
    "distance to the teacher": ("distance_start", "distance_end"),
    "barrier": ("barrier",),
}


def board(cube: xr.Dataset, state: State, limits: Limits = None) -> list[Panel]:
    """Return the panels of the present view.

    Parameters
    ----------
    cube, state
        What to choose from, and the choice.
    limits
        Colour limits; default: computed from the cube.
    """
    problem = problem_of(cube, state)
    if problem:
        return [panels.message_panel("nothing to show", problem)]
    limits = limits or selection.limits(cube, state)
    if state.view == "compare":
        return [
            *surfaces(cube, state, limits, state.at, "A: "),
            *surfaces(cube, state, limits, state.other, "B: "),
            *pair_lines(cube, state),
            *spectrum(cube, {"A": state.at, "B": state.other}),
        ]
    shown = surfaces(cube, state, limits, state.at, "")
    if state.view == "story":
        return [*shown, *path(cube, state), *spectrum(cube, {"": state.at}), *story(cube, state)]
    return [*shown, *point_lines(cube, state), *spectrum(cube, {"": state.at}), *curve(cube, state)]


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


def surfaces(cube: xr.Dataset, state: State, limits: Limits, at: Mapping[str, int], prefix: str) -> list[Panel]:
    """Return the plane from above and, except for a comparison, from the side; or a line; or what is missing."""
    dims = [str(dim) for dim in cube[state.variable].dims if dim not in (state.x, state.y) and cube.sizes[dim] > 1]
    where = prefix + (selection.cell_name(cube, at, dims) or state.variable)
    missing = selection.hole(cube, at) or thin(cube, state)
    if missing:
        return [panels.message_panel(where, missing)]
    values = selection.plane(cube, state, at)
    if not np.isfinite(values.values).any():
        every = f"every value of {state.variable} is missing (NaN) or infinite here; choose another cell"
        return [panels.message_panel(where, every)]
    if not state.y:
        return [flat(cube, state, values, where)]
    assert limits is not None  # something here is finite
    axes = (axis(cube, values, state.x), axis(cube, values, state.y))
    point = selection.chosen_point(cube, state, values)
    log = state.log and limits[0] > 0
    common: dict[str, Any] = {
        "log": log,
        "colors": state.colors,
        "axes": axes,
        "marks": selection.marks(cube, state, at),
    }
    seen = panels.plane_panel(values, limits, title=where, point=point, readout=readout(state, values, point), **common)
    if state.view == "compare":
        return [seen]
    return [seen, panels.surface_panel(values, limits, **common)]


def thin(cube: xr.Dataset, state: State) -> str:
    """Say which axis has a single point, where a picture needs two."""
    for dim in (state.x, state.y):
        if dim and cube.sizes[dim] < 2:
            more = " or more along it, or another axis"
            return f"expected at least two points along {dim}, got {cube.sizes[dim]}: a picture needs two{more}"
    return ""


def flat(cube: xr.Dataset, state: State, values: xr.DataArray, title: str) -> Panel:
    """Return the panel of a variable that has one axis only."""
    drawn = panels.line(state.variable, selection.positions(values, state.x), values.values)
    note = "no plane in this choice: it has one axis"
    labels = axis(cube, values, state.x)["labels"]
    label = panels.axis_label(values)
    return panels.lines_panel(
        [drawn], title=f"{title} ({note})", xlabel=state.x, ylabel=label, log=state.log, labels=labels
    )


def axis(cube: xr.Dataset, values: xr.DataArray, dim: str) -> panels.Axis:
    """Return an axis of a picture."""
    places = selection.positions(values, dim)
    text = dim in values.coords and values[dim].dtype.kind not in "biuf"
    return panels.axis(dim, places, [name_of(value) for value in values[dim].values.tolist()] if text else None)


def readout(state: State, values: xr.DataArray, point: tuple[float, float]) -> str:
    """Return the value at the chosen point in words."""
    along, _ = selection.lines_through(state, values, point)
    column = int(np.abs(selection.positions(values, state.x) - point[0]).argmin())
    value = float(along.values[column])
    unit = "" if _unit(values) == "1" else f" {_unit(values)}"
    shown = f"{value:.4g}{unit}" if np.isfinite(value) else "missing (NaN)" if np.isnan(value) else "infinite"
    return f"{state.x} = {point[0]:.4g}, {state.y} = {point[1]:.4g}: {shown}"


def point_lines(cube: xr.Dataset, state: State) -> list[Panel]:
    """Return the panel of the two lines through the chosen point."""
    if not state.y or selection.hole(cube, state.at) or thin(cube, state):
        return []
    values = selection.plane(cube, state)
    point = selection.chosen_point(cube, state, values)
    row, column = selection.lines_through(state, values, point)
    drawn = [
        panels.line(f"along {state.x}, {state.y} = {point[1]:.3g}", selection.positions(row, state.x), row.values),
        panels.line(
            f"along {state.y}, {state.x} = {point[0]:.3g}", selection.positions(column, state.y), column.values
        ),
    ]
    label = panels.axis_label(values)
    title = "lines through the point"
    return [panels.lines_panel(drawn, title=title, xlabel=f"{state.x}, {state.y}", ylabel=label, log=state.log)]


def pair_lines(cube: xr.Dataset, state: State) -> list[Panel]:
    """Return the line along x through the chosen point, of both cells."""
    drawn = []
    title = f"along {state.x}"
    if state.y and not thin(cube, state):
        for name, at in {"A": state.at, "B": state.other}.items():
            if selection.hole(cube, at):
                continue
            values = selection.plane(cube, state, at)
            point = selection.chosen_point(cube, state, values)
            row = selection.lines_through(state, values, point)[0]
            title = f"along {state.x}, at {state.y} = {point[1]:.3g}"
            drawn.append(panels.line(name, selection.positions(row, state.x), row.values))
    label = panels.axis_label(cube[state.variable])
    return [panels.lines_panel(drawn, title=title, xlabel=state.x, ylabel=label, log=state.log)] if drawn else []


def path(cube: xr.Dataset, state: State) -> list[Panel]:
    """Return the panel of the loss along the path to the teacher."""
    if "path_loss" not in cube or "t" not in cube["path_loss"].dims or selection.hole(cube, state.at):
        return []
    values = selection.at_cell(cube["path_loss"], state.at, ("t",)).load()
    drawn = panels.line("loss", selection.positions(values, "t"), values.values)
    return [
        panels.lines_panel([drawn], title="path from student to teacher", xlabel="t", ylabel=f"loss [{_unit(values)}]")
    ]


def spectrum(cube: xr.Dataset, cells: Mapping[str, Mapping[str, int]]) -> list[Panel]:
    """Return the panels of the top eigenvalues and of the spectral density, at one cell or at several."""
    drawn, densities, label = [], [], ""
    for prefix, at in cells.items():
        for name, values in selection.spectra(cube, at).items():
            short = f"{prefix} {name.replace('_eigenvalues', '')}".strip()
            drawn.append(panels.line(short, np.arange(1, values.size + 1), values.values, stems=True))
            label = f"eigenvalue [{_unit(values)}]"
        density = selection.density(cube, at)
        if density is not None:
            densities.append(panels.line(f"{prefix} density".strip(), density["grid"].values, density.values))
    found = [panels.lines_panel(drawn, title="spectrum", xlabel="index", ylabel=label)] if drawn else []
    if densities:
        found.append(
            panels.lines_panel(
                densities, title="spectral density", xlabel="eigenvalue", ylabel="density per eigenvalue", log=True
            )
        )
    return found


def curve(cube: xr.Dataset, state: State) -> list[Panel]:
    """Return the panel of the chosen curve against the story's dim, with the present cell marked."""
    if not state.curve or not state.story:
        return []
    baseline = [name for name in (f"control_{state.curve}",) if name in cube]
    title = str(cube[state.curve].attrs.get("long_name", state.curve))
    return _curves(cube, state, [state.curve, *baseline], title)


def story(cube: xr.Dataset, state: State) -> list[Panel]:
    """Return what the story follows: agreement, distance and barrier, with the present cell marked."""
    if not state.story:
        return []
    return [panel for title, names in STORY.items() for panel in _curves(cube, state, list(names), title)]


def _curves(cube: xr.Dataset, state: State, names: list[str], title: str) -> list[Panel]:
    found = selection.curves(cube, names, state.story, state.at)
    if not any(np.isfinite(values).any() for values in found.values()):
        return []
    places = selection.positions(cube, state.story)
    units = {_unit(values) for values in found.values()}
    drawn = [panels.line(name.replace("_", " "), places, values.values) for name, values in found.items()]
    labels = None if cube[state.story].dtype.kind in "biuf" else list(map(name_of, coordinate(cube, state.story)))
    here = float(places[state.at[state.story]])
    label = " or ".join(sorted(units)).replace("1", "")
    return [
        panels.lines_panel(drawn, title=title, xlabel=state.story, ylabel=label, at=here, pick="story", labels=labels)
    ]


def _unit(values: xr.DataArray) -> str:
    return str(values.attrs.get("units", "1"))
