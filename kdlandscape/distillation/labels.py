"""Losses and metrics that say what their number is."""

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def labelled(long_name: str, units: str = "1") -> Callable[[Function], Function]:
    """Decorate a function of outputs and targets: its number is called ``long_name`` and has the unit ``units``.

    Both are attributes of the function. An objective, a barrier and a fidelity pass them on to their results.
    """

    def decorate(function: Function) -> Function:
        for name, value in {"long_name": long_name, "units": units}.items():
            setattr(function, name, value)
        return function

    return decorate


def label_of(function: Callable[..., Any]) -> tuple[str, str]:
    """Return (long name, unit) of a loss or a metric; without a label its own name, with unit "1"."""
    name = getattr(function, "__name__", type(function).__name__).replace("_", " ")
    return getattr(function, "long_name", name), getattr(function, "units", "1")
