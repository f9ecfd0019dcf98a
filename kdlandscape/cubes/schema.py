"""What a dataset must be to go into a cube: named dims with coordinates, labelled variables, plain types."""

import unicodedata
from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.nearest import did_you_mean, listed

SCHEMA = 2  #: the version of what this package writes into the files of a study; it reads every version up to this one
RUN = "run."  #: what a run's own facts begin with, in names of variables and attributes; no axis can be called so
DONE, PLANNED = f"{RUN}done", f"{RUN}planned"  #: in a cube: which cells a run has filled, and which one should
MOST_DIMS = 32  #: dims of one variable, those between the runs included: HDF5 can hold no more
_EXACT = 2**53  # the largest integer up to which floats hold every one
_LONGEST = 250  # bytes of a name
# What readers of netCDF take as an instruction how to read the numbers, and what HDF5 keeps for itself.
_RESERVED_ATTRS = {
    *("_FillValue", "missing_value", "scale_factor", "add_offset", "dtype", "coordinates", "calendar", "_Unsigned"),
    *("_Encoding", "CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS"),
}


class SchemaError(ValueError):
    """A dataset cannot go into a cube as it is."""


def check(dataset: xr.Dataset, axes: Collection[str] = (), outer: int = 0) -> None:
    """Raise SchemaError, listing everything at once, unless a dataset can go into a cube.

    Parameters
    ----------
    dataset
        Every dim needs a coordinate of unique, finite values; every data variable ``long_name`` and ``units`` ("1"
        if dimensionless; dates and durations have none) and a type that merges by value: booleans, integers, real
        numbers, texts, dates, durations.
    axes
        Dims that have to be there.
    outer
        How many more dims a run's place in the grid gives to each variable.
    """
    problems = [] if dataset.data_vars else ["expected at least one data variable, got none"]
    for axis in axes:
        if axis not in dataset.dims:
            problems.append(f"{axis}: expected this dim, got {listed(dataset.dims)}.{did_you_mean(axis, dataset.dims)}")
    for dim in dataset.dims:
        problems += _dim_problems(dataset, str(dim), axes)
    problems += _attr_problems("the dataset", dataset.attrs, reserved=set())
    for name, variable in dataset.variables.items():
        problems += _name_problems(name)
        if name in dataset.coords and " " in str(name):
            problems.append(f"{name}: expected no space in the name of a coordinate, got one; rename it")
        problems += _attr_problems(str(name), variable.attrs, _RESERVED_ATTRS)
        problems += _variable_problems(str(name), variable, outer)
        if name in dataset.data_vars:
            problems += _label_problems(str(name), variable)
    if problems:
        raise SchemaError("\n".join(dict.fromkeys(problems)))


