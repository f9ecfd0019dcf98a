"""The board: one canvas widget for all panels.  Its script travels in the notebook's own channel, from no server."""

from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from ipywidgets import DOMWidget

BROWSER = Path(__file__).parent / "browser"
SCRIPTS = ("frame.js", "plane.js", "surface.js", "lines.js", "board.js")


@cache
def script() -> str:
    """Return the board's JavaScript, an ECMAScript module."""
    return "\n".join((BROWSER / name).read_text(encoding="utf-8") for name in SCRIPTS)


@cache
def style() -> str:
    """Return the board's style sheet."""
    return (BROWSER / "board.css").read_text(encoding="utf-8")


class Board(anywidget.AnyWidget):
    """Draws a scene; tells in ``picked`` what was clicked, or moved to with the keys."""

    _esm = script()
    _css = style()
    scene: traitlets.Dict = traitlets.Dict(default_value={"panels": [], "serial": 0}).tag(sync=True)
    picked: traitlets.Dict = traitlets.Dict(default_value={}).tag(sync=True)

    def show(self, panels: list[dict[str, Any]], busy: str = "") -> None:
        """Replace what is drawn."""
        self.scene = {"panels": panels, "serial": self.scene["serial"] + 1, "busy": busy}


class CodeBox(anywidget.AnyWidget):
    """Shows lines of code with a button that copies them."""

    _esm = (BROWSER / "code.js").read_text(encoding="utf-8")
    code = traitlets.Unicode().tag(sync=True)


def labelled(widget: DOMWidget, css: str) -> DOMWidget:
    """Give a widget a CSS class and return it."""
    widget.add_class(css)
    return widget
