"""From what a view has read to the panels of the board, and to the sentence above them."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from kdlandscape.cubes.words import (
    dim_symbol,
    number_words,
    readable,
    short_label,
    short_words,
    unit_of,
    value_words,
    variable_words,
    with_unit,
)
from kdlandscape.widgets import glance, panels
from kdlandscape.widgets.bundles import barrier_marks, bundle, limits_of, repeat_of
from kdlandscape.widgets.cut_panels import cut_panels
from kdlandscape.widgets.dims import positions
from kdlandscape.widgets.panels import Panel
from kdlandscape.widgets.selection import Lines
from kdlandscape.widgets.state import State
from kdlandscape.widgets.variable_list import coordinate
from kdlandscape.widgets.view import Cell, View


def compose(view: View, state: State) -> tuple[list[Panel], str]:
    """Return the panels of a view and the sentence above them."""
    if view.problem:
        return [panels.message_panel("nothing to show", view.problem)], ""
    drawn = {title: bundle(group) for title, group in (view.curves or {}).items()}
    return board(view, state, drawn), sentence(view, state, drawn)


def board(view: View, state: State, drawn: Mapping[str, list[Panel]]) -> list[Panel]:
    """Return the panels of a view; ``drawn`` are the lines of its curves."""
    if state.view == "glance":
        return at_a_glance(view, state)
    shown = [panel for cell in view.cells.values() for panel in surfaces(cell, state, view)]
    if state.view == "compare":
        return [*shown, *difference(view, state), *_cut(view), *pair_lines(view, state), *spectrum(view)]
    if state.view == "story":
        return [*shown, *_cut(view), *paths(view), *spectrum(view), *curves(view, state, drawn)]
    return [*shown, *_cut(view), *point_lines(view, state), *spectrum(view), *curves(view, state, drawn)]


def at_a_glance(view: View, state: State) -> list[Panel]:
    """Return the graphs of a study's networks, and the plane of the chosen ones."""
    if view.networks is None or not view.networks.relations:
        return glance.nothing()
    cells = view.cells.values() if view.on_plane else ()
    planes = [panel for cell in cells for panel in surfaces(cell, view.on_plane or state, view)]
    opens = [{**one, "pick": "open", "readout": "click, or press Enter, to explore it"} for one in planes[:1]]
    return [*glance.graphs(view.networks, state), *(opens or [glance.no_plane(view.networks, state)])]


def surfaces(cell: Cell, state: State, view: View) -> list[Panel]:
    """Return the plane from above and, where it is smooth, from the side; or lines; or what is missing."""
    if cell.lines is not None and not cell.missing:
        return [single(cell.lines, state, view, cell.title)]
    if cell.missing or cell.values is None:
        return [panels.message_panel(cell.title, cell.missing)]
    seen = plane(cell, cell.values, state, view)
    return [seen, panels.from_side(seen)] if seen["smooth"] and state.view != "compare" else [seen]


def plane(cell: Cell, values: xr.DataArray, state: State, view: View) -> Panel:
    """Return the panel of a variable over two dims."""
    assert view.limits is not None  # something here is finite
    assert cell.point is not None
    axes = _axes(values, state, view)
    return panels.plane_panel(
        values,
        view.limits,
        title=cell.title,
        log=state.log and view.limits[0] > 0,
        colors=state.colors,
        axes=axes,
        marks=cell.marks,
        point=(_drawn(values, axes[0], cell.point[0]), _drawn(values, axes[1], cell.point[1])),
        line=cell.cut.ends if cell.cut else None,
        readout=readout(cell, state),
    )


def _axes(values: xr.DataArray, state: State, view: View) -> tuple[panels.Axis, panels.Axis]:
    return panels.axis(values, state.x, view.unit, blocks=True), panels.axis(values, state.y, view.unit, blocks=True)


def _drawn(values: xr.DataArray, axis: panels.Axis, at: float) -> float:
    """Return where a coordinate is drawn: at its block, where the axis has texts instead of numbers."""
    return float(axis["places"][int(np.abs(positions(values, axis["dim"]) - at).argmin())])


