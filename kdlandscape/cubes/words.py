"""Labels of data in words, as figures, sliders and readouts show them; and what kind of dim an axis is."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

#: Dims that repeat the same measurement: their mean and spread are of interest, and nothing lies between two of them.
REPEATS = ("seed", "repeat", "replicate", "fold", "draw")
MAX_NAME = 48
MAX_SYMBOL = 22  # letters beside a slider


def visible(text: object) -> str:
    """Return a text with a mark for each character that is no sign: line breaks, controls, changes of direction.

    Such a character could hide or turn round the words beside it.
    """
    return "".join(sign if sign.isprintable() else "�" for sign in str(text))


def readable(name: object) -> str:
    """Return a name of a program as words."""
    return visible(name).replace("_", " ")


def dim_symbol(data: xr.Dataset | xr.DataArray, dim: str) -> str:
    """Return the symbol of a dim where its coordinate has one, else its long name if that is short, else its name."""
    attrs = data[dim].attrs if dim in data.coords else {}
    words = visible(attrs.get("symbol") or attrs.get("long_name") or readable(dim))
    return words if "symbol" in attrs or len(words) <= MAX_SYMBOL else readable(dim)


def dim_label(data: xr.Dataset | xr.DataArray, dim: str, unit: str = "") -> str:
    """Return the label of an axis, "long name, symbol [unit]", from the attributes of the coordinate.

    ``unit`` is the unit that holds where the coordinate has none.
    """
    attrs = data[dim].attrs if dim in data.coords else {}
    symbol, name = dim_symbol(data, dim), visible(attrs.get("long_name") or readable(dim))
    words = name if symbol in (name, readable(dim), *name.split()) else f"{name}, {symbol}"
    return with_unit(words, visible(attrs.get("units") or unit))


def variable_words(array: xr.DataArray | xr.Variable, name: Any = "") -> str:
    """Return the long name of a variable, or its name in words."""
    return visible(array.attrs.get("long_name") or readable(getattr(array, "name", None) or name or "value"))


def variable_label(array: xr.DataArray | xr.Variable, name: Any = "") -> str:
    """Return "long name [unit]" of a variable; its name in words where it has no long name."""
    return with_unit(variable_words(array, name), unit_of(array))


def short_words(array: xr.DataArray | xr.Variable) -> str:
    """Return the long name up to where it says of which plane or path; the name in words if that is still too long."""
    words = variable_words(array)
    for place in (" on the ", " along the "):
        words = words.split(place)[0]
    return words if len(words) <= MAX_NAME else readable(getattr(array, "name", None) or words)


def short_label(array: xr.DataArray | xr.Variable) -> str:
    """Return "name [unit]" for an axis or a colour bar."""
    return with_unit(short_words(array), unit_of(array))


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


def cell_words(data: xr.Dataset | xr.DataArray, cell: Mapping[str, Any]) -> str:
    """Return coordinates in words, such as ``seed = 0, λ = 0.25``."""
    return ", ".join(f"{dim_symbol(data, dim)} = {value_words(value)}" for dim, value in cell.items())


def kind(data: xr.Dataset | xr.DataArray, dim: str) -> str:
    """Return ``continuous``, ``ordered``, ``category`` or ``repeat``.

    Only along a continuous dim there are values between two places: colours and contours are interpolated there alone.
    An ordered dim (whole numbers, dates) has neighbours, so a line may join them; a category (words, truth values) and
    a repeat (seeds) have none. The attribute ``kind`` of a coordinate overrides what its name and type say.
    """
    coordinate = data[dim] if dim in data.coords else None
    given = None if coordinate is None else coordinate.attrs.get("kind")
    if given in ("continuous", "ordered", "category", "repeat"):
        return str(given)
    if dim in REPEATS or dim.endswith("_seed"):
        return "repeat"
    if coordinate is None or coordinate.dtype.kind in "iumM":
        return "ordered"
    return "continuous" if coordinate.dtype.kind == "f" else "category"
