"""The explorer of a live surface: coarse at once, finer in the background, with progress, cancel, probes and export."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import Any

import ipywidgets as ipw
import xarray as xr

from kdlandscape.cubes.files import write
from kdlandscape.cubes.words import visible
from kdlandscape.widgets import live_scene, panels
from kdlandscape.widgets.board import Board, CodeBox, Said
from kdlandscape.widgets.controls import SHORT, WRAP
from kdlandscape.widgets.cuts import chosen_line
from kdlandscape.widgets.fallback import display_with_picture, with_picture
from kdlandscape.widgets.figure_preview import FigurePreview, Shown
from kdlandscape.widgets.live_state import LiveState
from kdlandscape.widgets.lone_board import LoneBoard
from kdlandscape.widgets.state import COLOR_MAPS
from kdlandscape.widgets.view_code import source

#: The board is redrawn at most this often while the surface is refined.
REDRAW_SECONDS = 0.2


def explore_plane(
    objective: Any,
    planes: Any,
    *,
    origin: Any = None,
    eigenvalues: Callable[[Any], Any] | None = None,
    names: Sequence[str] = ("teacher", "student", "init"),
    x: tuple[float, float] | None = None,
    y: tuple[float, float] | None = None,
    num: int = 33,
) -> "LiveExplorer":
    """Explore a live surface: coarse at once, refined in the background, with probes at any point.

    Parameters
    ----------
    objective
        An `Objective`, or any object with ``theta`` (P,) and ``evaluate``, which maps points (K, P) to values by name,
        each (K,); with ``hvp`` the curvature along a line is exact. With ``origin`` also a plain callable like
        ``evaluate``.
    planes
        Name -> plane, or a single plane: directions (2, P) as an array or as drawn, a plane as `plane_through` lays it,
        or a callable that makes one of these when it is chosen.
    origin
        The point at x = y = 0 of directions; default: the objective's theta. A plane of `plane_through` brings its own.
    eigenvalues
        Called with theta (P,) on demand: top eigenvalues, or a Dataset with ``eigenvalues``.
    names
        The names of the points that a plane was laid through.
    x, y
        Ranges; default: they contain the networks on the plane, and reach from -1 to 1 where there are none.
    num
        Points along each axis.

    Returns
    -------
    LiveExplorer
        A widget; ``widget.live`` holds the choices, ``widget.live.dataset()`` all values over ``y, x``, and
        ``widget.kept`` the Datasets that were kept.

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
        hvp=getattr(objective, "hvp", None),
        names=names,
        x_range=x or (),
        y_range=y or (),
        num=num,
        unit=str(getattr(objective, "units", "1")),
    )
    return LiveExplorer(live, spectra=eigenvalues is not None)


