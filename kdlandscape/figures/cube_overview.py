"""A first figure of any cube: its numbers against its axes."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from kdlandscape.cubes.words import kind, variable_label
from kdlandscape.figures.grids import grid_of_axes, inches_of, legend_of_all, wrap_labels, wrapped
from kdlandscape.figures.lines import line
from kdlandscape.studies.description import numbers

_MOST = 6  # panels
_MOST_LINES = 6


def overview(cube: xr.Dataset, axes: Sequence[Axes] | None = None, *, num: int = _MOST) -> np.ndarray:
    """Draw the first numbers of a cube against their longest axis; bars and bands: one standard error.

    Parameters
    ----------
    cube
        Any cube with a variable that is one number for each run.
    axes
        As many as variables are drawn; default: new ones.
    num
        How many variables, in the order of the cube.

    Returns
    -------
    numpy.ndarray
        The axes.

    Raises
    ------
    ValueError
        If no variable is one number for each run.
    """
    names = [name for name in numbers(cube) if cube[name].ndim][:num]
    if not names:
        raise ValueError(
            f"expected a variable that is one number for each run, got {', '.join(map(str, cube)) or 'none'}"
        )
    drawn = np.ravel(np.asarray(grid_of_axes(len(names), 2, height=0.8) if axes is None else axes))[: len(names)]
    for name, ax in zip(names, drawn, strict=True):
        values = cube[name].astype(float).load()
        x, hue = _axes_of(values)
        if np.isfinite(values).any():
            line(values.where(np.isfinite(values)), x, ax, hue=hue)
        else:
            _nothing(values, ax)
    wrap_labels(drawn)
    if len({_axes_of(cube[name]) for name in names}) == 1:
        legend_of_all(drawn)
    return drawn


def _axes_of(values: xr.DataArray) -> tuple[str, str | None]:
    """Return the dim across, and the one that tells lines apart; the others are averaged over."""
    order = {"continuous": 0, "ordered": 1, "category": 2, "repeat": 3}
    dims = sorted(
        map(str, values.dims), key=lambda dim: (values.sizes[dim] < 2, order[kind(values, dim)], -values.sizes[dim])
    )
    short = [dim for dim in dims[1:] if 1 < values.sizes[dim] <= _MOST_LINES and kind(values, dim) != "repeat"]
    return dims[0], next(iter(short), None)


def _nothing(values: xr.DataArray, ax: Axes) -> None:
    """Say that no run has a value, in place of an empty picture."""
    ax.set_axis_off()
    words = wrapped(
        f"{variable_label(values)}: no finished run has a value", inches_of(ax)[0], ax.xaxis.label.get_fontsize()
    )
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", parse_math=False)
