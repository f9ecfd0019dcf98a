"""What the board draws, panel by panel: plain dictionaries of numbers, texts and one array of bytes."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.cubes.words import dim_label, dim_symbol, kind, short_label, value_words
from kdlandscape.widgets.dims import positions
from kdlandscape.widgets.variable_list import coordinate

#: The colour-blind-safe palette that seaborn calls "colorblind"; every line also has its own dash and marker.
PALETTE = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161")
SYMBOLS = {"teacher": "star", "init": "square", "student": "circle"}
OTHERS = ("circle", "diamond", "triangle")
DIFFERENCE = "PuOr_r"

Panel = dict[str, Any]
Axis = dict[str, Any]


def axis(values: xr.DataArray, dim: str, unit: str = "", *, blocks: bool = False) -> Axis:
    """Return an axis: its label, the place of every grid point, and text and value for each place that is no number.

    Parameters
    ----------
    values, dim
        What is drawn, and the dim along the axis.
    unit
        The unit that holds where the coordinate has none.
    blocks
        Whether the places are drawn as blocks of one size, each with its text.
    """
    what, places = kind(values, dim), positions(values, dim)
    smooth = what == "continuous"
    text = not smooth and (blocks or dim not in values.coords or values[dim].dtype.kind not in "iuf")
    labels = [value_words(value) for value in coordinate(values, dim)] if text else None
    numbers = places.tolist() if labels else None
    if labels:
        places = np.arange(len(labels), dtype=float)
    positive = places.size > 2 and bool((places > 0).all())
    ratios = np.diff(np.log(places)) if positive else np.zeros(1)
    # Places that keep a ratio instead of a distance are readable on a logarithmic axis only.
    log = bool(not labels and positive and places.max() / places.min() > 30 and (ratios > 0.3).all())
    joined = what in ("continuous", "ordered")
    return {
        "name": dim_label(values, dim, unit),
        "short": dim_symbol(values, dim),
        "places": places.tolist(),
        "labels": labels,
        "values": numbers,
        "smooth": smooth,
        "joined": joined,
        "log": log,
        "dim": dim,
    }


def plain_axis(name: str, places: Sequence[float] | np.ndarray = (), *, dim: str = "", log: bool = False) -> Axis:
    """Return an axis of numbers that belongs to no dim of a cube."""
    held = np.asarray(places, float).tolist()
    return {
        "name": name,
        "short": name,
        "places": held,
        "labels": None,
        "smooth": True,
        "joined": True,
        "log": log,
        "dim": dim,
    }


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
    line: Sequence[Sequence[float]] | None = None,
    readout: str = "",
) -> Panel:
    """Return a panel of a surface from above: colours, contours, marks, the chosen point and a labelled colour bar.

    ``marks``, ``point`` and the two ends of ``line`` are in the places of the axes.
    """
    low, high = widen(limits, log)
    levels = np.geomspace(low, high, 11)[1:-1] if log else np.linspace(low, high, 11)[1:-1]
    smooth = axes[0]["smooth"] and axes[1]["smooth"]
    return {
        "kind": "plane",
        "title": title,
        "label": short_label(values),
        "z": np.ascontiguousarray(values.values, "<f4").tobytes(),
        "limits": [low, high],
        "levels": levels.tolist() if smooth else [],
        "log": log,
        "map": colors,
        "colors": color_bytes(colors),
        "x": axes[0],
        "y": axes[1],
        "smooth": smooth,
        "square": {axes[0]["dim"], axes[1]["dim"]} == {"x", "y"},
        "marks": [{**mark, "symbol": SYMBOLS.get(str(mark["name"]), OTHERS[i % 3])} for i, mark in enumerate(marks)],
        "point": list(point) if point is not None else None,
        "line": [list(end) for end in line] if line else None,
        "readout": readout,
        "pick": "point",
    }


def from_side(plane: Panel) -> Panel:
    """Return a panel of the same surface from the side."""
    title = "from the side, log height" if plane["log"] else "from the side"
    turn = "drag or arrow keys turn, wheel or + and − zoom, 0 resets"
    return {**plane, "kind": "surface", "title": title, "readout": turn}


def lines_panel(
    lines: Sequence[Panel],
    *,
    title: str,
    x: Axis,
    label: str,
    log: bool = False,
    limits: tuple[float, float] | None = None,
    at: float | None = None,
    pick: str = "",
    repeat: str = "",
) -> Panel:
    """Return a panel of lines.

    ``limits`` are those of the vertical axis, ``at`` marks the present place, ``pick`` names what a click chooses, and
    ``repeat`` is the dim that a click on one of the thin lines chooses a place of.
    """
    positive = [value for one in lines for value in one["y"] if value is not None and value > 0]
    return {
        "kind": "lines",
        "title": title,
        "x": x,
        "label": label,
        "lines": list(lines),
        "log": log and bool(positive),
        "limits": list(limits) if limits and np.isfinite(limits).all() else None,
        "at": at,
        "pick": pick,
        "repeat": repeat,
        "readout": "",
    }


def line(
    name: str, x: np.ndarray, y: np.ndarray, style: int = 0, *, role: str = "run", run: int = -1, joined: bool = True
) -> Panel:
    """Return one line; what is not finite becomes a gap.

    ``role`` is ``run`` (of the present cell), ``thin`` (of another repeat), ``mean`` or ``stems``; ``style`` chooses
    colour, dash and marker; ``run`` is the position of its repeat.
    """
    found = {"name": name, "x": np.asarray(x, float).tolist(), "y": gaps(y), "style": style, "color": color_of(style)}
    return {**found, "role": role, "run": run, "joined": joined}


def color_of(style: int) -> str:
    """Return the colour of a line."""
    return PALETTE[style % len(PALETTE)]


def gaps(values: np.ndarray) -> list[float | None]:
    """Return numbers with None for what is not finite, as JSON needs."""
    return [float(value) if np.isfinite(value) else None for value in np.asarray(values, float)]


def message_panel(title: str, text: str) -> Panel:
    """Return a panel that says what is missing."""
    return {"kind": "message", "title": title, "text": text}


def widen(limits: tuple[float, float], log: bool) -> tuple[float, float]:
    """Return limits that are apart, for a surface that is flat."""
    low, high = limits
    if high > low:
        return low, high
    return (low / 1.1, high * 1.1) if log else (low - 0.5, high + 0.5)


def numbers(panel: Panel) -> np.ndarray:
    """Return the values of a surface over (y, x)."""
    return np.frombuffer(panel["z"], "<f4").reshape(len(panel["y"]["places"]), len(panel["x"]["places"]))


def data_of(panel: Panel) -> xr.Dataset:
    """Return what a panel shows: a surface over ``y, x``, lines over ``line, place``, or the edges of a graph."""
    if panel["kind"] == "graph":
        between = [[panel["nodes"][edge[end]]["name"] for edge in panel["edges"]] for end in ("from", "to")]
        values = variable("edge", [edge["value"] for edge in panel["edges"]], panel["label"])
        ends = {"first": variable("edge", between[0], "network"), "second": variable("edge", between[1], "network")}
        return dataset({"value": values}, coords=ends)
    if panel["kind"] != "lines":
        axes = {name: panel[name] for name in "yx"}
        coords = {
            name: variable(name, axis["labels"] or axis["places"], axis["name"], axis=axis["dim"])
            for name, axis in axes.items()
        }
        return dataset({"value": variable(("y", "x"), numbers(panel), panel["label"])}, coords=coords)
    longest = max((len(line["x"]) for line in panel["lines"]), default=0)
    table = np.full((2, len(panel["lines"]), longest), np.nan)
    for i, one in enumerate(panel["lines"]):
        for k, name in enumerate("xy"):
            table[k, i, : len(one[name])] = [np.nan if value is None else value for value in one[name]]
    names = [one["name"] or (f"repeat {one['run']}" if one["role"] == "thin" else "mean") for one in panel["lines"]]
    return dataset(
        {
            "x": variable(("line", "place"), table[0], panel["x"]["name"]),
            "y": variable(("line", "place"), table[1], panel["label"]),
        },
        coords={"line": names},
    )


@cache
def color_bytes(name: str) -> bytes:
    """Return 256 colours of a map as red, green, blue."""
    return bytes(colormaps[name](range(256), bytes=True)[:, :3])