class LiveExplorer(ipw.VBox):
    """Controls and board around a live surface."""

    def __init__(self, live: LiveState, *, spectra: bool = False) -> None:
        self.live, self.board, self._drawn, self._turn = live, Board(), 0.0, RLock()
        self.kept: list[xr.Dataset] = []
        self.direction = ipw.Dropdown(
            options=[(visible(name), name) for name in live.planes], description="plane", style=SHORT
        )
        self.metric = ipw.Dropdown(options=[live.metric], description="value", style=SHORT)
        self.ranges = {name: _range(name) for name in ("x_range", "y_range")}
        sizes = sorted({9, 17, 33, 65, 129, live.num})
        self.num = ipw.Dropdown(options=sizes, value=live.num, description="points", style=SHORT)
        self.colors = ipw.Dropdown(options=COLOR_MAPS, description="colours", style=SHORT)
        self.scale = ipw.Dropdown(options=["automatic", "log", "linear"], description="scale", style=SHORT)
        self.compute = ipw.Button(description="Compute", button_style="primary")
        self.cancel = ipw.Button(description="Cancel", disabled=True)
        self.spectrum = ipw.Button(description="Top eigenvalues", disabled=True, tooltip="At the clicked point")
        self.spectrum.layout.display = "" if spectra else "none"
        self.progress = ipw.IntProgress(max=1, layout={"width": "160px"})
        self.said = Said()
        self.path = ipw.Text(value="surface.nc", description="file", style=SHORT, layout={"width": "220px"})
        self.keep = ipw.Button(
            description="Keep and save", tooltip="Adds the Dataset to .kept and writes it to the file"
        )
        self.kept_said = Said()
        self.preview, self.lines = FigurePreview(self, xr.Dataset()), CodeBox()
        self.tools = ipw.Accordion([self.preview, self.lines], selected_index=None)
        self.tools.titles = ("Figure preview", "Code of the kept surface")
        super().__init__([*self._rows(), self.board, self.tools])
        self.add_class("kdl-controls")
        self._connect()
        live.start()

    def _rows(self) -> list[ipw.HBox]:
        wide = {self.direction: "230px", self.metric: "160px", self.num: "115px", self.colors: "155px"}
        wide |= {self.cancel: "90px", self.compute: "90px", self.spectrum: "140px", self.scale: "165px"}
        for box, width in wide.items():
            box.layout.width = width
        first = [self.direction, *[box for pair in self.ranges.values() for box in pair], self.num, self.compute]
        second = [self.cancel, self.progress, self.metric, self.colors, self.scale, self.spectrum, self.said]
        third = [self.path, self.keep, self.kept_said]
        return [ipw.HBox(row, layout=WRAP) for row in (first, second, third)]

    def _connect(self) -> None:
        live = self.live
        self.compute.on_click(lambda _: self._start())
        self.cancel.on_click(lambda _: live.cancel())
        self.spectrum.on_click(lambda _: self._ask())
        self.keep.on_click(lambda _: self.keep_surface())
        self.preview.export.on_click(lambda _: self.keep_surface())  # the code beside a figure opens the kept surface
        self.path.observe(lambda _: self.draw(), "value")
        self.direction.observe(lambda _: self._show_ranges((), ()), "value")
        self.metric.observe(lambda change: setattr(live, "metric", change["new"] or live.metric), "value")
        for box in (self.colors, self.scale):
            box.observe(lambda _: self.draw(), "value")
        self.board.observe(self._picked, "picked")
        live.observe(self._advanced, ["done", "total"])
        live.observe(self._changed, ["status", "metric", "point", "found", "eigenvalues", "cut"])
        live.observe(lambda _: self._show_ranges(live.x_range, live.y_range), ["x_range", "y_range"])
        self._show_ranges(live.x_range, live.y_range)

    def _show_ranges(self, x: Sequence[float], y: Sequence[float]) -> None:
        """Fill in the ranges; an empty one is shown as empty and stands for one that holds the networks."""
        for name, ends in {"x_range": x, "y_range": y}.items():
            for box, value in zip(self.ranges[name], ends or ("", ""), strict=True):
                box.value = f"{value:.4g}" if ends else ""

    def _start(self) -> None:
        live = self.live
        try:
            ends = {name: _ends(name[0], [box.value for box in pair]) for name, pair in self.ranges.items()}
        except ValueError as error:
            live.status = f"failed: {error}"
            return
        live.direction, live.num = self.direction.value, self.num.value
        live.x_range, live.y_range = ends["x_range"], ends["y_range"]
        live.start()

    def _picked(self, change: Any) -> None:
        """Ask about what was chosen on the board: a point, or the line between two."""
        picked = change["new"]
        if picked["kind"] == "line":
            self.live.lay(chosen_line(picked))
        else:
            self.live.probe(picked["x"], picked["y"])

    def _ask(self) -> None:
        self.spectrum.disabled = True
        self.said.say("computing eigenvalues …")
        self.live.probe_eigenvalues()

    def keep_surface(self) -> xr.Dataset:
        """Keep what is computed as a Dataset in ``kept``, write it to the file, and say how to explore it."""
        found = self.live.dataset()
        self.kept.append(found)
        path = Path(self.path.value)
        try:
            write(path, lambda temporary: found.to_netcdf(temporary, engine="netcdf4"))
            self.kept_said.say(f"kept[{len(self.kept) - 1}], and {path}: kdl.explore(kdl.open_cube({str(path)!r}))")
        except (OSError, RuntimeError) as error:
            self.kept_said.say(f"kept[{len(self.kept) - 1}]; not written: {error}; choose another file", bad=True)
        return found

    def _advanced(self, _: Any) -> None:
        self.progress.max, self.progress.value = max(1, self.live.total), self.live.done
        if self.live.status == "computing":
            self.said.say(self.live.progress())
        if time.monotonic() - self._drawn > REDRAW_SECONDS and self.live.status == "computing":
            self.draw()

    def _changed(self, change: Any) -> None:
        live = self.live
        self.cancel.disabled = live.status != "computing"
        self.spectrum.disabled = not live.point or bool(live.eigenvalues)
        if change["name"] in ("status", "eigenvalues"):
            self.said.say(live.progress(), bad=live.status.startswith("failed"))
        if live.metrics() and set(live.metrics()) != set(self.metric.options):
            self.metric.options = live.metrics()
        self.draw()

    def draw(self) -> None:
        """Draw what is known so far."""
        self._drawn = time.monotonic()
        with self._turn:  # the surface is refined in a second thread: an older picture must not come after a newer one
            self.board.show(self.scene(), busy=self.live.status)
        self.preview.cube.encoding["source"] = self.path.value
        self.lines.code = self.code
        self.preview.offer()

    def shown(self) -> Shown:
        """Return what is on the board."""
        return Shown(self.board.scene["panels"], "", self.board.angle)

    @property
    def code(self) -> str:
        """The lines that explore the kept surface."""
        return f"import kdlandscape as kdl\n\n{source(self.preview.cube)}\n{self.explore_code()}"

    def parts(self) -> dict[str, tuple[ipw.Widget, str]]:
        """Return the controls by name, with what is special about each: see `LoneBoard`."""
        ends = {box.description: box for pair in self.ranges.values() for box in pair}
        shown = {"plane": self.direction, **ends, "points": self.num, "compute": self.compute, "cancel": self.cancel}
        shown |= {"progress": self.progress, "value": self.metric, "colours": self.colors, "scale": self.scale}
        shown |= {"eigenvalues": self.spectrum, "said": self.said}
        tools = {"file": self.path, "keep": self.keep, "kept": self.kept_said, **self.preview.parts()}
        return {name: (one, "") for name, one in shown.items()} | {name: (one, "tool") for name, one in tools.items()}

    def alone(self) -> LoneBoard:
        """Return the board with its controls as one anywidget, for front ends that know no ipywidgets."""
        return LoneBoard(self)

    def explore_code(self) -> str:
        """Return the expression that explores the kept surface as it is shown here."""
        live, seen = self.live, self.board.scene["panels"][0]
        chosen: dict[str, Any] = {"variable": live.metric, "log": bool(seen.get("log")), "colors": self.colors.value}
        chosen |= {name: value for name, value in (("point", live.point), ("line", live.line)) if value}
        return f"kdl.explore(cube, {', '.join(f'{name}={value!r}' for name, value in chosen.items())})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Return the widget, with a picture of it for front ends that show no widgets."""
        return with_picture(super()._repr_mimebundle_(include=include, exclude=exclude), self.shown())

    def _ipython_display_(self) -> None:
        """Show the widget, and before it a picture that stays where there is no kernel to draw the board."""
        display_with_picture(super()._repr_mimebundle_(), self.shown())

    def scene(self) -> list[panels.Panel]:
        """Return the panels of what is known so far."""
        return live_scene.compose(self.live, self.colors.value, self.scale.value)


def _range(name: str) -> list[ipw.Text]:
    return [
        ipw.Text(description=f"{name[0]} {word}", placeholder="auto", style=SHORT, layout={"width": "120px"})
        for word in ("from", "to")
    ]


def _ends(name: str, texts: Sequence[str]) -> tuple[float, ...]:
    """Return the two ends of a range; none if both are empty, which stands for the automatic range."""
    if not any(text.strip() for text in texts):
        return ()
    try:
        return tuple(float(text) for text in texts)
    except ValueError:
        expected = f"expected two numbers for the range of {name}, or nothing for an automatic one"
        raise ValueError(f"{expected}; got {texts[0]!r} to {texts[1]!r}") from None
