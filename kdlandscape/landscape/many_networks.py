"""One probe, many networks: map a probe along an axis of the cube."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor


def along(
    dim: str, coords: Sequence[Any], probe: Callable[..., xr.Dataset | xr.DataArray], *rows: Sequence[Any] | Tensor
) -> xr.Dataset:
    """Apply a probe to each row of thetas (K, P) and stack the results along a new dim.

    Parameters
    ----------
    dim, coords
        Name and K coordinates of the new axis.
    probe
        Called with one row of each of ``rows``.
    rows
        One or more thetas (K, P), or sequences of K: networks, curvature operators.

    Examples
    --------
    ``along("init_lambda", init_lambda, lambda s: interpolate(objective, s, teacher), students)``
    """
    lengths = {len(part) for part in rows} | {len(coords)}
    if len(lengths) != 1:
        raise ValueError(
            f"expected one row of theta for each of the {len(coords)} coordinates of {dim!r}; got lengths "
            f"{[len(part) for part in rows]}"
        )
    results: list[Any] = [probe(*parts) for parts in zip(*rows, strict=True)]
    # Facts that differ from network to network (a path's length) are dropped, facts that all share are kept.
    return xr.concat(results, xr.DataArray(list(coords), dims=dim, name=dim), combine_attrs="drop_conflicts")


def stacked(parts: Sequence[xr.Dataset | None], dim: str, coords: Sequence[Any]) -> xr.Dataset:
    """Stack results along a new dim, with NaN for those that are None and for variables that only others have.

    The result is empty where all are None. Labels are those of the first result that has the variable.
    """
    known = [part for part in parts if part is not None and part.data_vars]
    if not known:
        return xr.Dataset()
    arrays = {name: part[name] for part in reversed(known) for name in part.data_vars}
    names = [name for part in known for name in part.data_vars]
    holes = {name: xr.full_like(arrays[name], np.nan, dtype=float) for name in dict.fromkeys(names)}
    whole = [xr.Dataset(holes | ({} if part is None else dict(part.data_vars))) for part in parts]
    axis = xr.DataArray(list(coords), dims=dim, name=dim)
    found = xr.concat(whole, axis, combine_attrs="drop_conflicts", join="outer")
    for name in holes:
        found[name].attrs = dict(arrays[name].attrs)
    shared = [part.attrs for part in known]
    found.attrs = {k: v for k, v in shared[0].items() if all(k in one and np.array_equal(one[k], v) for one in shared)}
    return found
