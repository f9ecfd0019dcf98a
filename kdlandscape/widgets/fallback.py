"""A static picture of a board, for a notebook that is opened without its kernel and for front ends without widgets."""

from base64 import b64encode
from typing import Any

from IPython.display import display

from kdlandscape.widgets import picture
from kdlandscape.widgets.figure_preview import Shown

WIDGET = "application/vnd.jupyter.widget-view+json"


def still(shown: Shown) -> str:
    """Return the board as a PNG in base64."""
    return b64encode(picture.png(shown.panels, shown.sentence, shown.angle)).decode()


def with_picture(bundle: Any, shown: Shown) -> dict[str, Any]:
    """Return the mime bundle of a widget with a picture beside it."""
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    return {**data, "image/png": still(shown)}


def display_with_picture(bundle: Any, shown: Shown) -> None:
    """Display a picture, then the widget.

    Where both are in one bundle, JupyterLab takes the widget and says "model not found" when there is no kernel. So
    the picture is an output of its own; the board hides it as soon as it draws.
    """
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    words = shown.sentence or "the explorer"
    display({"image/png": still(shown), "text/plain": f"picture of {words}"}, raw=True)
    display(data, raw=True)
