"""Between the choices of an explorer and its board: what a choice brings with it, and what a click chooses."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.widgets import scene, selection
from kdlandscape.widgets.cuts import chosen_line
from kdlandscape.widgets.dims import positions
from kdlandscape.widgets.glance import trio
from kdlandscape.widgets.state import State
from kdlandscape.widgets.study_networks import read_networks
from kdlandscape.widgets.view import Limits, cell_dims, plane_state, problem_of, read, thin
from kdlandscape.widgets.view_code import explore_call, view_code

#: Traits that change which choices there are, and not only what is chosen.
ARRANGING = ("variable", "x", "y", "view", "story")


class Desk:
    """A cube and a state, and the panels that follow from them.  It knows no widget."""

    def __init__(self, cube: xr.Dataset, state: State) -> None:
        self.cube, self.state = cube, state
        self.held = selection.hold_small(cube)
        self._limits: dict[tuple, Limits] = {}

    @property
    def code(self) -> str:
        """The lines that reproduce the present view."""
        return view_code(self.cube, self.state)

    def explore_code(self) -> str:
        """Return the expression that opens an explorer on the present view."""
        return explore_call(self.cube, self.state)

    def compose(self) -> tuple[list[dict[str, Any]], str]:
        """Return the panels of the present view, and the sentence above them."""
        return scene.compose(read(self.held, self.state, self._known_limits()), self.state)

    def trio(self) -> list[str]:
        """Return the names of the networks that are chosen at a glance; none where the cube holds no networks."""
        seen = read_networks(self.held, self.state)
        return trio(seen, self.state) if seen else []

    def settle(self, name: str) -> None:
        """Follow a trait that changed: another variable or story brings its own axes or curves with it."""
        state = self.state
        if name == "variable":
            state.choose(self.cube, state.variable)
        elif name == "story":
            state.tell(self.cube, state.story)
        elif name in ("x", "y"):
            state.point = state.line = ()

    def _known_limits(self) -> Limits:
        """Return the colour limits, computed once for all cells of a story."""
        state = self.state
        if state.view == "glance" or not state.y or problem_of(self.cube, state) or thin(self.held, state):
            return None
        fixed = (state.shared or state.view == "story") and self.cube.sizes.get(state.story, 99) <= 11
        skipped = state.story if fixed else ""
        cells = (state.at, state.other if state.view == "compare" else {})
        where = tuple(sorted((dim, i) for cell in cells for dim, i in cell.items() if dim != skipped))
        key = (state.view, state.variable, state.x, state.y, state.log, state.shared, state.story, where)
        if key not in self._limits:
            if len(self._limits) > 200:
                self._limits.clear()
            self._limits[key] = selection.limits(self.held, state)
        return self._limits[key]

    def pick(self, picked: Mapping[str, Any]) -> None:
        """Go to what was clicked: a place on a plane, a place of the story, one of the repeats; or lay a line."""
        state, kind = self.state, picked.get("kind")
        if kind == "line":
            state.line = chosen_line(picked)
            return
        if kind == "open":
            self._open()
            return
        places = {state.x: picked["x"], state.y: picked["y"]} if kind == "point" else {}
        if kind in ("story", "network") and picked["x"] is not None:
            places = {picked.get("dim") or state.story: picked["x"]}
        chosen = cell_dims(self.held, state)
        moved = {
            dim: int(np.abs(positions(self.cube, dim) - at).argmin()) for dim, at in places.items() if dim in chosen
        }
        if picked.get("repeat") in self.cube.dims and picked.get("run", -1) >= 0:
            moved[picked["repeat"]] = int(picked["run"])
        with state.hold_trait_notifications():
            if kind == "point" and not set(places) <= set(moved):
                state.point = (float(picked["x"]), float(picked["y"]))
            if kind == "network":
                state.trio = (*[name for name in state.trio[-1:] if name != picked["name"]], str(picked["name"]))
            state.at = {**state.at, **moved}

    def _open(self) -> None:
        """Explore the plane that a study at a glance shows."""
        found = plane_state(self.held, self.state)
        if found is not None:
            self.state.variable = found.variable
            self.state.view = "explore"
