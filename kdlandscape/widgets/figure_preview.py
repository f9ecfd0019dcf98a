"""Preview of a figure: the picture that export writes, drawn from the panels on the board or from the whole cube."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol

import ipywidgets as ipw
import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.figure import Figure

from kdlandscape import figures, registry
from kdlandscape.widgets import picture
from kdlandscape.widgets.board import CodeBox, Said, labelled
from kdlandscape.widgets.panels import Panel, data_of
from kdlandscape.widgets.view_code import figure_code

BOARD = "board"
WRAP = ipw.Layout(flex_flow="row wrap", width="100%")


class Shown(NamedTuple):
    """What a board shows: its panels, the sentence above them, and the angle of surfaces."""

    panels: list[Panel]
    sentence: str
    angle: Sequence[float]


class Explorer(Protocol):
    """What a preview needs of the explorer that it belongs to."""

    def shown(self) -> Shown:
        """Return what is on the board."""

    def explore_code(self) -> str:
        """Return the expression that opens the explorer on this view, with ``cube`` for its data."""


def panel_figure(shown: Shown, panel: int | None = None) -> Figure:
    """Draw the whole board, or one of its panels, in the style that matplotlib is set to.

    Raises
    ------
    ValueError
        If there is no such panel.
    """
    if panel is None:
        return picture.figure(shown.panels, shown.sentence, shown.angle)
    if not 0 <= panel < len(shown.panels):
        raise ValueError(f"panel: expected one of 0 to {len(shown.panels) - 1}, got {panel}")
    return picture.figure([shown.panels[panel]], "", shown.angle)


def cube_figures(cube: xr.Dataset) -> list[str]:
    """Return the registered figures that can be drawn from a cube: each is tried once, without writing it."""
    return [name for name in registry.registered("figures") if not _missing(cube, name)]


def cube_figure(cube: xr.Dataset, name: str) -> Figure:
    """Draw a registered figure of the whole cube."""
    drawn = registry.load("figures", name)(cube)
    found: Figure = getattr(drawn, "flat", [drawn])[0].figure
    return found


def _missing(cube: xr.Dataset, name: str) -> str:
    """Say what a figure misses in a cube; empty if it can be drawn."""
    before = set(plt.get_fignums())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cube_figure(cube, name)
    except Exception as error:  # whatever a figure of any package misses
        return f"{type(error).__name__}: {error}"
    finally:
        _close(before)
    return ""


def _close(before: set[int]) -> None:
    for number in set(plt.get_fignums()) - before:
        plt.close(number)


def write_figure(draw: Callable[[], Figure], venue: str, path: Path | str, **beside: Any) -> list[Path]:
    """Draw a figure in a venue's style and export it, with what belongs ``beside`` it; return the files."""
    before = set(plt.get_fignums())
    try:
        with figures.venue_style(venue), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph|constrained_layout not applied", UserWarning)  # names of any kind
            return figures.export(draw(), path, venue, **beside)
    finally:
        _close(before)


