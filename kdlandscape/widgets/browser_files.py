"""The board's script and style sheet as text; reading them needs no package for widgets."""

from functools import cache
from pathlib import Path

BROWSER = Path(__file__).parent / "browser"
SCRIPTS = ("frame.js", "plane.js", "surface.js", "lines.js", "graph.js", "board.js")


@cache
def script(entry: str) -> str:
    """Return the board's JavaScript, an ECMAScript module, with what it is entered by.

    ``widget.js`` is the board inside other widgets, ``alone.js`` the board with its own controls.
    """
    return "\n".join((BROWSER / name).read_text(encoding="utf-8") for name in (*SCRIPTS, entry))


def page_script() -> str:
    """Return the script of a saved page: the board, and sliders that choose among the scenes in the page."""
    return script("page.js")


@cache
def style() -> str:
    """Return the board's style sheet."""
    return (BROWSER / "board.css").read_text(encoding="utf-8")
