"""The controls of an explorer: each sets one trait of the state."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import ipywidgets as ipw
import xarray as xr

from kdlandscape.cubes.words import dim_symbol, value_words, visible
from kdlandscape.widgets.cuts import names_of
from kdlandscape.widgets.dims import shown_variables, stories
from kdlandscape.widgets.state import COLOR_MAPS, State, curve_variables
from kdlandscape.widgets.variable_list import coordinate, variable_list
from kdlandscape.widgets.view import repeats_words

WRAP = ipw.Layout(flex_flow="row wrap", width="100%")
LABEL = "150px"  # of 22 letters
SHORT = {"description_width": "initial"}


def choices(cube: xr.Dataset, state: State) -> dict[str, ipw.Widget]:
    """Make the controls that say what is shown, by the name of their trait."""
    told = [(dim_symbol(cube, dim), dim) for dim in stories(cube)]
    spread = repeats_words(cube, state)
    made = {
        "view": ipw.ToggleButtons(options=views(cube, state), style={"button_width": "auto"}),
        "variable": _list(variable_list(cube, shown_variables(cube)), "show", "min(430px, 100%)"),
        **axes(cube, state),
        "story": _list(told, "story along", "190px"),
        "curve": _list(variable_list(cube, curve_variables(cube, state.story)), "curve", "min(360px, 100%)"),
        "line": _list(pairs(cube, state), "line", "240px"),
        "colors": _list([(name, name) for name in COLOR_MAPS], "colours", "160px"),
        "log": ipw.Checkbox(description="log", indent=False, layout={"width": "60px"}),
        "shared": ipw.Checkbox(description="fixed scales", indent=False, layout={"width": "auto"}),
        "spread": ipw.Checkbox(description=spread or "no repeats", indent=False, layout={"width": "auto"}),
    }
    made["spread"].layout.display = "" if spread else "none"
    for name, control in made.items():
        if name not in ("x", "y"):
            _tie(state, name, control)
    return made


def pairs(cube: xr.Dataset, state: State) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the lines between two networks on the plane, by name, and the one that was drawn by hand."""
    on_plane = (state.x, state.y) == ("x", "y") and "plane_points" in cube and "point" in cube.coords
    names = [visible(name) for name in cube["point"].values] if on_plane else []
    found: list[tuple[str, tuple[Any, ...]]] = [("none: drag one", ())]
    found += [(f"{a} to {b}", (a, b)) for a, b in combinations(names, 2)]
    drawn = [line for _, line in found]
    return found if state.line in drawn else [*found, (" to ".join(names_of(state.line)), state.line)]


def views(cube: xr.Dataset, state: State) -> list[tuple[str, str]]:
    """Return the views with their names: a story is called after the dim that it moves along."""
    story = f"{dim_symbol(cube, state.story)} story" if state.story else "no story"
    return [("Explore", "explore"), ("Compare", "compare"), (story, "story"), ("At a glance", "glance")]


def axes(cube: xr.Dataset, state: State) -> dict[str, ipw.Widget]:
    """Make the two controls that choose the axes among the dims of the variable."""
    dims = [str(dim) for dim in cube[state.variable].dims] if state.variable else []
    named = [(dim_symbol(cube, dim), dim) for dim in dims]
    made = {"x": _list(named, "across", "150px"), "y": _list([("none: lines", ""), *named], "up", "150px")}
    for name, control in made.items():
        _tie(state, name, control)
    return made


def _list(options: Sequence[tuple[str, Any]], description: str, width: str) -> ipw.Dropdown:
    return ipw.Dropdown(options=options, description=description, style=SHORT, layout={"width": width})


def place(cube: xr.Dataset, state: State, cell: str, dim: str, note: str, width: str) -> ipw.Widget:
    """Make the control of a dim for one of the two cells: buttons for a few words, a slider for anything else."""
    values = coordinate(cube, dim)
    options = [(value_words(value), i) for i, value in enumerate(values)]
    words = all(isinstance(value, str) for value in values)
    label = dim_symbol(cube, dim) + note
    if words and len(values) <= 4:
        made: ipw.Widget = ipw.ToggleButtons(
            options=options, description=label, style={"description_width": LABEL, "button_width": "auto"}
        )
    else:
        made = ipw.SelectionSlider(
            options=options,
            description=label,
            style={"description_width": LABEL},
            layout={"width": width, "max_width": "100%"},
        )
    made.value = getattr(state, cell)[dim]
    made.observe(lambda change: setattr(state, cell, {**getattr(state, cell), dim: change["new"]}), "value")
    return made


def player(slider: ipw.Widget) -> ipw.Play:
    """Make the button that plays a story: it moves the slider of the story's dim through all its places."""
    made = ipw.Play(min=0, max=len(slider.options) - 1, value=slider.value, interval=700, show_repeat=False)
    made.observe(lambda change: setattr(slider, "value", change["new"]), "value")
    slider.observe(lambda change: setattr(made, "value", change["new"]), "value")
    return made


def renew(control: ipw.Widget, options: list[tuple[str, Any]], value: Any) -> None:
    """Give a list other options, with one of them chosen."""
    control.disabled = not options
    if tuple(control.options) != tuple(options):
        control.options = options
    if options:
        control.value = value


def _tie(state: State, name: str, control: ipw.Widget) -> None:
    if not any(value == getattr(state, name) for value in _values(control)):
        control.disabled = True  # there is nothing to choose
        return
    control.value = getattr(state, name)

    control.observe(
        lambda change: setattr(state, name, getattr(state, name) if change["new"] is None else change["new"]), "value"
    )


def _values(control: ipw.Widget) -> list[Any]:
    if not hasattr(control, "options"):
        return [False, True]
    return [option[1] if isinstance(option, tuple) else option for option in control.options]
