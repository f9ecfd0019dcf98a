"""One probe, many networks: map a probe along an axis of the cube."""

from collections.abc import Callable, Sequence
from typing import Any

import xarray as xr
from torch import Tensor


def along(
    dim: str, coords: Sequence[Any], probe: Callable[..., xr.Dataset | xr.DataArray], *thetas: Tensor
) -> xr.Dataset:
    """Apply a probe to each row of thetas (K, P) and stack the results along a new dim.

    Parameters
    ----------
    dim, coords
        Name and K coordinates of the new axis.
    probe
        Called with one row of each tensor in ``thetas``.
    thetas
        One or more (K, P).

    Examples
    --------
    ``along("init_lambda", init_lambda, lambda s: interpolate(objective, s, teacher), students)``
    """
    lengths = {len(rows) for rows in thetas} | {len(coords)}
    if len(lengths) != 1:
        raise ValueError(
            f"expected one row of theta for each of the {len(coords)} coordinates of {dim!r}; got lengths "
            f"{[len(rows) for rows in thetas]}"
        )
    results: list[Any] = [probe(*rows) for rows in zip(*thetas, strict=True)]
    # Facts that differ from network to network (a path's length) are dropped, facts that all share are kept.
    return xr.concat(results, xr.DataArray(list(coords), dims=dim, name=dim), combine_attrs="drop_conflicts")
