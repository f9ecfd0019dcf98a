"""The explorer of a saved cube: controls, the board, paper preview and code.  What it shows is in its `State`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from kdlandscape.widgets.desk import ARRANGING, Desk
from kdlandscape.widgets.state import State, curve_variables, make_state
from kdlandscape.widgets.variable_list import variable_list
from kdlandscape.widgets.view import cell_dims

try:
    import ipywidgets as ipw

    from kdlandscape.widgets import controls
    from kdlandscape.widgets.board import Board, CodeBox, Said
    from kdlandscape.widgets.fallback import display_with_picture, with_picture
    from kdlandscape.widgets.figure_preview import FigurePreview, Shown, panel_figure
    from kdlandscape.widgets.html_page import write_page
    from kdlandscape.widgets.live_plane_button import LivePlane
    from kdlandscape.widgets.lone_board import LoneBoard
except ImportError as error:
    raise ImportError(f"expected the packages of the lab extra, got {error}; pip install 'kdlandscape[lab]'") from error

#: Makes the widget of a plane that no cube holds, from the names of three networks and the coordinates of a cell.
Live = Callable[[list[str], dict[str, Any]], ipw.Widget]


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
    line: tuple[str, str] | tuple[float, float, float, float] | None = None,
    log: bool | None = None,
    shared: bool | None = None,
    colors: str | None = None,
    spread: bool | None = None,
    story: str | None = None,
    curve: str | None = None,
    angle: tuple[float, float, float] | None = None,
    trio: Sequence[str] | None = None,
    live: Live | None = None,
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
        ``explore``, ``compare``, ``story`` or ``glance`` (the networks of the study and what is between them).
    x, y
        The dims of the axes; an empty ``y`` means that the variable is drawn as a line.
    point
        The chosen point, in the coordinates of the axes.
    line
        A line on the plane, between two networks by name or from (x, y) to (x, y): its loss, barrier and curvature are
        shown beside the plane, interpolated on the plane's own grid.
    log, shared, colors
        Whether colours and heights are logarithmic, whether all cells of the story share one colour scale, and the
        colour map (``viridis``, ``cividis`` or ``magma``).
    spread
        Whether lines show every repeat (seed) thinly, with their mean and its 95 % interval.
    story, curve
        The dim that the story moves along, and the variable that is drawn along it.
    angle
        Turn and tilt (radians) and zoom of the surface from the side.
    trio
        The names of two networks that stand beside the teacher in ``glance``.
    live
        Where the networks are at hand: called with the names of the three chosen networks and the coordinates of the
        cell, it returns a widget, such as that of `explore_plane`, which is shown under the board.

    Returns
    -------
    Explorer
        A widget; ``explorer.state`` holds the choices, ``explorer.code`` the lines that reproduce them, and
        ``explorer.alone()`` is the same as one anywidget, for front ends that know no ipywidgets (such as marimo).

    Raises
    ------
    ValueError
        If a choice is not in the cube. A cube without anything to show does not raise: the widget says what is missing.
    """
    choices: dict[str, Any] = {
        "view": view,
        "x": x,
        "y": y,
        "point": point,
        "line": line,
        "log": log,
        "shared": shared,
        "spread": spread,
    }
    choices |= {"colors": colors, "story": story, "curve": curve, "angle": angle, "trio": trio}
    given = {name: value for name, value in choices.items() if value is not None}
    return Explorer(cube, make_state(cube, variable=variable, at=at, other=other, choices=given), live)