class FigurePreview(ipw.VBox):
    """Chooses a figure, a venue and a place to write it to."""

    def __init__(self, explorer: Explorer, cube: xr.Dataset, folder: Path | str = "figures") -> None:
        self.explorer, self.cube = explorer, cube
        self._of_cube: list[str] | None = None
        style = {"description_width": "initial"}
        self.kind = ipw.Dropdown(options=[("the whole board", BOARD)], description="figure", style=style)
        self.venue = ipw.Dropdown(options=figures.venues(), value="neurips2024", description="venue", style=style)
        self.path = ipw.Text(value=f"{folder}/{BOARD}", description="file", style=style)
        self.preview = ipw.Button(description="Preview", tooltip="Draw the figure as it will be written")
        self.export = ipw.Button(description="Export", tooltip="Write PDF, SVG, PNG, caption and code")
        self.export.button_style = "primary"
        self.said = Said()
        self.image = labelled(ipw.Image(format="png", layout={"display": "none"}), "kdl-picture")
        self.code = CodeBox()
        self.kind.observe(self._renamed, "value")
        for widget in (self.kind, self.venue, self.path):
            widget.observe(self._lines, "value")
        self.preview.on_click(lambda _: self.draw())
        self.export.on_click(lambda _: self.write())
        row = ipw.HBox([self.kind, self.venue, self.path, self.preview, self.export], layout=WRAP)
        super().__init__([row, self.said, self.image, self.code])
        self.add_class("kdl-preview")

    def offer(self, *, whole: bool = False) -> None:
        """Offer what can be drawn: the board, each panel on it, and with ``whole`` also figures of the whole cube."""
        if whole and self._of_cube is None:
            self._of_cube = cube_figures(self.cube)
        panels = [panel for panel in enumerate(self.explorer.shown().panels) if panel[1]["kind"] != "message"]
        options = [("the whole board", BOARD), *((f"panel: {panel['title']}", f"panel-{i}") for i, panel in panels)]
        options += [(f"whole cube: {name}", name) for name in self._of_cube or ()]
        if list(self.kind.options) != options:
            chosen = self.kind.value
            self.kind.options = options
            self.kind.value = chosen if chosen in [value for _, value in options] else BOARD
        self._lines()

    def parts(self) -> dict[str, ipw.Widget]:
        """Return what a lone board shows of it, by name."""
        chosen = {"figure": self.kind, "venue": self.venue, "export to": self.path}
        return {**chosen, "export": self.export, "exported": self.said}

    def draw(self) -> None:
        """Show the picture that `write` writes, or say what is missing for it."""
        with TemporaryDirectory() as folder:
            files = self._try(lambda: write_figure(self.figure, self.venue.value, Path(folder) / "figure"))
            for png in (file for file in files if file.suffix == ".png"):
                self.image.value, self.image.layout.display = png.read_bytes(), ""
                self.said.say("")

    def write(self) -> list[Path]:
        """Write the figure with its caption, its data and its code, and say where it is."""
        shown = self.explorer.shown()
        beside: dict[str, Any] = {"caption": shown.sentence or self.kind.value}
        if self.kind.value.startswith("panel-"):
            beside["data"] = data_of(shown.panels[int(self.kind.value.removeprefix("panel-"))])
        files = self._try(lambda: write_figure(self.figure, self.venue.value, self.path.value, **beside))
        if files:
            code = Path(f"{self.path.value}.py")
            code.write_text(self.code.code + "\n", encoding="utf-8")
            files.append(code)
            self.said.say(f"wrote {', '.join(map(str, files))}")
        return files

    def figure(self) -> Figure:
        """Draw the chosen figure in the style that matplotlib is set to."""
        if self.kind.value in (self._of_cube or ()):
            return cube_figure(self.cube, self.kind.value)
        return panel_figure(self.explorer.shown(), self._panel())

    def _panel(self) -> int | None:
        return None if self.kind.value == BOARD else int(self.kind.value.removeprefix("panel-"))

    def _try(self, action: Callable[[], list[Path]]) -> list[Path]:
        try:
            return action()
        except Exception as error:  # a place that cannot be written, or a figure of another package
            self.image.layout.display = "none"
            self.said.say(f"{self.kind.label} cannot be drawn: {type(error).__name__}: {error}", bad=True)
            return []

    def _renamed(self, change: dict[str, Any]) -> None:
        self.path.value = str(Path(self.path.value).with_name(change["new"]))

    def _lines(self, _: Any = None) -> None:
        name = self.kind.value
        if name in (self._of_cube or ()):
            own = name in figures.__all__
            call = f"kdl.figures.{name}(cube)" if own else f"kdl.registry.load('figures', {name!r})(cube)"
            draw = [call, "figure = plt.gcf()"]
        else:
            panel = "" if self._panel() is None else f"panel={self._panel()}"
            draw = [f"figure = {self.explorer.explore_code()}.figure({panel})"]
        self.code.code = figure_code(self.cube, draw, self.venue.value, self.path.value)
