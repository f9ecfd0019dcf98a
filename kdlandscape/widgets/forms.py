"""The controls of an explorer as plain data, for a front end that shows no ipywidgets; and what is answered there."""

from typing import Any

import ipywidgets as ipw

from kdlandscape.widgets.board import Said

_KINDS = {
    ipw.Dropdown: "list",
    ipw.ToggleButtons: "buttons",
    ipw.SelectionSlider: "range",
    ipw.Checkbox: "check",
    ipw.Text: "text",
    ipw.Button: "button",
    ipw.IntProgress: "progress",
    Said: "said",
}


def form(key: str, control: ipw.Widget, *, tool: bool = False, play: bool = False) -> dict[str, Any] | None:
    """Return a control as data; None where it is hidden.

    Parameters
    ----------
    key
        The name that an answer comes back with.
    control
        A control of an explorer.
    tool
        Whether it stands under the board, with what writes files.
    play
        Whether a button beside it plays all its places.
    """
    if control.layout.display == "none":
        return None
    kind = next(name for known, name in _KINDS.items() if isinstance(control, known))
    made = {"key": key, "kind": kind, "tool": tool, "play": play, "label": getattr(control, "description", "")}
    made["disabled"] = bool(getattr(control, "disabled", False))
    if kind in ("list", "buttons", "range"):
        texts = [option[0] if isinstance(option, tuple) else option for option in control.options]
        return {
            **made,
            "options": [str(text) for text in texts],
            "value": -1 if control.index is None else control.index,
        }
    if kind == "said":
        return {**made, "value": control.text, "bad": control.bad}
    if kind == "progress":
        return {**made, "value": control.value, "max": control.max}
    return made if kind == "button" else {**made, "value": control.value}


def answer(control: ipw.Widget, value: Any) -> None:
    """Do with a control what was done with its form: choose by position, check, write, or press.

    Raises
    ------
    ValueError
        If there is no such position.
    """
    if isinstance(control, ipw.Button):
        control.click()
    elif hasattr(control, "options"):
        if not 0 <= int(value) < len(control.options):
            raise ValueError(f"expected a position below {len(control.options)}, got {value!r}")
        control.index = int(value)
    else:
        control.value = bool(value) if isinstance(control, ipw.Checkbox) else str(value)
