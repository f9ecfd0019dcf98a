"""Words, units and symbols for what an explorer shows.  They come from the labels of the data."""

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

#: Symbols of this package's own parameters, for a cube whose coordinates carry no ``symbol``.
SYMBOLS = {"init_lambda": "λ", "temperature": "τ"}
#: What a variable is about, in the order of the list; what only says how good another number is comes last.
SUBJECTS = ("surface", "path", "spectrum", "number", "error or diagnostic")
_DIAGNOSTIC = ("_sem", "_error", "_errors", "residuals", "converged", "_truncation", "num_matvecs", "finite")
MAX_NAME = 48


def visible(text: object) -> str:
    """Return a text with a mark for each character that is no sign: line breaks, controls, changes of direction.

    Such a character could hide or turn round the words beside it.
    """
    return "".join(sign if sign.isprintable() else "�" for sign in str(text))


def readable(name: object) -> str:
    """Return a name of a program as words."""
    return visible(name).replace("_", " ")


def dim_symbol(cube: xr.Dataset | xr.DataArray, dim: str) -> str:
    """Return the symbol of a dim where its coordinate has one, else its name in words; short enough for a slider."""
    given = cube[dim].attrs.get("symbol") if dim in cube.coords else None
    return visible(given or SYMBOLS.get(dim) or readable(dim))


def dim_label(cube: xr.Dataset | xr.DataArray, dim: str, unit: str = "") -> str:
    """Return the label of an axis, "long name, symbol [unit]", from the attributes of the coordinate.

    ``unit`` is the unit that holds where the coordinate has none.
    """
    attrs = cube[dim].attrs if dim in cube.coords else {}
    symbol, name = dim_symbol(cube, dim), visible(attrs.get("long_name") or readable(dim))
    words = name if symbol in (name, readable(dim)) or symbol in name.split() else f"{name}, {symbol}"
    return with_unit(
        symbol if dim in SYMBOLS and "long_name" not in attrs else words, visible(attrs.get("units") or unit)
    )


def variable_label(array: xr.DataArray | xr.Variable, name: Any = "") -> str:
    """Return "long name [unit]" of a variable; its name in words where it has no long name."""
    return with_unit(variable_words(array, name), unit_of(array))


def short_label(array: xr.DataArray | xr.Variable) -> str:
    """Return "name [unit]" for an axis or a colour bar."""
    return with_unit(short_words(array), unit_of(array))


def short_words(array: xr.DataArray | xr.Variable) -> str:
    """Return the long name up to where it says of which plane or path; the name in words if that is still too long."""
    words = variable_words(array)
    for place in (" on the ", " along the "):
        words = words.split(place)[0]
    return words if len(words) <= MAX_NAME else readable(getattr(array, "name", None) or words)


def variable_words(array: xr.DataArray | xr.Variable, name: Any = "") -> str:
    """Return the long name of a variable, or its name in words."""
    return visible(array.attrs.get("long_name") or readable(getattr(array, "name", None) or name or "value"))


def unit_of(array: xr.DataArray | xr.Variable) -> str:
    """Return the unit of a variable; empty where it has no dimension."""
    unit = visible(array.attrs.get("units", "1"))
    return "" if unit in ("1", "") else unit


def with_unit(words: str, unit: Any) -> str:
    """Return "words [unit]", or the words alone where there is no unit."""
    return words if str(unit) in ("", "1") else f"{words} [{unit}]"


def number_words(value: float, unit: str = "") -> str:
    """Return a number with its unit, or say that there is none."""
    if value != value:
        return "missing (NaN)"
    return f"{value:.4g}{f' {unit}' if unit else ''}" if abs(value) != float("inf") else "infinite"


def value_words(value: Any) -> str:
    """Return a coordinate as text."""
    return f"{value:.6g}" if isinstance(value, float) else visible(value)


def coordinate(cube: xr.Dataset | xr.DataArray, dim: str) -> list[Any]:
    """Return the coordinates of a dim, or its positions where it has none."""
    if dim not in cube.coords:
        return list(range(cube.sizes[dim]))
    values = cube[dim]
    return values.values.astype(str).tolist() if values.dtype.kind in "mM" else values.values.tolist()


def cell_words(cube: xr.Dataset, at: Mapping[str, int], dims: Sequence[str]) -> str:
    """Return a cell in words, such as ``seed = 0, λ = 0.25``."""
    return ", ".join(f"{dim_symbol(cube, dim)} = {value_words(coordinate(cube, dim)[at[dim]])}" for dim in dims)


def subject(array: xr.Variable | xr.DataArray, name: str) -> str:
    """Return what a variable is about, one of `SUBJECTS`."""
    words = str(array.attrs.get("long_name", ""))
    if name.endswith(_DIAGNOSTIC) or words.startswith(("standard error", "bound on", "expected error of the eigen")):
        return SUBJECTS[4]
    if {"x", "y"} <= set(array.dims):
        return SUBJECTS[0]
    if "t" in array.dims:
        return SUBJECTS[1]
    return SUBJECTS[2] if {"eigenvalue", "grid", "z"} & set(array.dims) or "trace" in name else SUBJECTS[3]


def variable_list(cube: xr.Dataset, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return (words, name) of variables for a list, grouped by subject; words that two share get the name too."""
    words = {name: variable_words(cube.variables[name], name) for name in names}
    shared = list(words.values())
    about = {name: subject(cube.variables[name], name) for name in names}
    return [
        (f"{about[name]}: {words[name]}{f' ({visible(name)})' if shared.count(words[name]) > 1 else ''}", name)
        for name in sorted(names, key=lambda name: SUBJECTS.index(about[name]))
    ]
