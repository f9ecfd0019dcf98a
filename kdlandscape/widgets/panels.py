"""What the board draws, panel by panel: plain dictionaries of numbers, texts and one array of bytes."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps

#: The colour-blind-safe palette that seaborn calls "colorblind"; every line also has its own dash and marker.
PALETTE = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161")
SYMBOLS = {"teacher": "star", "init": "square", "student": "circle"}
OTHERS = ("circle", "diamond", "triangle")

Panel = dict[str, Any]
Axis = dict[str, Any]


def plane_panel(
    values: xr.DataArray,
    limits: tuple[float, float],
    *,
    title: str,
    log: bool,
    colors: str,
    axes: tuple[Axis, Axis],
    marks: Sequence[Mapping[str, Any]] = (),
    point: tuple[float, float] | None = None,
    readout: str = "",
) -> Panel:
    """Return a panel of a surface from above: colours, contours, marks and the chosen point."""
    low, high = widen(limits, log)
    levels = np.geomspace(low, high, 11)[1:-1] if log else np.linspace(low, high, 11)[1:-1]
    return {
        "kind": "plane",
        "title": title,
        "label": axis_label(values),
        "z": np.ascontiguousarray(values.values, "<f4").tobytes(),
        "limits": [low, high],
        "levels": levels.tolist(),
        "log": log,
        "colors": color_bytes(colors),
        "x": axes[0],
        "y": axes[1],
        "marks": [{**mark, "symbol": SYMBOLS.get(mark["name"], OTHERS[i % 3])} for i, mark in enumerate(marks)],
        "point": list(point) if point is not None else None,
        "readout": readout,
        "pick": "point",
    }


def from_side(plane: Panel) -> Panel:
    """Return a panel of the same surface from the side."""
    title = "from the side, log height" if plane["log"] else "from the side"
    return {**plane, "kind": "surface", "title": title, "readout": "drag or press arrow keys to turn"}


def axis(name: str, places: np.ndarray, labels: Sequence[str] | None = None) -> Axis:
    """Return an axis: its name, the place of every grid point, and a label for each if it is not of numbers."""
    return {"name": name, "places": places.tolist(), "labels": list(labels) if labels is not None else None}


def lines_panel(
    lines: Sequence[Panel],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    log: bool = False,
    at: float | None = None,
    pick: str = "",
    labels: Sequence[str] | None = None,
) -> Panel:
    """Return a panel of lines; ``at`` marks the present place, ``pick`` names what a click on it chooses."""
    positive = [value for one in lines for value in one["y"] if value is not None and value > 0]
    return {
        "kind": "lines",
        "title": title,
        "x": axis(xlabel, np.zeros(0), labels),
        "label": ylabel,
        "lines": [{**one, "color": PALETTE[i % len(PALETTE)], "style": i} for i, one in enumerate(lines)],
        "log": log and bool(positive),
        "at": at,
        "pick": pick,
        "readout": "",
    }


def line(name: str, x: np.ndarray, y: np.ndarray, *, stems: bool = False) -> Panel:
    """Return one line; what is not finite becomes a gap."""
    finite = [float(value) if np.isfinite(value) else None for value in np.asarray(y, float)]
    return {"name": name, "x": np.asarray(x, float).tolist(), "y": finite, "stems": stems}


def message_panel(title: str, text: str) -> Panel:
    """Return a panel that says what is missing."""
    return {"kind": "message", "title": title, "text": text}


def widen(limits: tuple[float, float], log: bool) -> tuple[float, float]:
    """Return limits that are apart, for a surface that is flat."""
    low, high = limits
    if high > low:
        return low, high
    return (low / 1.1, high * 1.1) if log else (low - 0.5, high + 0.5)


def axis_label(values: xr.DataArray) -> str:
    """Return "long name [unit]" from a variable's attrs; the variable's own name where the long one is too long."""
    name, unit = str(values.attrs.get("long_name", values.name)), values.attrs.get("units", "1")
    name = name if len(name) <= 32 else str(values.name).replace("_", " ")
    return name if unit == "1" else f"{name} [{unit}]"


@cache
def color_bytes(name: str) -> bytes:
    """Return 256 colours of a map as red, green, blue."""
    return bytes(colormaps[name](range(256), bytes=True)[:, :3])
