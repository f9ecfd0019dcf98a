"""The board: one canvas widget for all panels.  Its script travels in the notebook's own channel, from no server."""

from html import escape
from typing import Any

import anywidget
import ipywidgets as ipw
import traitlets

from kdlandscape.cubes.words import visible
from kdlandscape.widgets.browser_files import BROWSER, script, style
from kdlandscape.widgets.state import ANGLE


class Board(anywidget.AnyWidget):
    """Draws a scene; ``picked`` tells what was clicked or moved to with the keys, ``angle`` how a surface is seen."""

    _esm = script("widget.js")
    _css = style()
    scene: traitlets.Dict = traitlets.Dict(default_value={"panels": [], "serial": 0}).tag(sync=True)
    picked: traitlets.Dict = traitlets.Dict(default_value={}).tag(sync=True)
    angle: traitlets.List = traitlets.List(default_value=list(ANGLE)).tag(sync=True)

    def show(self, panels: list[dict[str, Any]], *, sentence: str = "", busy: str = "") -> None:
        """Replace what is drawn, and the sentence above it."""
        self.scene = {"panels": panels, "serial": self.scene["serial"] + 1, "sentence": sentence, "busy": busy}


class CodeBox(anywidget.AnyWidget):
    """Shows lines of code with a button that copies them."""

    _esm = (BROWSER / "code.js").read_text(encoding="utf-8")
    code = traitlets.Unicode().tag(sync=True)


class Said(ipw.HTML):
    """A line of text.  Names, paths and errors come from files, so nothing in them may become markup."""

    text, bad = "", False

    def say(self, text: object, *, bad: bool = False) -> None:
        """Show a text; ``bad`` marks what went wrong."""
        self.text, self.bad = visible(text), bad
        self.value = f"<span class='kdl-{'bad' if bad else 'said'}'>{escape(visible(text))}</span>" if str(text) else ""


def labelled(widget: ipw.DOMWidget, css: str) -> ipw.DOMWidget:
    """Give a widget a CSS class and return it."""
    widget.add_class(css)
    return widget
