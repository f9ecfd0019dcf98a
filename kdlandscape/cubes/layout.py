"""How the results of runs are laid out, which of them agree, and which runs are therefore left out of a cube."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kdlandscape.cubes.grid import Grid
from kdlandscape.cubes.runfile import Array, RunFile
from kdlandscape.cubes.schema import is_large, is_text

JOINS = ("exact", "outer", "pad")
_KINDS = {"M": "dates", "m": "durations"}
#: what is compared -> how a difference is told; places along joined dims are not compared
_TELL = {
    "size": "expected {a} values along {name} as in {source}, got {b}",
    "coordinate": "expected the values of {name} that {source} has, got others",
    "over": "expected {name} over {a} as in {source}, got it over {b}",
    "kind": "expected {a} in {name} as in {source}, got {b}",
    "numbers": "expected {a} in {name} as in {source}, got {b}",
    "units": "expected {name} in {a} as in {source}, got {b}",
}
_WAYS = {
    "size": "join: pad or join: outer in the spec keeps runs of other lengths",
    "coordinate": "join: outer (by value) or join: pad (by position) in the spec keeps them",
    "units": "let every run give it in the same units",
}
Layout = dict[str, str]


def is_cell(name: str, array: Array, run: RunFile, grid: Grid, join: str) -> bool:
    """Whether a variable belongs to the cell of its run, and not to all runs alike.

    What the run's place gives dims to does, and a coordinate without dims, which is a fact of its run. Where all axes
    are inside the one run, coordinates with dims do not.
    """
    if not grid.outer:
        return not array.dims or name not in run.coords
    if set(grid.outer) <= set(array.dims) or not array.dims:
        return True
    return join != "exact" and name not in array.dims and bool(set(array.dims) & joinable(run, grid))


def joinable(run: RunFile, grid: Grid) -> set[str]:
    """Return the inner dims of a run along which other runs may have other places: those with a coordinate."""
    dims = {dim for array in run.variables.values() for dim in array.dims} - set(grid.values)
    return {dim for dim in dims if dim in run.variables and run.variables[dim].dims == (dim,)}


def layout_of(run: RunFile, grid: Grid, join: str) -> Layout:
    """Return the layout of a run: what has to be the same in all runs of a cube, by kind and name."""
    found: Layout = {}
    joined = set() if join == "exact" else joinable(run, grid)
    for name, array in run.variables.items():
        if name in grid.values:
            continue
        for dim, size in zip(array.dims, array.values.shape, strict=True):
            if dim not in (*grid.outer, *joined):
                found[f"size {dim}"] = str(size)
        if is_cell(name, array, run, grid, join):
            found[f"over {name}"] = ", ".join(sorted(set(array.dims) - set(grid.outer))) or "no dims of its own"
            found |= _values_of(name, array)
        elif name in joined:
            found[f"places {name}"] = json.dumps(_plain(array.values).tolist())
            found[f"kind {name}"] = _kind(array.values)
        else:
            facts = [array.dims, _plain(array.values).tolist()]
            found[f"coordinate {name}"] = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        found[f"units {name}"] = str(array.attrs.get("units", "no units"))
    return found


def _values_of(name: str, array: Array) -> Layout:
    found = {f"kind {name}": _kind(array.values)}
    if array.values.dtype.kind == "f":
        found[f"numbers {name}"] = "floating-point numbers"
    elif is_large(array.values):
        found[f"numbers {name}"] = "integers beyond 2**53"
    return found


def _kind(values: np.ndarray) -> str:
    return "texts" if is_text(values) else _KINDS.get(values.dtype.kind, "numbers")


def _plain(values: np.ndarray) -> np.ndarray:
    """Return values that JSON can hold: dates and durations as integers."""
    return values.view("i8") if values.dtype.kind in "mM" else values


def signature(layout: Layout) -> str:
    """Return a short name of a layout."""
    return hashlib.sha256(json.dumps(layout, sort_keys=True).encode()).hexdigest()[:16]


def disagreements(layouts: Mapping[str, Layout], runs: Mapping[str, str]) -> dict[str, str]:
    """Return the layouts that do not go into one cube with those that most runs have, each with the reason.

    Parameters
    ----------
    layouts
        Signature -> layout.
    runs
        Run file -> signature. The order of the files does not matter.
    """
    counts = Counter(runs.values())
    first: dict[str, str] = {}
    for file in sorted(runs):
        first.setdefault(runs[file], file)
    agreed: dict[str, tuple[str, str]] = {}
    reasons = {}
    for name in sorted(counts, key=lambda name: (-counts[name], first[name])):
        layout = {key: value for key, value in layouts[name].items() if not key.startswith("places ")}
        keys = sorted(layout, key=lambda key: (not key.startswith("size "), key))  # a length says more than its values
        odd = next((key for key in keys if agreed.get(key, (layout[key], ""))[0] != layout[key]), None)
        if odd is not None:
            reasons[name] = _told(odd, agreed[odd], layout[odd])
            continue
        for key, value in layout.items():
            agreed.setdefault(key, (value, first[name]))
    return reasons


def _told(key: str, agreed: tuple[str, str], own: str) -> str:
    kind, _, name = key.partition(" ")
    value, source = agreed
    way = _WAYS.get(kind, "")
    end = "it is left out" + (f" ({way})" if way else "")
    return f"{_TELL[kind].format(name=name, source=source, a=value, b=own)}; {end}"


def joined_places(layouts: Iterable[Layout], join: str) -> dict[str, np.ndarray]:
    """Return the coordinate in the cube of every dim along which runs may have other places.

    With ``outer`` all values that any run has, in order; with ``pad`` those of the longest run, if all others begin
    alike, or else positions from 0 on.
    """
    places: dict[str, list[list[Any]]] = {}
    kinds: dict[str, str] = {}
    for layout in layouts:
        for key, text in layout.items():
            if key.startswith("places "):
                name = key.partition(" ")[2]
                places.setdefault(name, []).append(json.loads(text))
                kinds[name] = layout[f"kind {name}"]
    return {name: _joined(found, join, kinds[name]) for name, found in places.items()}


def _joined(found: Sequence[list[Any]], join: str, kind: str) -> np.ndarray:
    if join == "outer":
        values = list(dict.fromkeys(value for own in found for value in own))
        same = all(own == values[: len(own)] for own in found)
        values = values if kind == "texts" or same else sorted(values)
    else:
        values = max(found, key=len)
        if any(own != values[: len(own)] for own in found):
            return np.arange(len(values))
    if kind == "texts":
        return np.array(values, object)
    times = {"dates": "M8[ns]", "durations": "m8[ns]"}
    return np.array(values, "i8").view(times[kind]) if kind in times else np.array(values)


def at_places(
    values: np.ndarray,
    dims: Sequence[str],
    run: RunFile,
    places: Mapping[str, np.ndarray],
    join: str,
    holes: np.ndarray,
) -> np.ndarray:
    """Put the values of a run where its own places are among those of the cube, into an array of holes."""
    index = []
    for dim, size in zip(dims, values.shape, strict=True):
        own = np.arange(size)
        if dim in places and join == "outer":
            known = {place: i for i, place in enumerate(places[dim].tolist())}
            own = np.array([known[place] for place in run.variables[dim].values.tolist()])
        index.append(own)
    holes[np.ix_(*index)] = values
    return holes
