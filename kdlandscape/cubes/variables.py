"""Labelled arrays, and Datasets put together from them: whoever computes a number says what it is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr


def variable(dims: str | Sequence[str], values: Any, long_name: str, units: str = "1", **attrs: Any) -> xr.Variable:
    """Return a labelled array, ready for `dataset`: whoever computes a number says here what it is.

    Parameters
    ----------
    dims, values
        Names of the axes, and the array (numpy, or a tensor).
    long_name, units
        What the number is, in words that a reader of a figure understands, and its unit; "1" is dimensionless.
    attrs
        More that belongs to this number: its definition, or the ``symbol`` that figures and sliders show for an axis.
    """
    axes = (dims,) if isinstance(dims, str) else tuple(dims)
    values = values.detach().cpu() if hasattr(values, "detach") else values
    return xr.Variable(axes, np.asarray(values), {"long_name": long_name, "units": units, **attrs})


def placed(array: xr.DataArray, where: str) -> xr.DataArray:
    """Return a labelled array whose label also says where it was taken, such as "at the teacher"."""
    return array.assign_attrs(long_name=f"{array.attrs['long_name']} {where}")


def dataset(
    variables: Mapping[str, xr.Variable | xr.DataArray], coords: Mapping[str, Any] | None = None, **attrs: Any
) -> xr.Dataset:
    """Put labelled arrays together to a Dataset; each keeps its label.

    Parameters
    ----------
    variables
        name -> what `variable` or a probe gives. A DataArray brings the coordinates of its dims.
    coords
        Coordinates by name, plain or labelled by `variable`; they come before those that an array brings.
    attrs
        Attributes of the whole Dataset (settings, versions).

    Raises
    ------
    ValueError
        If an array has no label, or two arrays bring different coordinates for one dim.
    """
    given = dict(coords or {})
    found: dict[str, xr.Variable] = {}
    for name, array in variables.items():
        if not isinstance(array, xr.Variable | xr.DataArray) or not {"long_name", "units"} <= set(array.attrs):
            kind = type(array).__name__
            raise ValueError(f"{name}: expected an array with long_name and units, as variable() makes it; got {kind}")
        if isinstance(array, xr.DataArray):
            _bring(name, array, {str(dim) for dim in array.dims} - set(given), found)
    return xr.Dataset({name: xr.as_variable(array) for name, array in variables.items()}, {**found, **given}, attrs)


def _bring(name: str, array: xr.DataArray, dims: set[str], found: dict[str, xr.Variable]) -> None:
    """Keep the coordinates that an array brings for its dims; ValueError if an earlier one brought another."""
    for dim in dims & set(map(str, array.coords)):
        own = array[dim].variable
        if not found.setdefault(dim, own).equals(own):
            raise ValueError(f"{name}: expected the coordinate {dim} of the variables before it, got another one")
