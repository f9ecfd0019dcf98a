"""Paper preview: the picture that export writes, from the same call and therefore of the same bytes."""

import inspect
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ipywidgets as ipw
import matplotlib.pyplot as plt
import xarray as xr

from kdlandscape import figures
from kdlandscape.widgets import selection
from kdlandscape.widgets.board import CodeBox, labelled
from kdlandscape.widgets.state import State, coordinate
from kdlandscape.widgets.view_code import figure_code

#: Figures of the present view: of the chosen variable at the chosen cell.
OF_VIEW = ("plane", "surface", "heatmap")


def kinds() -> list[str]:
    """Return the figures there are: those that take a whole cube, and those of the present view."""
    found = {name: list(inspect.signature(getattr(figures, name)).parameters.values()) for name in figures.__all__}
    whole = [
        name
        for name, own in found.items()
        if [one.name for one in own if one.default is one.empty] == ["cube"]
        and {"ax", "axes"} & {one.name for one in own}
    ]
    return whole + [name for name in OF_VIEW if name in found]


def call_of(cube: xr.Dataset, state: State, kind: str, run: dict[str, Any]) -> tuple[Callable[[], Any], str]:
    """Return what draws a figure, and the same as a line of code.

    Parameters
    ----------
    cube, state
        What is explored, and the present view.
    kind
        See `kinds`.
    run
        Coordinates of the run that a figure of a whole cube shows; empty for all.
    """
    draw = getattr(figures, kind)
    if kind not in OF_VIEW:
        chosen = cube.sel(run) if run else cube
        return lambda: draw(chosen), f"kdl.figures.{kind}({f'cube.sel({run!r})' if run else 'cube'})"
    name, axes = state.variable, (state.x, state.y)
    settings: dict[str, Any] = {}
    values, code = _at(cube, name, state, axes)
    if kind == "heatmap":
        settings = {"x": state.x, "y": state.y}
        code += f", x={state.x!r}, y={state.y!r}"
    elif kind == "plane" and selection.marks(cube, state):
        settings["points"], points = _at(cube, "plane_points", state, ("point", "axis"))
        code += f", points={points}"
    return lambda: draw(values, **settings), f"kdl.figures.{kind}({code})"


def _at(cube: xr.Dataset, name: str, state: State, keep: tuple[str, ...]) -> tuple[xr.DataArray, str]:
    dims = [str(dim) for dim in cube[name].dims if dim not in keep]
    cell = {dim: coordinate(cube, dim)[state.at[dim]] for dim in dims}
    return cube[name].sel(cell), f"cube[{name!r}].sel({cell!r})" if cell else f"cube[{name!r}]"


def write_figure(draw: Callable[[], Any], venue: str, path: Path | str) -> list[Path]:
    """Draw a figure in a venue's style and export it; return the files."""
    before = set(plt.get_fignums())
    try:
        with figures.venue_style(venue):
            draw()
        return figures.export(plt.gcf(), path, venue)
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def picture(draw: Callable[[], Any], venue: str) -> bytes:
    """Return the PNG that exporting this figure writes."""
    with TemporaryDirectory() as folder:
        (png,) = [path for path in write_figure(draw, venue, Path(folder) / "figure") if path.suffix == ".png"]
        return png.read_bytes()


class FigurePreview(ipw.VBox):
    """Chooses a figure, a venue and a place to write it to."""

    def __init__(self, cube: xr.Dataset, state: State, folder: Path | str = "figures") -> None:
        self.cube, self.state = cube, state
        known, style = kinds(), {"description_width": "initial"}
        first = "planes" if "plane_loss" in cube and "planes" in known else known[0]
        self.kind = ipw.Dropdown(options=known, value=first, description="figure", style=style)
        self.venue = ipw.Dropdown(options=figures.venues(), value="neurips2024", description="venue", style=style)
        self.whole = ipw.Checkbox(description="all runs", indent=False, layout={"width": "auto"}, value=True)
        self.path = ipw.Text(value=f"{folder}/{first}", description="file", style=style)
        self.preview = ipw.Button(description="Preview", tooltip="Draw the figure as it will be written")
        self.export = ipw.Button(description="Export", tooltip="Write PDF and PNG", button_style="primary")
        self.said = ipw.HTML()
        self.image = labelled(ipw.Image(format="png", layout={"display": "none"}), "kdl-picture")
        self.code = CodeBox()
        self.kind.observe(self._renamed, "value")
        for widget in (self.kind, self.venue, self.whole, self.path):
            widget.observe(self._lines, "value")
        state.observe(self._lines, ["at", "variable", "x", "y"])
        self.preview.on_click(lambda _: self.draw())
        self.export.on_click(lambda _: self.write())
        wrap = ipw.Layout(flex_flow="row wrap", width="100%")
        row = ipw.HBox([self.kind, self.venue, self.whole, self.path, self.preview, self.export], layout=wrap)
        super().__init__([row, self.said, self.image, self.code])
        self.add_class("kdl-preview")
        self._lines()

    @property
    def run(self) -> dict[str, Any]:
        """The coordinates of the run that the figure shows; empty for all runs."""
        if self.whole.value or "done" not in self.cube:
            return {}
        dims = map(str, self.cube["done"].dims)
        return {dim: coordinate(self.cube, dim)[self.state.at[dim]] for dim in dims}

    def draw(self) -> None:
        """Show the picture that `write` writes, or say what is missing for it."""
        value = self._try(lambda: picture(self._call()[0], self.venue.value))
        if value is not None:
            self.image.value, self.image.layout.display = value, ""
            self.said.value = ""

    def write(self) -> list[Path]:
        """Write the figure and say where it is."""
        files = self._try(lambda: write_figure(self._call()[0], self.venue.value, self.path.value))
        if files:
            self.said.value = "wrote " + " and ".join(f"<code>{path}</code>" for path in files)
        return files or []

    def _call(self) -> tuple[Callable[[], Any], str]:
        return call_of(self.cube, self.state, self.kind.value, self.run)

    def _try(self, action: Any) -> Any:
        try:
            return action()
        except Exception as error:  # whatever a figure misses in this cube: it is said, and the explorer goes on
            need = f"{type(error).__name__}: {error}"
            self.image.layout.display = "none"
            self.said.value = f"<b>{self.kind.value}</b> cannot be drawn from this cube: {need}; choose another figure"
            return None

    def _renamed(self, change: dict[str, Any]) -> None:
        self.path.value = str(Path(self.path.value).with_name(change["new"]))

    def _lines(self, _: Any = None) -> None:
        try:
            call = self._call()[1]
        except (KeyError, ValueError) as error:
            call = f"...  # {self.kind.value} cannot be drawn from this cube: {error}"
        self.code.code = figure_code(self.cube, call, self.venue.value, self.path.value)
