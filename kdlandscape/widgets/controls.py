"""The controls of an explorer: each sets one trait of the state."""

from typing import Any

import ipywidgets as ipw
import xarray as xr

from kdlandscape.widgets.state import COLOR_MAPS, State, coordinate, curve_variables, name_of, shown_variables

WRAP = ipw.Layout(flex_flow="row wrap", width="100%")
SHORT = {"description_width": "initial"}


def choices(cube: xr.Dataset, state: State) -> dict[str, ipw.Widget]:
    """Make the controls that say what is shown, by the name of their trait."""
    story = "λ story" if state.story == "init_lambda" else f"{state.story or 'no'} story"
    views = [("Explore", "explore"), ("Compare", "compare"), (story, "story")]
    made = {
        "view": ipw.ToggleButtons(options=views, style={"button_width": "90px"}),
        "variable": ipw.Dropdown(
            options=shown_variables(cube), description="variable", style=SHORT, layout={"width": "230px"}
        ),
        **axes(cube, state),
        "curve": ipw.Dropdown(
            options=curve_variables(cube, state.story), description="curve", style=SHORT, layout={"width": "210px"}
        ),
        "colors": ipw.Dropdown(options=COLOR_MAPS, description="colours", style=SHORT, layout={"width": "160px"}),
        "log": ipw.Checkbox(description="log", indent=False, layout={"width": "60px"}),
        "shared": ipw.Checkbox(
            description=f"one scale along {state.story or 'cells'}", indent=False, layout={"width": "auto"}
        ),
    }
    for name, control in made.items():
        if name not in ("x", "y"):
            _tie(state, name, control)
    return made


def axes(cube: xr.Dataset, state: State) -> dict[str, ipw.Widget]:
    """Make the two controls that choose the axes among the dims of the variable."""
    dims = [str(dim) for dim in cube[state.variable].dims] if state.variable else []
    made = {
        "x": ipw.Dropdown(options=dims, description="x", style=SHORT, layout={"width": "128px"}),
        "y": ipw.Dropdown(
            options=[("none", ""), *zip(dims, dims, strict=True)],
            description="y",
            style=SHORT,
            layout={"width": "128px"},
        ),
    }
    for name, control in made.items():
        _tie(state, name, control)
    return made


def slider(cube: xr.Dataset, state: State, cell: str, dim: str, label: str, width: str) -> ipw.SelectionSlider:
    """Make the slider of a dim for one of the two cells."""
    made = ipw.SelectionSlider(
        options=[(name_of(value), i) for i, value in enumerate(coordinate(cube, dim))],
        value=getattr(state, cell)[dim],
        description=label,
        style={"description_width": "112px"},
        layout={"width": width},
    )
    made.observe(lambda change: setattr(state, cell, {**getattr(state, cell), dim: change["new"]}), "value")
    return made


def _tie(state: State, name: str, control: ipw.Widget) -> None:
    if not any(value == getattr(state, name) for value in _values(control)):
        control.disabled = True  # there is nothing to choose
        return
    control.value = getattr(state, name)
    control.observe(lambda change: setattr(state, name, change["new"]), "value")


def _values(control: ipw.Widget) -> list[Any]:
    if not hasattr(control, "options"):
        return [False, True]
    return [option[1] if isinstance(option, tuple) else option for option in control.options]