def single(held: Lines, state: State, view: View, title: str) -> Panel:
    """Return the panel of a variable that is drawn as lines."""
    lines = bundle([held])
    if not lines:  # a single other run has values, and they are not of this cell
        words = variable_words(held.values)
        return panels.message_panel(title, f"every value of {words} is missing (NaN) here; choose another cell")
    x = panels.axis(held.values, held.x)
    story = held.x == state.story
    return panels.lines_panel(
        lines,
        title=title,
        x=x,
        label=short_label(held.values),
        log=state.log,
        limits=held.limits if state.shared else None,
        at=_here(held, state) if held.x in view.chosen else None,
        pick="story" if story or held.x in view.chosen else "",
        repeat=held.repeat,
    )


def _here(held: Lines, state: State) -> float:
    return float(positions(held.values, held.x)[state.at[held.x]])


def readout(cell: Cell, state: State) -> str:
    """Return the value at the chosen point in words."""
    assert cell.row is not None
    assert cell.point is not None
    column = int(np.abs(positions(cell.row, state.x) - cell.point[0]).argmin())
    where = [_place(cell.row, state.x, cell.point[0]), _place(cell.row, state.y, cell.point[1])]
    return f"{', '.join(where)}: {number_words(float(cell.row.values[column]), unit_of(cell.row))}"


def _place(values: xr.DataArray, dim: str, at: float) -> str:
    """Return a place on an axis in words: the text of a place that is no number."""
    if dim not in values.coords or values[dim].dtype.kind in "iuf":
        return f"{dim_symbol(values, dim)} = {at:.4g}"
    text = coordinate(values, dim)[int(at)] if values[dim].ndim else values[dim].values
    return f"{dim_symbol(values, dim)} = {value_words(text)}"


def point_lines(view: View, state: State) -> list[Panel]:
    """Return the panels of the two lines through the chosen point: one panel where both axes are lengths on a plane."""
    cell = view.cells[""]
    if cell.row is None or cell.column is None or cell.point is None:
        return []
    x, y, point = cell.row, cell.column, cell.point
    along = _line(x, state.x, f"along {dim_symbol(x, state.x)}, {_place(x, state.y, point[1])}", 0)
    across = _line(y, state.y, f"along {dim_symbol(y, state.y)}, {_place(y, state.x, point[0])}", 1)
    label, title = short_label(x), "lines through the point"
    if {state.x, state.y} == {"x", "y"}:
        axis = panels.plain_axis(with_unit("place along x or y", view.unit))
        lines = panels.lines_panel([along, across], title=title, x=axis, label=label, log=state.log)
        return [{**lines, "through": "point"}]
    return [
        panels.lines_panel([one], title=f"{title} {one['name']}", x=panels.axis(part, dim), label=label, log=state.log)
        for one, part, dim in ((along, x, state.x), (across, y, state.y))
    ]


def _line(values: xr.DataArray, dim: str, name: str, style: int) -> Panel:
    joined = panels.axis(values, dim)["joined"]
    return panels.line(name, positions(values, dim), values.values, style, joined=joined)


def _cut(view: View) -> list[Panel]:
    return cut_panels({name: cell.cut for name, cell in view.cells.items() if cell.cut is not None})


def difference(view: View, state: State) -> list[Panel]:
    """Return the panel of B minus A, on a scale that is symmetric about 0."""
    a, b = (view.cells[name].values for name in "AB")
    if a is None or b is None:
        return []
    found = b - a.values
    found.attrs = {**b.attrs, "long_name": f"B − A: {variable_words(b)}"}
    finite = np.abs(found.values[np.isfinite(found.values)])
    if not finite.size:
        return []
    top = float(finite.max()) or 1.0
    axes, title = _axes(found, state, view), "difference, B − A"
    return [panels.plane_panel(found, (-top, top), title=title, log=False, colors=panels.DIFFERENCE, axes=axes)]


def pair_lines(view: View, state: State) -> list[Panel]:
    """Return the line along x through the chosen point, of both cells."""
    cells = {name: cell for name, cell in view.cells.items() if cell.row is not None and cell.point is not None}
    if not cells:
        return []
    drawn, title, row = [], "", None
    for i, (name, cell) in enumerate(cells.items()):
        row = cell.row
        assert row is not None
        assert cell.point is not None
        title = f"along {dim_symbol(row, state.x)}, at {_place(row, state.y, cell.point[1])}"
        drawn.append(_line(row, state.x, name, i))
    assert row is not None
    axis = panels.axis(row, state.x, view.unit)
    return [panels.lines_panel(drawn, title=title, x=axis, label=short_label(row), log=state.log)]


