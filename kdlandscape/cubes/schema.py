"""What a dataset must be to go into a cube: named dims with coordinates, labelled variables, plain types."""

from collections.abc import Collection

import numpy as np
import xarray as xr

from kdlandscape.nearest import did_you_mean, listed


class SchemaError(ValueError):
    """A dataset cannot go into a cube as it is."""


def check(dataset: xr.Dataset, axes: Collection[str] = ()) -> None:
    """Raise SchemaError, listing everything at once, unless a dataset can go into a cube.

    Parameters
    ----------
    dataset
        Every dim needs a coordinate of unique, finite values; every data variable ``long_name`` and ``units`` ("1"
        if dimensionless) and a real type.
    axes
        Dims that have to be there.
    """
    problems = [] if dataset.data_vars else ["expected at least one data variable, got none"]
    for axis in axes:
        if axis not in dataset.dims:
            problems.append(f"{axis}: expected this dim, got {listed(dataset.dims)}.{did_you_mean(axis, dataset.dims)}")
    for dim in dataset.dims:
        problems += _dim_problems(dataset, str(dim), axes)
    for name, variable in dataset.data_vars.items():
        problems += _variable_problems(str(name), variable)
    if problems:
        raise SchemaError("\n".join(problems))


def is_text(array: np.ndarray) -> bool:
    """Whether an array holds strings, whichever way numpy stores them."""
    if array.dtype.kind == "O":
        return all(isinstance(value, str) for value in array.ravel())
    return array.dtype.kind in "UT"


def _dim_problems(dataset: xr.Dataset, dim: str, axes: Collection[str]) -> list[str]:
    if dim not in dataset.coords:
        hint = did_you_mean(dim, {*axes, *map(str, dataset.coords)})
        return [f"{dim}: expected a coordinate for every dim, got none for this one.{hint}"]
    values = dataset[dim].values
    kind = values.dtype.kind
    if kind == "O" and not is_text(values):
        odd = next(value for value in values if not isinstance(value, str))
        return [f"{dim}: expected numbers or texts as coordinate, got {odd!r} ({type(odd).__name__})"]
    if kind == "c":
        return [f"{dim}: expected real numbers as coordinate, got {values.dtype}"]
    if kind == "f" and not np.isfinite(values).all():
        return [f"{dim}: expected finite values as coordinate, got {values[~np.isfinite(values)][0]}"]
    unique, counts = np.unique(values.astype(str) if is_text(values) else values, return_counts=True)
    if (counts > 1).any():
        return [f"{dim}: expected each coordinate value once, got {unique[counts > 1][0]!r} {counts.max()} times"]
    return []


def _variable_problems(name: str, variable: xr.DataArray) -> list[str]:
    problems = [
        f"{name}: expected attrs long_name and units ('1' if dimensionless) as text, got {attr}={value!r}"
        for attr in ("long_name", "units")
        if not isinstance(value := variable.attrs.get(attr), str) or not value
    ]
    if variable.dtype.kind == "c":
        problems.append(f"{name}: expected real values, got {variable.dtype}; keep real and imaginary part apart")
    elif variable.dtype.kind not in "biuf" and not is_text(variable.values):
        # times too: netCDF needs their units attribute for itself
        problems.append(f"{name}: expected numbers or texts, got {variable.dtype}; keep a time as seconds or as text")
    return problems
