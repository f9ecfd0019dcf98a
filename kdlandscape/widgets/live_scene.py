"""From the state of a live surface to the panels of its board."""

import numpy as np
import xarray as xr

from kdlandscape.cubes.words import number_words, short_label, unit_of, visible
from kdlandscape.widgets import panels, selection
from kdlandscape.widgets.cut_panels import cut_panels
from kdlandscape.widgets.live_state import LiveState
from kdlandscape.widgets.panels import Panel

#: A positive value whose largest is so many times its least is drawn on a logarithmic scale.
LOG_RATIO = 50


def compose(live: LiveState, colors: str, scale: str) -> list[Panel]:
    """Return the panels: the surface from above and from the side, the line through the point, the eigenvalues.

    What goes wrong is said beside the controls; it replaces the picture only while there is none.
    """
    values = live.drawn() if live.known.any() else None
    log = is_log(values, scale) if values is not None else False
    limits = selection.finite_limits(values.values, log) if values is not None else None
    if values is None or limits is None:
        waiting = "every value so far is NaN or infinite" if values is not None else "computing the first points …"
        failed = live.status.startswith("failed")
        return [panels.message_panel(visible(live.direction), visible(live.status if failed else waiting))]
    log = log and limits[0] > 0
    seen = panels.plane_panel(
        values,
        limits,
        title=visible(f"{live.metric}: {live.direction}"),
        log=log,
        colors=colors,
        axes=(panels.axis(values, "x"), panels.axis(values, "y")),
        marks=live.layout.marks if live.layout else [],
        point=live.point or None,
        line=live.cut.ends if live.cut else None,
        readout=readout(live),
    )
    if not live.known.all():
        seen["levels"] = []  # contours between points that are not computed would show nothing but their order
    return [seen, panels.from_side(seen), *_cut(live), *_lines(live, log), *_spectra(live)]


def is_log(values: xr.DataArray, scale: str) -> bool:
    """Return whether values are drawn on a logarithmic scale; an automatic one is, where they span a wide range."""
    finite = values.values[np.isfinite(values.values)]
    if scale != "automatic" or not finite.size:
        return bool(scale == "log")
    positive = finite[finite > 0]
    return bool((finite >= 0).all() and positive.size and positive.max() > LOG_RATIO * positive.min())


def readout(live: LiveState) -> str:
    """Return the loss and the metrics at the point in words."""
    if not live.point:
        return "click a point for its loss and metrics; drag for the line between two points"
    units = {"loss": "" if live.unit == "1" else live.unit}
    found = [f"{visible(name)} = {number_words(value, units.get(name, ''))}" for name, value in live.found.items()]
    return f"x = {live.point[0]:.4g}, y = {live.point[1]:.4g}: {', '.join(found) or '…'}"


def _cut(live: LiveState) -> list[Panel]:
    return cut_panels({"": live.cut}) if live.cut else []


def _lines(live: LiveState, log: bool) -> list[Panel]:
    """Return the panel of the two grid lines next to the point, through the values that are there."""
    if not live.point:
        return []
    x, y = live.axes
    values, known = live.surface(), live.known
    row, column = _nearest(y, known.any(1), live.point[1]), _nearest(x, known.any(0), live.point[0])
    along, across = known[row], known[:, column]
    drawn = [
        panels.line(f"along x, y = {y[row]:.3g}", x[along], values.values[row, along], 0),
        panels.line(f"along y, x = {x[column]:.3g}", y[across], values.values[across, column], 1),
    ]
    place, label = panels.plain_axis("place along x or y"), short_label(values)
    return [panels.lines_panel(drawn, title="lines through the point", x=place, label=label, log=log)]


def _spectra(live: LiveState) -> list[Panel]:
    found = live.eigenvalues
    if not found:
        return []
    drawn = [panels.line("at the point", np.arange(1, len(found) + 1), np.array(found), role="stems")]
    unit = unit_of(live.dataset(["loss"])["loss"])
    label, place = f"eigenvalue{f' [{unit}]' if unit else ''}", panels.plain_axis("index, from the largest")
    return [panels.lines_panel(drawn, title="top eigenvalues", x=place, label=label)]


def _nearest(places: np.ndarray, known: np.ndarray | np.bool, at: float) -> int:
    return int(np.where(known, np.abs(places - at), np.inf).argmin())
