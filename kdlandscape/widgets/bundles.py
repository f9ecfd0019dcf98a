"""From a variable along a dim to lines: one for each place of its hue, with the spread over its repeats."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import xarray as xr

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.cubes.words import dim_symbol, kind, number_words, short_words, unit_of, value_words
from kdlandscape.widgets import panels
from kdlandscape.widgets.dims import positions
from kdlandscape.widgets.panels import Panel
from kdlandscape.widgets.selection import Limits, Lines
from kdlandscape.widgets.variable_list import coordinate

#: Where the label of a variable says which networks are at the ends of its path.
_ENDS = re.compile(r"(?:from|to) (?:the )?([\w -]+?) \(t = ([01])\)")

#: With more lines than this in a panel their bands would hide each other, so only the present cell is drawn.
MAX_SPREAD = 4


def bundle(group: Sequence[Lines]) -> list[Panel]:
    """Return the lines of variables that share a panel.

    A variable with repeats gives a thin line for each, their mean with its 95 % t interval, and the line of the present
    cell on top; with fewer than two repeats present there is only that line.
    """
    made: list[Panel] = []
    style = -1
    named = [_hues(held, alone=len(group) == 1) for held in group]
    roomy = sum(map(len, named)) <= MAX_SPREAD
    for held, names in zip(group, named, strict=True):
        x, joined = positions(held.values, held.x), kind(held.values, held.x) in ("continuous", "ordered")
        table = _table(held)
        bounds = _intervals(table.tobytes(), table.shape) if held.repeat and roomy else None
        for i, name in enumerate(names):
            first, style = len(made), style + 1
            if bounds is not None:
                made += _spread(held, table[i], x, {end: every[i] for end, every in bounds.items()})
            own = table[i, held.here if held.repeat else 0]
            made += [panels.line(name, x, own, run=held.here)] if np.isfinite(own).any() else []
            for line in made[first:]:
                line |= {"style": style, "color": panels.color_of(style), "joined": joined}
    order = {"thin": 0, "mean": 1, "run": 2}
    return sorted(made, key=lambda line: order[line["role"]])


@lru_cache(512)
def _intervals(table: bytes, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return mean and bounds over (hue, x) of values over (hue, repeat, x), which most steps of a slider ask again."""
    values = xr.DataArray(np.frombuffer(table).reshape(shape), dims=("hue", "run", "x"))
    found = t_interval(values, "run")
    return {end: found[end].values for end in ("mean", "low", "high")}


def _table(held: Lines) -> np.ndarray:
    """Return the values over (hue, repeat, x), with one place where there is no such dim."""
    dims = [dim for dim in (held.hue, held.repeat, held.x) if dim]
    sizes = [held.values.sizes[dim] if dim else 1 for dim in (held.hue, held.repeat, held.x)]
    return held.values.transpose(*dims).values.reshape(sizes)


def _spread(held: Lines, runs: np.ndarray, x: np.ndarray, bounds: Mapping[str, np.ndarray]) -> list[Panel]:
    """Return a thin line for each repeat but the present one, and their mean with its interval."""
    present = np.flatnonzero(np.isfinite(runs).any(1)).tolist()
    if len(present) < 2:
        return []
    thin = [panels.line("", x, runs[i], role="thin", run=i) for i in present if i != held.here]
    mean = panels.line("", x, bounds["mean"], role="mean")
    return [*thin, {**mean, "low": panels.gaps(bounds["low"]), "high": panels.gaps(bounds["high"])}]


def limits_of(group: Sequence[Lines]) -> Limits:
    """Return limits that hold all variables of a panel at every cell of the story."""
    known = [held.limits for held in group if held.limits is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def repeat_of(group: Sequence[Lines]) -> str:
    """Return the dim whose places are the thin lines of a panel; empty if there is none."""
    return next((held.repeat for held in group if held.repeat), "")


def _hues(held: Lines, *, alone: bool) -> list[str]:
    """Return a name for each place of the hue; the variable's words where there is none."""
    words = short_words(held.values)
    if not held.hue:
        return [words]
    joint = ": " if kind(held.values, held.hue) == "category" else " = "
    texts = [value_words(value) for value in coordinate(held.values, held.hue)]
    names = [f"{dim_symbol(held.values, held.hue)}{joint}{text}" for text in texts]
    return names if alone else [f"{words} ({name})" for name in names]


def barrier_marks(held: Lines) -> dict[str, object]:
    """Return what marks a barrier on a path: the names of its ends, and for one loss its chord and bracket."""
    ends = {place: name for name, place in _ENDS.findall(str(held.values.attrs.get("long_name", "")))}
    part = held.values.isel({held.repeat: held.here}) if held.repeat else held.values
    return {"ends": [ends.get("0", ""), ends.get("1", "")], **({} if held.hue else chord_of(part, held.x))}


def chord_of(part: xr.DataArray, along: str) -> dict[str, object]:
    r"""Return the chord between the ends of a loss on a path, and the bracket of its barrier; nothing for no loss.

    The barrier is :math:`\max_t \ell(t) - ((1 - t)\,\ell(0) + t\,\ell(1))`, the height above the chord.
    """
    t, loss = positions(part, along), part.values
    rises = any(word in str(part.name) for word in ("loss", "kl", "nll"))
    if not rises or loss.ndim != 1 or not np.isfinite(loss[[0, -1]]).all() or t[0] == t[-1]:
        return {}
    chord = np.interp(t, t[[0, -1]], loss[[0, -1]])
    top = int(np.nanargmax(loss - chord))
    text = f"barrier {number_words(float(loss[top] - chord[top]), unit_of(part))}"
    return {
        "chord": [float(t[0]), float(loss[0]), float(t[-1]), float(loss[-1])],
        "bracket": {"x": float(t[top]), "low": float(chord[top]), "high": float(loss[top]), "text": text},
    }
