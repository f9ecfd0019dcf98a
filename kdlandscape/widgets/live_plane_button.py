"""The button that computes the plane through three chosen networks, where they are at hand."""

from collections.abc import Callable
from typing import Any

import ipywidgets as ipw

from kdlandscape.widgets.board import Said
from kdlandscape.widgets.desk import Desk
from kdlandscape.widgets.view_code import place


class LivePlane(ipw.VBox):
    """A button, what went wrong, and the widget of the plane that was asked for last."""

    def __init__(self, desk: Desk, live: Callable[[list[str], dict[str, Any]], ipw.Widget] | None) -> None:
        self.desk, self.live = desk, live
        self.button = ipw.Button(description="Compute the plane through the chosen three", layout={"width": "auto"})
        self.said, self.opened = Said(), ipw.VBox()
        self.button.on_click(lambda _: self.compute())
        super().__init__([ipw.HBox([self.button, self.said]), self.opened])

    def compute(self) -> None:
        """Show the plane through the three chosen networks; an error is said beside the button."""
        assert self.live is not None
        try:
            made = self.live(self.desk.trio(), place(self.desk.cube, self.desk.state, self.desk.state.at))
            self.opened.children = (made,)
            self.said.say("")
        except Exception as error:  # whatever the user's function raises
            self.said.say(f"{type(error).__name__}: {error}", bad=True)
