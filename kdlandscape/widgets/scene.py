"""From what a view has read to the panels of the board."""

import numpy as np
import xarray as xr

from kdlandscape.widgets import panels, selection
from kdlandscape.widgets.panels import Panel
from kdlandscape.widgets.state import State, name_of
from kdlandscape.widgets.view import Cell, Limits, View


def board(view: View, state: State) -> list[Panel]:
    """Return the panels of a view."""
    if view.problem:
        return [panels.message_panel("nothing to show", view.problem)]
    shown = [panel for cell in view.cells.values() for panel in surfaces(cell, state, view.limits)]
    if state.view == "compare":
        return [*shown, *pair_lines(view, state), *spectrum(view)]
    if state.view == "story":
        return [*shown, *path(view), *spectrum(view), *curves(view, state)]
    return [*shown, *point_lines(view.cells[""], state), *spectrum(view), *curves(view, state)]


def surfaces(cell: Cell, state: State, limits: Limits) -> list[Panel]:
    """Return the plane from above and, except for a comparison, from the side; or a line; or what is missing."""
    values = cell.values
    if cell.missing or values is None:
        return [panels.message_panel(cell.title, cell.missing)]
    if not state.y:
        return [flat(values, state, cell.title)]
    assert limits is not None  # something here is finite
    seen = panels.plane_panel(
        values,
        limits,
        title=cell.title,
        log=state.log and limits[0] > 0,
        colors=state.colors,
        axes=(axis(values, state.x), axis(values, state.y)),
        marks=cell.marks,
        point=cell.point,
        readout=readout(cell, state),
    )
    return [seen] if state.view == "compare" else [seen, panels.from_side(seen)]


def flat(values: xr.DataArray, state: State, title: str) -> Panel:
    """Return the panel of a variable that has one axis only."""
    return panels.lines_panel(
        [panels.line(state.variable, selection.positions(values, state.x), values.values)],
        title=f"{title} (no plane in this choice: it has one axis)",
        xlabel=state.x,
        ylabel=panels.axis_label(values),
        log=state.log,
        labels=axis(values, state.x)["labels"],
    )


def axis(values: xr.DataArray, dim: str) -> panels.Axis:
    """Return an axis of a picture."""
    places = selection.positions(values, dim)
    text = dim in values.coords and values[dim].dtype.kind not in "biuf"
    return panels.axis(dim, places, [name_of(value) for value in values[dim].values.tolist()] if text else None)


def readout(cell: Cell, state: State) -> str:
    """Return the value at the chosen point in words."""
    assert cell.row is not None
    assert cell.point is not None
    column = int(np.abs(selection.positions(cell.row, state.x) - cell.point[0]).argmin())
    value = float(cell.row.values[column])
    unit = "" if _unit(cell.row) == "1" else f" {_unit(cell.row)}"
    shown = f"{value:.4g}{unit}" if np.isfinite(value) else "missing (NaN)" if np.isnan(value) else "infinite"
    return f"{state.x} = {cell.point[0]:.4g}, {state.y} = {cell.point[1]:.4g}: {shown}"


def point_lines(cell: Cell, state: State) -> list[Panel]:
    """Return the panel of the two lines through the chosen point."""
    if cell.row is None or cell.column is None or cell.point is None:
        return []
    x, y = (selection.positions(line, dim) for line, dim in ((cell.row, state.x), (cell.column, state.y)))
    drawn = [
        panels.line(f"along {state.x}, {state.y} = {cell.point[1]:.3g}", x, cell.row.values),
        panels.line(f"along {state.y}, {state.x} = {cell.point[0]:.3g}", y, cell.column.values),
    ]
    label, title = panels.axis_label(cell.row), "lines through the point"
    return [panels.lines_panel(drawn, title=title, xlabel=f"{state.x}, {state.y}", ylabel=label, log=state.log)]


def pair_lines(view: View, state: State) -> list[Panel]:
    """Return the line along x through the chosen point, of both cells."""
    rows = {name: cell.row for name, cell in view.cells.items() if cell.row is not None}
    if not rows:
        return []
    drawn = [panels.line(name, selection.positions(row, state.x), row.values) for name, row in rows.items()]
    name, row = next(iter(rows.items()))
    point = view.cells[name].point
    assert point is not None
    title = f"along {state.x}, at {state.y} = {point[1]:.3g}"
    return [panels.lines_panel(drawn, title=title, xlabel=state.x, ylabel=panels.axis_label(row), log=state.log)]


def path(view: View) -> list[Panel]:
    """Return the panel of the loss along the path to the teacher."""
    values = view.path
    if values is None:
        return []
    drawn = panels.line("loss", selection.positions(values, "t"), values.values)
    label = f"loss [{_unit(values)}]"
    return [panels.lines_panel([drawn], title="path from student to teacher", xlabel="t", ylabel=label)]


def spectrum(view: View) -> list[Panel]:
    """Return the panels of the top eigenvalues and of the spectral density, of every cell in the view."""
    drawn, densities, label = [], [], ""
    for prefix, cell in view.cells.items():
        for name, values in cell.spectra.items():
            short = f"{prefix} {name.replace('_eigenvalues', '')}".strip()
            drawn.append(panels.line(short, np.arange(1, values.size + 1), values.values, stems=True))
            label = f"eigenvalue [{_unit(values)}]"
        if cell.density is not None:
            name = f"{prefix} density".strip()
            densities.append(panels.line(name, cell.density["grid"].values, cell.density.values))
    found = [panels.lines_panel(drawn, title="spectrum", xlabel="index", ylabel=label)] if drawn else []
    if densities:
        label = "density per eigenvalue"
        found.append(
            panels.lines_panel(densities, title="spectral density", xlabel="eigenvalue", ylabel=label, log=True)
        )
    return found


def curves(view: View, state: State) -> list[Panel]:
    """Return a panel for each curve along the story's dim, with the present cell marked."""
    made = []
    for title, found in (view.curves or {}).items():
        if not any(np.isfinite(values).any() for values in found.values()):
            continue
        first = next(iter(found.values()))
        units = {_unit(values) for values in found.values()}
        drawn = [
            panels.line(name.replace("_", " "), selection.positions(values, state.story), values.values)
            for name, values in found.items()
        ]
        made.append(
            panels.lines_panel(
                drawn,
                title=title,
                xlabel=state.story,
                ylabel=" or ".join(sorted(units)).replace("1", ""),
                at=view.here,
                pick="story",
                labels=axis(first, state.story)["labels"],
            )
        )
    return made


def _unit(values: xr.DataArray) -> str:
    return str(values.attrs.get("units", "1"))