def without_facts(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset without the facts of the runs that it was computed from: they are not those of this run."""
    names = [name for name in dataset.coords if str(name).startswith(RUN)]
    dataset = dataset.drop_vars([*names, *(name for name in (DONE, PLANNED) if name in dataset)])
    dataset.attrs = {key: value for key, value in dataset.attrs.items() if not str(key).startswith(RUN)}
    return dataset


def is_text(array: np.ndarray) -> bool:
    """Whether an array holds strings, whichever way numpy stores them."""
    if array.dtype.kind == "O":
        return all(isinstance(value, str) for value in array.ravel())
    return array.dtype.kind in "UT"


def is_large(values: np.ndarray) -> bool:
    """Whether an array holds integers that floats cannot tell apart."""
    return values.dtype.kind in "iu" and values.size > 0 and bool((np.abs(values.astype(object)) > _EXACT).any())


def _dim_problems(dataset: xr.Dataset, dim: str, axes: Collection[str]) -> list[str]:
    if dim not in dataset.coords:
        hint = did_you_mean(dim, {*axes, *map(str, dataset.coords)})
        return [f"{dim}: expected a coordinate for every dim, got none for this one.{hint}"]
    if dim in dataset.indexes and dataset.indexes[dim].nlevels > 1:
        return [f"{dim}: expected one value at each place, got an index of several levels; use reset_index({dim!r})"]
    values = dataset[dim].values
    kind = values.dtype.kind
    if not len(values):
        return [f"{dim}: expected at least one place along each dim, got none; leave out what has no values"]
    if kind == "O" and not is_text(values):
        odd = next(value for value in values if not isinstance(value, str))
        return [f"{dim}: expected numbers or texts as coordinate, got {odd!r} ({type(odd).__name__})"]
    if kind == "c":
        return [f"{dim}: expected real numbers as coordinate, got {values.dtype}"]
    if kind == "f" and not np.isfinite(values).all():
        return [f"{dim}: expected finite values as coordinate, got {values[~np.isfinite(values)][0]}"]
    if kind in "mM" and np.isnat(values).any():
        return [f"{dim}: expected a date at each place of a coordinate, got NaT"]
    unique, counts = np.unique(values.astype(str) if is_text(values) else values, return_counts=True)
    if (counts > 1).any():
        return [f"{dim}: expected each coordinate value once, got {unique[counts > 1][0]!r} {counts.max()} times"]
    return []


def _name_problems(name: Hashable) -> list[str]:
    if not isinstance(name, str):
        return [f"{name!r}: expected a text as the name of a variable, got {type(name).__name__}"]
    if name.startswith(RUN):
        return [f"{name}: expected no name that starts with {RUN!r}, which marks what belongs to the run; rename it"]
    why = _unfit(name)
    return [f"{name!r}: expected a name that netCDF can hold, got {why}; rename it"] if why else []


def _unfit(name: str) -> str:
    """Say why netCDF cannot hold a name; empty if it can."""
    first = name[:1]
    if not first or not (first.isalnum() or first == "_" or ord(first) > 127):
        return "one that does not start with a letter, a digit or _"
    if "/" in name or name != name.rstrip() or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "one with a slash, a control character, or a space at its end"
    if not _is_plain(name) or unicodedata.normalize("NFC", name) != name:
        return "one that is not normalized Unicode"
    return "one that is too long" if len(name.encode()) > _LONGEST else ""


def _is_plain(text: str) -> bool:
    """Whether netCDF gives a text back as it is: without NUL and lone surrogates."""
    try:
        return "\0" not in text and bool(text.encode() or True)
    except UnicodeEncodeError:
        return False


def _attr_problems(where: str, attrs: Mapping[Any, Any], reserved: set[str]) -> Iterator[str]:
    for key, value in attrs.items():
        if key in reserved:
            yield f"{where}: expected no attribute {key!r}, which changes how the numbers are read; rename it"
        elif not isinstance(key, str) or _unfit(key) or key.startswith(RUN):
            yield f"{where}: expected attributes with a name that netCDF can hold and not {RUN}..., got {key!r}"
        if isinstance(value, str) and not _is_plain(value):
            yield f"{where}: expected attributes without NUL or lone surrogates, got {key}={value!r}"


def _label_problems(name: str, variable: xr.Variable) -> Iterator[str]:
    for attr in ("long_name",) if variable.dtype.kind in "mM" else ("long_name", "units"):
        value = variable.attrs.get(attr)
        if not isinstance(value, str) or not value:
            yield f"{name}: expected attrs long_name and units ('1' if dimensionless) as text, got {attr}={value!r}"


def _variable_problems(name: str, variable: xr.Variable, outer: int) -> Iterator[str]:
    kind = variable.dtype.kind
    if variable.ndim + outer > MOST_DIMS:
        between = f" ({outer} of them between the runs)" if outer else ""
        yield f"{name}: expected at most {MOST_DIMS} dims, got {variable.ndim + outer}{between}; vectorize fewer axes"
    if kind == "c":
        yield f"{name}: expected real values, got {variable.dtype}; keep real and imaginary part apart"
    elif kind in "mM":
        yield from _time_problems(name, variable)
    elif is_text(values := variable.values):
        odd = [text for text in values.ravel() if not _is_plain(str(text))]
        if odd:
            yield f"{name}: expected texts without NUL or lone surrogates, got {odd[0]!r}"
    elif kind not in "biuf":
        yield f"{name}: expected numbers, texts, dates or durations, got {variable.dtype}; keep other things as text"
    elif variable.dtype.itemsize > 8:
        yield f"{name}: expected at most 64 bits a number, got {variable.dtype}"
    elif kind == "u" and values.size and values.max() > np.iinfo(np.int64).max:
        yield f"{name}: expected integers below 2**63, got {values.max()}; keep them as text"
    elif kind == "i" and values.size and values.min() == np.iinfo(np.int64).min:
        yield f"{name}: expected integers above -2**63, got {values.min()}, which marks a hole; keep them as text"


def _time_problems(name: str, variable: xr.Variable) -> Iterator[str]:
    if "units" in variable.attrs:
        yield f"{name}: expected no units of dates and durations, got units={variable.attrs['units']!r}"
    values = variable.values
    nanoseconds = values.astype(f"{values.dtype.kind}8[ns]")
    if not np.array_equal(nanoseconds.astype(values.dtype), values, equal_nan=True):
        yield f"{name}: expected dates between 1678 and 2262, and durations below 292 years, got others"