def paths(view: View) -> list[Panel]:
    """Return a panel for each variable along the path between two networks, with its ends, chord and barrier."""
    made = []
    for held in view.paths:
        lines = bundle([held])
        if not lines:
            continue  # this run is missing, and no two others are there
        axis = panels.axis(held.values, held.x)
        panel = panels.lines_panel(
            lines,
            title=variable_words(held.values),
            x={**axis, "name": "place on the path, t" if axis["name"] == "t" else axis["name"]},
            label=short_label(held.values),
            limits=held.limits,
            pick="repeat" if held.repeat else "",
            repeat=held.repeat,
        )
        made.append({**panel, **barrier_marks(held)})
    return made


def spectrum(view: View) -> list[Panel]:
    """Return the panels of the top eigenvalues and of the spectral density, of every cell in the view."""
    drawn: list[Panel] = []
    densities: list[Panel] = []
    label = ""
    for prefix, cell in view.cells.items():
        for name, values in cell.spectra.items():
            short = readable(name.removesuffix("_eigenvalues"))
            index = np.arange(1, values.size + 1)
            drawn.append(panels.line(f"{prefix} {short}".strip(), index, values.values, len(drawn), role="stems"))
            label = with_unit("eigenvalue", unit_of(values)) if name else ""
        if cell.density is not None:
            name, grid = f"{prefix} density".strip(), cell.density["grid"].values
            densities.append(panels.line(name, grid, cell.density.values, len(densities)))
    found = []
    if drawn:
        index_axis = panels.plain_axis("index, from the largest")
        found.append(panels.lines_panel(drawn, title="top eigenvalues", x=index_axis, label=label))
    if densities:
        place, words = panels.plain_axis("eigenvalue"), "density per eigenvalue"
        found.append(panels.lines_panel(densities, title="spectral density", x=place, label=words, log=True))
    return found


def curves(view: View, state: State, drawn: Mapping[str, list[Panel]]) -> list[Panel]:
    """Return a panel for each curve along the story's dim, with the present cell marked."""
    made = []
    for title, group in (view.curves or {}).items():
        if not drawn[title]:
            continue
        first = group[0].values
        units = dict.fromkeys(unit_of(held.values) for held in group)
        label = short_label(first) if len(group) == 1 else with_unit(title, " or ".join(filter(None, units)))
        made.append(
            panels.lines_panel(
                drawn[title],
                title=title,
                x=panels.axis(first, state.story),
                label=label,
                limits=limits_of(group),
                at=_here(group[0], state),
                pick="story",
                repeat=repeat_of(group),
            )
        )
    return made


def sentence(view: View, state: State, drawn: Mapping[str, list[Panel]]) -> str:
    """Return what is seen in one sentence: the cell, and the first number of each curve there with its spread."""
    said = []
    for title, group in (view.curves or {}).items():
        own = [line for line in drawn[title] if line["role"] == "run"]
        said += _said(group[0], own[0], drawn[title], state) if own else []
    return ": ".join(filter(None, (view.where, "; ".join(said))))


def _said(held: Lines, line: Panel, every: list[Panel], state: State) -> list[str]:
    place, unit = state.at[held.x], unit_of(held.values)
    value = line["y"][place]
    if value is None:
        return []
    words = short_words(held.values)
    named = line["name"] if line["name"].startswith(words) else f"{words} ({line['name']})"
    words = f"{named} {number_words(value, unit)}"
    mean = next((one for one in every if one["role"] == "mean" and one["style"] == line["style"]), None)
    if mean is None or mean["y"][place] is None:
        return [words]
    low, high = mean["low"][place], mean["high"][place]
    spread = f", {number_words(low)} to {number_words(high)}" if low is not None and high is not None else ""
    return [f"{words} (mean {number_words(mean['y'][place])}{spread})"]
