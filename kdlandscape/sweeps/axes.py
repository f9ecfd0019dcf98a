"""The axes of a spec: ranges written out, values of one type, groups that advance together, cells left out."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from kdlandscape.cubes.grid import Grid
from kdlandscape.nearest import did_you_mean, listed, nearest
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.values import python_code

Scalar = bool | int | float | str
_NAMED = (list, tuple, dict, type(None))  # a coordinate of a cube cannot be one of these
LARGEST = 1_000_000  # runs of a study: ten times what one folder of run files has been measured with


def expand(grid: Any) -> tuple[Any, dict[str, list[Any]]]:
    """Write out the axes of a grid.

    An axis is a list of values, ``range: [start, stop, step]`` (stop is left out, as in Python), or a mapping of names
    to values of any kind.  A list with a None, a list or a mapping in it gets names too: how Python spells each value.

    Returns
    -------
    grid
        Coordinates along each axis: its values, or their names; what is no grid comes back as it is.
    dict
        Axis -> its values, where they have names.
    """
    if not isinstance(grid, Mapping):
        return grid, {}
    coords, values = {}, {}
    for name, given in grid.items():
        axis = _without_ranges(name, given)
        if isinstance(axis, Mapping):
            coords[name], values[name] = list(axis), list(axis.values())
        elif isinstance(axis, list) and any(isinstance(one, _NAMED) for one in axis):
            coords[name], values[name] = [one if isinstance(one, str) else python_code(one) for one in axis], axis
        else:
            coords[name] = axis
    return coords, values


def _without_ranges(name: str, axis: Any) -> Any:
    if isinstance(axis, Mapping):
        looks_like_range = len(axis) == 1 and nearest(next(iter(axis)), ["range"])
        return _range(name, dict(axis)) if looks_like_range else axis
    if isinstance(axis, list) and any(isinstance(part, dict) and set(part) == {"range"} for part in axis):
        return [one for part in axis for one in (_range(name, part) if isinstance(part, dict) else [part])]
    return axis


def _range(name: str, value: dict) -> list[Scalar]:
    form = "range: [start, stop] or range: [start, stop, step]"
    bounds = value["range"] if set(value) == {"range"} and isinstance(value["range"], list) else []
    numbers = all(type(bound) in (int, float) and math.isfinite(bound) for bound in bounds)
    if not numbers or not 2 <= len(bounds) <= 3:
        raise SpecError(f"{name}: expected a list of values or {form}, got {value!r}")
    # decimal, so that 0.1 three times is the 0.3 that one would have written
    start, stop, step = (Decimal(repr(bound)) for bound in [*bounds, 1][:3])
    if step == 0:
        raise SpecError(f"{name}: expected a step other than 0 in {form}, got {bounds!r}")
    count = max(0, math.ceil((stop - start) / step))
    if count > LARGEST:
        raise SpecError(f"{name}: expected at most {LARGEST:,} values along an axis, got {count:,}")
    if all(isinstance(bound, int) for bound in bounds):
        return list(range(*bounds))
    return [float(start + i * step) for i in range(count)]


def check_axis(name: str, values: list[Any], *, repeats: bool = False) -> list[Any]:
    """Return an axis with one type of value: a mix of int and float becomes float."""
    if not all(part.isidentifier() for part in name.split(".", 1)):
        raise SpecError(f"grid: expected an axis name that is a Python identifier, got {name!r}")
    if not values:
        raise SpecError(f"{name}: expected an axis with at least one value, got an empty list")
    for value in values:
        _check_value(name, value)
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        values = [float(value) for value in values]
    elif len(kinds) > 1:
        names = listed(sorted(kind.__name__ for kind in kinds))
        raise SpecError(f"{name}: expected values of one type along an axis, got {names} in {values!r}")
    seen = set()
    for value in values:
        if value in seen and not repeats:
            raise SpecError(f"{name}: expected each value once along an axis, got {value!r} again")
        seen.add(value)
    return values


def _check_value(name: str, value: Any) -> None:
    if not isinstance(value, Scalar):
        raise SpecError(
            f"{name}: expected numbers, texts or booleans along an axis, or values with names such as "
            f"{name}: {{small: [1, 2], none: null}}, got {value!r}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(
            f"{name}: expected finite values along an axis, got {value!r}; as a value with a name it is fine: "
            f"{name}: {{none: .{value}}}"
        )
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        bits = value.bit_length()
        raise SpecError(f"{name}: expected 64-bit integers along an axis, got one of {bits} bits")
    if isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
        raise SpecError(f"{name}: expected texts that netCDF can hold (no NUL, no lone surrogate), got {value!r}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_size(axes: Grid) -> None:
    """Refuse more runs than a study can have, before anything is done with each of them."""
    for name, values in axes.values.items():
        if len(values) > LARGEST:
            raise SpecError(f"{name}: expected at most {LARGEST:,} values along an axis, got {len(values):,}")
    count = math.prod(axes.shape)
    if count > LARGEST:
        raise SpecError(
            f"grid: expected at most {LARGEST:,} runs, got {_short(count)}; vectorize an axis, or make several studies"
        )


def check_axes(grid: Mapping[str, list], parameters: Mapping[str, Any], axes: Grid) -> None:
    """Check what a spec says about its axes as a whole."""
    if not grid:
        raise SpecError("grid: expected at least one axis, got an empty grid")
    for name in grid:
        if name in parameters:
            raise SpecError(f"{name}: expected it in grid or in parameters, got it in both")
    _check_names("vectorize", axes.vectorize, grid)
    outer = [name for name in grid if name not in axes.vectorize]
    _check_names("zip", [name for group in axes.zip for name in group], outer)
    for group in axes.zip:
        lengths = {name: len(grid[name]) for name in group}
        if len(group) < 2 or len(set(lengths.values())) > 1:
            raise SpecError(f"zip: expected groups of at least two axes of equal length, got {lengths}")
    _check_exclude(axes, {name: grid[name] for name in outer})
    if next(axes.cells(), None) is None:
        raise SpecError("exclude: expected at least one run to be left, got none")


def _check_names(key: str, names: Sequence[str], valid: Sequence[str] | Mapping[str, Any]) -> None:
    for name in names:
        if name not in valid:
            some = "axes of the grid" if key == "vectorize" else "axes of the grid that are not vectorized"
            raise SpecError(f"{key}: expected {some} ({listed(valid)}), got {name!r}.{did_you_mean(name, valid)}")
    if len(set(names)) < len(names):
        raise SpecError(f"{key}: expected each axis once, got {list(names)!r}")


def _check_exclude(axes: Grid, outer: Mapping[str, list]) -> None:
    for rule in axes.exclude:
        if not rule:
            raise SpecError("exclude: expected axes with values in each entry, got an empty one")
        _check_names("exclude", list(rule), outer)
        for name, value in rule.items():
            for one in value if isinstance(value, list) else [value]:
                if one not in outer[name]:
                    hint = did_you_mean(str(one), map(str, outer[name]))
                    raise SpecError(f"exclude: expected values of the axis {name}, got {one!r}.{hint}")


def _short(count: int) -> str:
    return f"{count:,}" if count < 10**15 else f"about 10^{len(str(count)) - 1}"
