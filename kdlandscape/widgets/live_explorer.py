"""The explorer of a live surface: coarse at once, finer in the background, with progress, cancel and probes."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as ipw
import numpy as np

from kdlandscape.widgets import panels, selection
from kdlandscape.widgets.board import Board
from kdlandscape.widgets.controls import SHORT, WRAP
from kdlandscape.widgets.live_state import LiveState
from kdlandscape.widgets.state import COLOR_MAPS

#: The board is redrawn at most this often while the surface is refined.
REDRAW_SECONDS = 0.2


def explore_plane(
    objective: Any,
    planes: Any,
    *,
    origin: Any = None,
    eigenvalues: Callable[[Any], Any] | None = None,
    names: Sequence[str] = ("teacher", "student", "init"),
    x: tuple[float, float] = (-1.0, 1.0),
    y: tuple[float, float] = (-1.0, 1.0),
    num: int = 33,
) -> "LiveExplorer":
    """Explore a live surface: coarse at once, refined in the background, with probes at any point.

    Parameters
    ----------
    objective
        An `Objective`, or any object with ``theta`` (P,) and ``evaluate``, which maps points (K, P) to values by name,
        each (K,). With ``origin`` also a plain callable like ``evaluate``.
    planes
        Name -> plane, or a single plane: directions (2, P) as an array or as drawn, a `Plane`, or a callable that
        makes one of these when it is chosen.
    origin
        The point at x = y = 0 of directions; default: the objective's theta. A `Plane` brings its own.
    eigenvalues
        Called with theta (P,) on demand: top eigenvalues, or a Dataset with ``eigenvalues``.
    names
        Of the points that a `Plane` was laid through.
    x, y, num
        Ranges, and points along each axis.

    Returns
    -------
    LiveExplorer
        A widget; ``widget.live`` holds the choices and ``widget.live.surface()`` the values over ``y, x``.

    Raises
    ------
    ValueError
        If there is no plane, or no origin.
    """
    evaluate = getattr(objective, "evaluate", objective)
    origin = getattr(objective, "theta", None) if origin is None else origin
    named = planes if isinstance(planes, Mapping) else {"plane": planes}
    if not named:
        raise ValueError("planes: expected at least one plane by name, got none; give directions (2, P)")
    if origin is None and not all(hasattr(plane, "origin") for plane in named.values()):
        raise ValueError("origin: expected a point (P,), got none; give origin=, or an objective with theta")
    live = LiveState(
        evaluate,
        named,
        origin,
        eigenvalues=eigenvalues,
        names=names,
        x_range=x,
        y_range=y,
        num=num,
        unit=str(getattr(objective, "units", "1")),
    )
    return LiveExplorer(live, spectra=eigenvalues is not None)


class LiveExplorer(ipw.VBox):
    """Controls and board around a live surface."""

    def __init__(self, live: LiveState, *, spectra: bool = False) -> None:
        self.live, self.board, self._drawn = live, Board(), 0.0
        self.direction = ipw.Dropdown(options=list(live.planes), description="plane", style=SHORT)
        self.metric = ipw.Dropdown(options=[live.metric], description="value", style=SHORT)
        self.ranges = {name: _range(live, name) for name in ("x_range", "y_range")}
        sizes = sorted({9, 17, 33, 65, 129, live.num})
        self.num = ipw.Dropdown(options=sizes, value=live.num, description="points", style=SHORT)
        self.colors = ipw.Dropdown(options=COLOR_MAPS, description="colours", style=SHORT)
        self.log_scale = ipw.Checkbox(value=True, description="log", indent=False, layout={"width": "60px"})
        self.compute = ipw.Button(description="Compute", button_style="primary")
        self.cancel = ipw.Button(description="Cancel", disabled=True)
        self.spectrum = ipw.Button(description="Top eigenvalues", disabled=True, tooltip="At the clicked point")
        self.spectrum.layout.display = "" if spectra else "none"
        self.progress = ipw.IntProgress(max=1, layout={"width": "160px"})
        self.said = ipw.HTML()
        wide = {self.direction: "210px", self.metric: "150px", self.num: "115px", self.colors: "155px"}
        for box, width in {**wide, self.cancel: "90px", self.compute: "90px", self.spectrum: "140px"}.items():
            box.layout.width = width
        first = [self.direction, *[box for pair in self.ranges.values() for box in pair], self.num, self.compute]
        second = [self.cancel, self.progress, self.metric, self.colors, self.log_scale, self.spectrum, self.said]
        super().__init__([ipw.HBox(first, layout=WRAP), ipw.HBox(second, layout=WRAP), self.board])
        self.add_class("kdl-controls")
        self._connect()
        live.start()

    def _connect(self) -> None:
        live = self.live
        self.compute.on_click(lambda _: self._start())
        self.cancel.on_click(lambda _: live.cancel())
        self.spectrum.on_click(lambda _: self._ask())
        self.metric.observe(lambda change: setattr(live, "metric", change["new"] or live.metric), "value")
        for box in (self.colors, self.log_scale):
            box.observe(lambda _: self.draw(), "value")
        self.board.observe(lambda change: live.probe(change["new"]["x"], change["new"]["y"]), "picked")
        live.observe(self._advanced, ["done", "total"])
        live.observe(self._changed, ["status", "metric", "point", "found", "eigenvalues"])

    def _start(self) -> None:
        live = self.live
        live.direction, live.num = self.direction.value, self.num.value
        live.x_range, live.y_range = (tuple(box.value for box in self.ranges[name]) for name in ("x_range", "y_range"))
        live.start()

    def _ask(self) -> None:
        self.spectrum.disabled, self.said.value = True, "computing eigenvalues …"
        self.live.probe_eigenvalues()

    def _advanced(self, _: Any) -> None:
        self.progress.max, self.progress.value = max(1, self.live.total), self.live.done
        if time.monotonic() - self._drawn > REDRAW_SECONDS and self.live.status == "computing":
            self.draw()

    def _changed(self, change: Any) -> None:
        live = self.live
        self.cancel.disabled = live.status != "computing"
        self.spectrum.disabled = not live.point or bool(live.eigenvalues)
        if change["name"] in ("status", "eigenvalues"):
            self.said.value = live.status
        if live.metrics() and set(live.metrics()) != set(self.metric.options):
            self.metric.options = live.metrics()
        self.draw()

    def draw(self) -> None:
        """Draw what is known so far."""
        self._drawn = time.monotonic()
        self.board.show(self.scene(), busy=self.live.status)

    def scene(self) -> list[panels.Panel]:
        """Return the panels: the surface from above and from the side, the line through the point, the eigenvalues."""
        live = self.live
        if live.status.startswith("failed"):
            return [panels.message_panel(live.direction, live.status)]
        values = live.drawn()
        limits = selection.finite_limits(values.values, self.log_scale.value)
        if limits is None:
            waiting = "computing the first points …" if not live.done else "every value so far is NaN or infinite"
            return [panels.message_panel(live.direction, waiting)]
        marks = live.layout.marks if live.layout else []
        axes = (panels.axis("x", live.axes[0]), panels.axis("y", live.axes[1]))
        log = self.log_scale.value and limits[0] > 0
        point = live.point or None
        seen = panels.plane_panel(
            values,
            limits,
            title=live.direction,
            log=log,
            colors=self.colors.value,
            axes=axes,
            marks=marks,
            point=point,
            readout=self.readout(),
        )
        return [seen, panels.from_side(seen), *self._lines(log), *self._spectra()]

    def readout(self) -> str:
        """Return the loss and the metrics at the point in words."""
        live = self.live
        if not live.point:
            return "click a point to get its loss and metrics"
        found = ", ".join(f"{name} = {value:.5g}" for name, value in live.found.items()) or "…"
        return f"x = {live.point[0]:.4g}, y = {live.point[1]:.4g}: {found}"

    def _lines(self, log: bool) -> list[panels.Panel]:
        """Return the panel of the two grid lines next to the point, through the values that are there."""
        live = self.live
        if not live.point:
            return []
        x, y = live.axes
        values, known = live.surface(), live.known
        row, column = _nearest(y, known.any(1), live.point[1]), _nearest(x, known.any(0), live.point[0])
        along, across = known[row], known[:, column]
        drawn = [
            panels.line(f"along x, y = {y[row]:.3g}", x[along], values.values[row, along]),
            panels.line(f"along y, x = {x[column]:.3g}", y[across], values.values[across, column]),
        ]
        label = panels.axis_label(values)
        return [panels.lines_panel(drawn, title="lines through the point", xlabel="x, y", ylabel=label, log=log)]

    def _spectra(self) -> list[panels.Panel]:
        found = self.live.eigenvalues
        if not found:
            return []
        index = np.arange(1, len(found) + 1)
        drawn = [panels.line("at the point", index, np.array(found), stems=True)]
        return [panels.lines_panel(drawn, title="top eigenvalues", xlabel="index", ylabel="eigenvalue")]


def _nearest(places: np.ndarray, known: np.ndarray | np.bool, at: float) -> int:
    return int(np.where(known, np.abs(places - at), np.inf).argmin())


def _range(live: LiveState, name: str) -> list[ipw.FloatText]:
    layout = {"width": "112px"}
    return [
        ipw.FloatText(value=value, step=0.25, description=f"{name[0]} {word}", style=SHORT, layout=layout)
        for value, word in zip(getattr(live, name), ("from", "to"), strict=True)
    ]
