"""The interactive board of a report: the view that the explorer opens with, in as many cells as a mail can take."""

import json
from dataclasses import dataclass
from typing import Any

import xarray as xr

from kdlandscape.widgets import html_page, picture, scene, selection
from kdlandscape.widgets.dims import shown_variables, stories
from kdlandscape.widgets.state import State, make_state
from kdlandscape.widgets.view import read

_MOST_BYTES = 1_500_000


@dataclass(frozen=True)
class ReportBoard:
    """What the script of a page reads, a picture for where no script runs, and what both show."""

    data: dict[str, Any]
    picture: bytes
    caption: str


def board_of(cube: xr.Dataset, most_bytes: int = _MOST_BYTES) -> ReportBoard | None:
    """Return the board that a cube opens with; None where it has no numbers.

    Parameters
    ----------
    cube
        Any cube.
    most_bytes
        Sliders go into the page while all their cells together take at most about so much.
    """
    if not shown_variables(cube):
        return None
    held = selection.hold_small(cube)
    state = _opening(held)
    one = len(json.dumps(html_page.contents(held, state, 1)))
    data = html_page.contents(held, state, max(1, min(html_page.MAX_CELLS, most_bytes // one)))
    panels, sentence = scene.compose(read(held, state), state)
    moves = ", ".join(dim["name"] for dim in data["dims"])
    words = f"Sliders move {moves}; " if moves else ""
    caption = f"{html_page.title(cube, state)}. {words}a click on a picture moves its lines or goes to that cell."
    return ReportBoard(data, picture.png(panels, sentence, state.angle), caption)


def _opening(cube: xr.Dataset) -> State:
    """Return the state to open with: the story, where there is a surface and a dim to move along."""
    state = make_state(cube)
    told = [dim for dim in stories(cube) if dim in cube.variables[state.variable].dims]
    return make_state(cube, choices={"view": "story"}) if told and state.y else state
