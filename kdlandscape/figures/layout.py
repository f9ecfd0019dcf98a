"""Grids of panels from the dims of a cube."""

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

_NARROW = 4.5  # inches; a column of a two-column venue is narrower


def row_of_axes(num: int, *, height: float = 1.1, sharex: bool = False, sharey: bool = False) -> np.ndarray:
    """Return new axes, all in one row, or in rows of two where the figure is a narrow column.

    Parameters
    ----------
    num
        How many axes.
    height
        Of a panel, over its width.
    sharex, sharey
        As in ``plt.subplots``.
    """
    width = plt.rcParams["figure.figsize"][0]
    columns = num if width >= _NARROW else min(num, 2)
    rows = -(-num // columns)
    size = (width, height * width / columns * rows)
    axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, sharex=sharex, sharey=sharey)[
        1
    ]
    for spare in axes.flat[num:]:
        spare.remove()
    return axes.flat[:num]


def panels(
    data: xr.Dataset | xr.DataArray,
    draw: Callable[..., Any],
    *,
    row: str | None = None,
    col: str | None = None,
    **settings: Any,
) -> np.ndarray:
    """Draw one panel for each coordinate of one or two dims, as seaborn's ``row=`` and ``col=`` do.

    Parameters
    ----------
    data
        A cube, or one of its variables.
    draw
        Called as ``draw(part, ax=ax, **settings)`` with the part of the data that belongs to a panel.
    row, col
        Dims; each becomes the rows or the columns of the grid. All panels share their axes.

    Returns
    -------
    numpy.ndarray
        Axes (rows, columns).

    Raises
    ------
    ValueError
        If a dim is not in the data.
    """
    for dim in (row, col):
        if dim is not None and dim not in data.dims:
            raise ValueError(f"expected a dim of {', '.join(map(str, data.dims))}; got {dim!r}")
    rows, columns = (data[dim].values.tolist() if dim else [None] for dim in (row, col))
    width = plt.rcParams["figure.figsize"][0]
    size = (width, 0.9 * width / len(columns) * len(rows))
    axes = plt.subplots(
        len(rows), len(columns), figsize=size, layout="constrained", squeeze=False, sharex=True, sharey=True
    )[1]
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            at = {dim: value for dim, value in ((row, y), (col, x)) if dim is not None}
            draw(data.sel(at), ax=axes[i, j], **settings)
            axes[i, j].set_title(", ".join(f"{dim} = {_short(value)}" for dim, value in at.items()))
            axes[i, j].label_outer()
    return axes


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def new_axes(ax: Axes | None) -> Axes:
    """Return the axes given, or new ones."""
    return plt.subplots(layout="constrained")[1] if ax is None else ax
