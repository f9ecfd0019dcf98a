"""Paper preview: the picture that export writes, from the same call and therefore of the same bytes."""

import inspect
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ipywidgets as ipw
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from kdlandscape import figures
from kdlandscape.widgets.board import CodeBox, labelled
from kdlandscape.widgets.reproduce import figure_code
from kdlandscape.widgets.state import State, coordinate


def kinds() -> list[str]:
    """Return the figures there are: functions of `kdlandscape.figures` that draw on given axes."""
    found = {name: getattr(figures, name) for name in figures.__all__}
    return [name for name, function in found.items() if {"ax", "axes"} & set(inspect.signature(function).parameters)]


def venues() -> list[str]:
    """Return the venues whose sizes and fonts are known."""
    from tueplots import bundles

    return sorted(name for name in vars(bundles) if name[-4:].isdigit())


def write_figure(cube: xr.Dataset, kind: str, venue: str, path: Path | str) -> list[Path]:
    """Draw a figure in a venue's style and export it; return the files."""
    with figures.venue_style(venue):
        before = set(plt.get_fignums())
        try:
            axes = getattr(figures, kind)(cube)
            return figures.export(np.ravel(axes)[0].figure, path)
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def picture(cube: xr.Dataset, kind: str, venue: str) -> bytes:
    """Return the PNG that exporting this figure writes."""
    with TemporaryDirectory() as folder:
        (png,) = [path for path in write_figure(cube, kind, venue, Path(folder) / kind) if path.suffix == ".png"]
        return png.read_bytes()


class Paper(ipw.VBox):
    """Chooses a figure, a venue and a place to write it to."""

    def __init__(self, cube: xr.Dataset, state: State, folder: Path | str = "figures") -> None:
        self.cube, self.state = cube, state
        known, style = kinds(), {"description_width": "initial"}
        first = "planes" if "plane_loss" in cube and "planes" in known else known[0]
        self.kind = ipw.Dropdown(options=known, value=first, description="figure", style=style)
        self.venue = ipw.Dropdown(options=venues(), value="neurips2024", description="venue", style=style)
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
        state.observe(self._lines, "at")
        self.preview.on_click(lambda _: self.draw())
        self.export.on_click(lambda _: self.write())
        wrap = ipw.Layout(flex_flow="row wrap", width="100%")
        row = ipw.HBox([self.kind, self.venue, self.whole, self.path, self.preview, self.export], layout=wrap)
        super().__init__([row, self.said, self.image, self.code])
        self.add_class("kdl-paper")
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
        value = self._try(lambda: picture(self._chosen(), self.kind.value, self.venue.value))
        if value is not None:
            self.image.value, self.image.layout.display = value, ""
            self.said.value = ""

    def write(self) -> list[Path]:
        """Write the figure and say where it is."""
        files = self._try(lambda: write_figure(self._chosen(), self.kind.value, self.venue.value, self.path.value))
        if files:
            self.said.value = "wrote " + " and ".join(f"<code>{path}</code>" for path in files)
        return files or []

    def _chosen(self) -> xr.Dataset:
        return self.cube.sel(self.run) if self.run else self.cube

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
        self.code.code = figure_code(self.cube, self.kind.value, self.venue.value, self.path.value, self.run)