class Explorer(ipw.VBox):
    """Controls and board around a cube and a state."""

    def __init__(self, cube: xr.Dataset, state: State, live: Live | None = None) -> None:
        self.cube, self.state, self.desk = cube, state, Desk(cube, state)
        self.held = self.desk.held
        self._busy = False
        self._shown = Shown([], "", state.angle)
        self.board, self.lines = Board(angle=list(state.angle)), CodeBox()
        self.sliders: dict[tuple[str, str], ipw.Widget] = {}
        self._cells, self._row = ipw.HBox(layout=controls.WRAP), ipw.HBox(layout=controls.WRAP)
        self.controls = controls.choices(cube, state)
        self.preview = FigurePreview(self, cube)
        self.page_path = ipw.Text(value="view.html", description="file", style=controls.SHORT)
        self.page_button = ipw.Button(description="Save HTML", tooltip="One file that opens without a kernel")
        self.page_said = Said()
        self.page_button.on_click(lambda _: self._save())
        saved = ipw.HBox([self.page_path, self.page_button, self.page_said], layout=controls.WRAP)
        self.tools = ipw.Accordion([self.preview, self.lines, saved], selected_index=None)
        self.tools.titles = ("Figure preview", "Code of this view", "Save as a web page")
        self.tools.observe(lambda change: self.preview.offer(whole=change["new"] == 0), "selected_index")
        self.opener = LivePlane(self.desk, live)
        super().__init__([self._row, self._cells, self.board, self.opener, self.tools])
        self.add_class("kdl-controls")
        state.observe(self._changed)
        self.board.observe(lambda change: self.desk.pick(change["new"]), "picked")
        self.board.observe(lambda change: setattr(state, "angle", tuple(change["new"])), "angle")
        self._arrange()

    @property
    def code(self) -> str:
        """The lines that reproduce the present view."""
        return self.desk.code

    def parts(self) -> dict[str, tuple[ipw.Widget, str]]:
        """Return the controls by name, with what is special about each: see `LoneBoard`."""
        told = ("at", self.state.story) if self.state.view == "story" else None
        tools = {**self.preview.parts(), "page": self.page_path, "save page": self.page_button, "saved": self.page_said}
        return {
            **{name: (control, "") for name, control in self.controls.items()},
            **{f"{key[0]} {key[1]}": (one, "play" if key == told else "") for key, one in self.sliders.items()},
            **{name: (control, "tool") for name, control in tools.items()},
        }

    def alone(self) -> LoneBoard:
        """Return the board with its controls as one anywidget, for front ends that know no ipywidgets."""
        return LoneBoard(self)

    def explore_code(self) -> str:
        """Return the expression that opens an explorer on the present view."""
        return self.desk.explore_code()

    def shown(self) -> Shown:
        """Return what is on the board."""
        return self._shown._replace(angle=self.state.angle)

    def figure(self, panel: int | None = None) -> Figure:
        """Draw the board, or one of its panels by position, as a matplotlib figure in the present style.

        Raises
        ------
        ValueError
            If there is no such panel.
        """
        return panel_figure(self.shown(), panel)

    def save_page(self, path: Path | str | None = None) -> Path:
        """Write the view as one HTML file that opens without a kernel; default: the path in the form."""
        return write_page(self.held, self.state, path or self.page_path.value, code=self.code)

    def _save(self) -> None:
        try:
            self.page_said.say(f"wrote {self.save_page()}")
        except OSError as error:
            self.page_said.say(f"expected a file that can be written, got {error}; choose another one", bad=True)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Return the widget, with a picture of it for front ends that show no widgets."""
        return with_picture(super()._repr_mimebundle_(include=include, exclude=exclude), self.shown())

    def _ipython_display_(self) -> None:
        """Show the widget, and before it a picture that stays where there is no kernel to draw the board."""
        display_with_picture(super()._repr_mimebundle_(), self.shown())

    def _changed(self, change: Any) -> None:
        """Follow a trait of the state: another variable or story brings its own axes or curves with it."""
        if self._busy:
            return
        self._busy = True
        try:
            self.desk.settle(change["name"])
        finally:
            self._busy = False
        name = change["name"]
        if name == "angle":
            self.lines.code = self.code
        elif name in ARRANGING:
            self._arrange()
        else:
            self._renew()

    def _arrange(self) -> None:
        """Adapt the lists to the variable and the story, and the sliders to the dims that some panel is cut at."""
        state = self.state
        if self.controls["x"].options != controls.axes(self.cube, state)["x"].options or not self._row.children:
            self.controls |= controls.axes(self.cube, state)
        known = variable_list(self.cube, curve_variables(self.cube, state.story))
        self._busy = True
        controls.renew(self.controls["curve"], known, state.curve)
        controls.renew(self.controls["view"], controls.views(self.cube, state), state.view)
        self._busy = False
        self._row.children = list(self.controls.values())
        cells = {"at": "", "other": " of B"} if state.view == "compare" else {"at": ""}
        dims = cell_dims(self.held, state)
        if state.view == "story":
            dims.sort(key=lambda dim: dim != state.story)
        if list(self.sliders) != [(cell, dim) for cell in cells for dim in dims]:
            width = "560px" if len(cells) == 1 else "420px"
            self.sliders = {
                (cell, dim): controls.place(self.cube, state, cell, dim, note, width)
                for cell, note in cells.items()
                for dim in dims
            }
        boxes = [[box for (of, _), box in self.sliders.items() if of == cell] for cell in cells]
        if state.view == "story" and ("at", state.story) in self.sliders:
            first = self.sliders["at", state.story]
            boxes[0][0] = ipw.HBox([first, controls.player(first)], layout=controls.WRAP)
        wide = ipw.Layout(flex="1 1 430px", min_width="0")
        self._cells.children = [ipw.VBox(column, layout=wide) for column in boxes]
        self.controls["curve"].layout.display = "" if state.view == "explore" else "none"
        self.opener.layout.display = "" if state.view == "glance" and self.opener.live else "none"
        self._renew()

    def _renew(self) -> None:
        """Make the controls, the board and the code say what the state says."""
        state = self.state
        self._busy = True  # the controls repeat what the state says
        controls.renew(self.controls["line"], controls.pairs(self.cube, state), state.line)
        for name, control in self.controls.items():
            if not control.disabled:
                control.value = getattr(state, name)
        for (cell, dim), slider in self.sliders.items():
            slider.value = getattr(state, cell)[dim]
        self._busy = False
        self._shown = Shown(*self.desk.compose(), state.angle)
        self.board.show(self._shown.panels, sentence=self._shown.sentence)
        self.lines.code = self.code
        self.preview.offer()
