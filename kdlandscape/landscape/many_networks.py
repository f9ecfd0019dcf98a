"""One probe, many networks: map a probe along an axis of the cube."""

from collections.abc import Callable, Sequence
from typing import Any

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
