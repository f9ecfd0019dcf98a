"""The explorer of a saved cube: controls, the board, paper preview and code.  What it shows is in its `State`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from kdlandscape.widgets import scene, selection
from kdlandscape.widgets.state import State, default_axes, make_state
from kdlandscape.widgets.view import Limits, problem_of, read, thin

try:
    import ipywidgets as ipw

    from kdlandscape.widgets import controls
    from kdlandscape.widgets.board import Board, CodeBox
    from kdlandscape.widgets.figure_preview import FigurePreview
    from kdlandscape.widgets.html_page import write_page
    from kdlandscape.widgets.view_code import view_code
except ImportError as error:
    raise ImportError(f"expected the packages of the lab extra, got {error}; pip install 'kdlandscape[lab]'") from error


def explore(
    cube: xr.Dataset,
    *,
    variable: str | None = None,
    at: Mapping[str, Any] | None = None,
    view: str | None = None,
    x: str | None = None,
    y: str | None = None,
    other: Mapping[str, Any] | None = None,
    point: tuple[float, float] | None = None,
    log: bool | None = None,
    shared: bool | None = None,
    colors: str | None = None,
    curve: str | None = None,
) -> "Explorer":
    """Explore a cube: planes, surfaces, lines, spectra and curves, cell by cell, with two cells side by side.

    Each choice that is left out follows from the cube.

    Parameters
    ----------
    cube
        A cube as `open_cube` gives it; a lazy one is read cell by cell.
    variable
        The variable to show; default: the first variable over ``y, x``.
    at, other
        Coordinates of the cell to begin with, and of the second cell of a comparison.
    view
        ``explore``, ``compare`` or ``story``.
    x, y
        The dims of the axes; an empty ``y`` means that the variable is drawn as a line.
    point
        The chosen point, in the coordinates of the axes.
    log, shared, colors
        Whether colours and heights are logarithmic, whether all cells of the story share one colour scale, and the
        colour map (``viridis``, ``cividis`` or ``magma``).
    curve
        The variable that is drawn along the story.

    Returns
    -------
    Explorer
        A widget; ``explorer.state`` holds the choices, ``explorer.code`` the lines that reproduce them.

    Raises
    ------
    ValueError
        If a choice is not in the cube. A cube without anything to show does not raise: the widget says what is missing.
    """
    choices = {"view": view, "x": x, "y": y, "point": point, "log": log, "shared": shared, "colors": colors}
    given = {name: value for name, value in {**choices, "curve": curve}.items() if value is not None}
    return Explorer(cube, make_state(cube, variable=variable, at=at, other=other, choices=given))


class Explorer(ipw.VBox):
    """Controls and board around a cube and a state."""

    def __init__(self, cube: xr.Dataset, state: State) -> None:
        self.cube, self.state = cube, state
        self.held = selection.hold_small(cube)
        self._arranging = False
        self._limits: dict[tuple, Limits] = {}
        self.board, self.lines = Board(), CodeBox()
        self.sliders: dict[tuple[str, str], ipw.SelectionSlider] = {}
        self._cells = ipw.HBox(layout=controls.WRAP)
        self.controls = controls.choices(cube, state)
        self.preview = FigurePreview(cube, state)
        self.page_path = ipw.Text(value="view.html", description="file", style=controls.SHORT)
        self.page_button = ipw.Button(description="Save HTML", tooltip="One file that opens without a kernel")
        self.page_said = ipw.HTML()
        self.page_button.on_click(lambda _: self.save_page())
        saved = ipw.HBox([self.page_path, self.page_button, self.page_said], layout=controls.WRAP)
        tools = ipw.Accordion([self.preview, self.lines, saved], selected_index=None)
        tools.titles = ("Paper preview", "Code of this view", "Save as a web page")
        self._row = ipw.HBox(layout=controls.WRAP)
        super().__init__([self._row, self._cells, self.board, tools])
        self.add_class("kdl-controls")
        state.observe(self._rearrange, ["view", "variable", "x", "y"])
        state.observe(self._renew, ["at", "other", "point", "log", "shared", "colors", "curve"])
        self.board.observe(self._picked, "picked")
        self._rearrange()

    @property
    def code(self) -> str:
        """The lines that reproduce the present view."""
        return view_code(self.cube, self.state)

    def save_page(self, path: Path | str | None = None) -> Path:
        """Write the view as one HTML file that opens without a kernel; default: the path in the form."""
        written = write_page(self.held, self.state, path or self.page_path.value, code=self.code)
        self.page_said.value = f"wrote <code>{written}</code>"
        return written

    def _rearrange(self, change: Any = None) -> None:
        """Adapt the axes to the variable, and the sliders to the dims that are left."""
        if self._arranging:
            return
        state = self.state
        if change is None or change["name"] == "variable":
            if change:
                self._arranging = True  # below, everything is adapted at once
                state.x, state.y = default_axes(self.cube, state.variable)
                state.log = "loss" in state.variable
                self._arranging = False
            self.controls |= controls.axes(self.cube, state)
            self._row.children = list(self.controls.values())
        cells = {"at": "", "other": " of B"} if state.view == "compare" else {"at": ""}
        dims = selection.free_dims(self.cube, state)
        if state.view == "story":
            dims.sort(key=lambda dim: dim != state.story)
        if list(self.sliders) != [(cell, dim) for cell in cells for dim in dims]:
            self.sliders = {
                (cell, dim): controls.slider(
                    self.cube, state, cell, dim, dim + note, "560px" if len(cells) == 1 else "400px"
                )
                for cell, note in cells.items()
                for dim in dims
            }
            self._cells.children = [
                ipw.VBox([box for (of, _), box in self.sliders.items() if of == cell]) for cell in cells
            ]
        self._renew()

    def _renew(self, _: Any = None) -> None:
        """Make the controls, the board and the code say what the state says."""
        if self._arranging:
            return
        for name, control in self.controls.items():
            if not control.disabled:
                control.value = getattr(self.state, name)
        for (cell, dim), slider in self.sliders.items():
            slider.value = getattr(self.state, cell)[dim]
        self.board.show(scene.board(read(self.held, self.state, self._known_limits()), self.state))
        self.lines.code = self.code

    def _known_limits(self) -> Limits:
        """Return the colour limits, computed once for all cells of a story."""
        state = self.state
        if problem_of(self.cube, state) or thin(self.held, state):
            return None
        fixed = (state.shared or state.view == "story") and self.cube.sizes.get(state.story, 99) <= 11
        skipped = state.story if fixed else ""
        cells = (state.at, state.other if state.view == "compare" else {})
        where = tuple(sorted((dim, i) for cell in cells for dim, i in cell.items() if dim != skipped))
        key = (state.view, state.variable, state.x, state.y, state.log, state.shared, where)
        if key not in self._limits:
            if len(self._limits) > 200:
                self._limits.clear()
            self._limits[key] = selection.limits(self.held, state)
        return self._limits[key]

    def _picked(self, change: Any) -> None:
        picked, state = change["new"], self.state
        if picked["kind"] == "point":
            state.point = (float(picked["x"]), float(picked["y"]))
        elif picked["kind"] == "story":
            places = selection.positions(self.cube, state.story)
            state.at = {**state.at, state.story: int(abs(places - picked["x"]).argmin())}
