"""The board with its controls as one anywidget, for front ends that know no ipywidgets (marimo, for example)."""

from collections.abc import Mapping
from threading import RLock
from typing import Any, Protocol

import ipywidgets as ipw
import traitlets

from kdlandscape.widgets.board import Board, Said
from kdlandscape.widgets.browser_files import script
from kdlandscape.widgets.forms import answer, form


class Source(Protocol):
    """What a lone board shows: an explorer."""

    board: Board

    @property
    def code(self) -> str:
        """The lines that reproduce the present view."""

    def parts(self) -> Mapping[str, tuple[ipw.Widget, str]]:
        """Return the controls by name, each with ``tool`` or ``play`` or nothing: see `form`."""


class LoneBoard(Board):
    """Shows what an explorer shows, with controls of its own; what is done here is done there, and the other way."""

    _esm = script("alone.js")
    forms: traitlets.List = traitlets.List().tag(sync=True)
    asked: traitlets.List = traitlets.List().tag(sync=True)  # answers with a serial number each, oldest first
    answered = traitlets.Int(0).tag(sync=True)  # the serial number of the last one that was taken
    code = traitlets.Unicode().tag(sync=True)

    def __init__(self, source: Source) -> None:
        self.source, self._turn = source, RLock()  # a live surface draws from a second thread
        super().__init__(scene=source.board.scene, angle=source.board.angle)
        source.board.observe(lambda _: self.renew(), "scene")
        traitlets.link((source.board, "angle"), (self, "angle"))
        self.observe(lambda change: setattr(source.board, "picked", change["new"]), "picked")
        self.observe(self._answered, "asked")
        for control, _ in source.parts().values():
            if isinstance(control, Said):
                control.observe(lambda _: self.renew(), "value")
        self.renew()

    def renew(self) -> None:
        """Show what the explorer shows now."""
        parts = self.source.parts()
        with self._turn, self.hold_sync():  # what was read earlier must not be shown later
            made = [form(key, one, tool=how == "tool", play=how == "play") for key, (one, how) in parts.items()]
            self.forms = [one for one in made if one is not None]
            self.scene, self.code = self.source.board.scene, self.source.code

    def _answered(self, change: Any) -> None:
        for one in change["new"]:
            if one["serial"] > self.answered:
                self.answered = one["serial"]
                control, _ = self.source.parts()[one["key"]]
                answer(control, one["value"])
        self.renew()
