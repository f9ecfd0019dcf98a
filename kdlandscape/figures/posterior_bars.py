"""How far predictives are from the Bayesian model average of chains, on and off the data."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.cubes.words import cell_words, variable_label
from kdlandscape.figures.grids import grid_of_axes, hide_shared_labels, legend_of_all, wrap_labels

SHOWN = ("total_variation", "agreement")


def posterior(cube: xr.Dataset, axes: Sequence[Axes] | None = None) -> np.ndarray:
    """Draw how far each predictive is from that of the chains, and how often both agree (95 % t intervals).

    Parameters
    ----------
    cube
        Of the posterior study, or one run.
    axes
        Two axes a data set; default: new ones. Marks are on test inputs and off the data.

    Returns
    -------
    numpy.ndarray
        The axes.
    """
    cube = cube if "seed" in cube["total_variation"].dims else cube.expand_dims("seed")
    outer = [str(dim) for dim in cube["total_variation"].dims if dim not in ("seed", "inputs", "predictive")]
    stacked = cube[list(SHOWN)].stack(setting=outer) if outer else cube[list(SHOWN)].expand_dims("setting")
    count = stacked.sizes["setting"]
    grid = grid_of_axes(2 * count, 2, height=1.0, sharey=True) if axes is None else np.asarray(axes)
    drawn = grid.ravel()[: 2 * count]
    for i in range(count):
        part = stacked.isel(setting=i)
        words = cell_words(cube, {dim: part[dim].item() for dim in outer})
        for ax, name in zip(drawn[2 * i : 2 * i + 2], SHOWN, strict=True):
            _marks(part[name], ax)
            ax.set_xlabel(variable_label(cube[name]).replace("the teacher", "HMC"))
            ax.set_title(words)
    wrap_labels(list(drawn))
    legend_of_all(drawn)
    if axes is None:
        hide_shared_labels(grid)
    return drawn


def _marks(values: xr.DataArray, ax: Axes) -> None:
    names = values["predictive"].values.tolist()
    for k, (place, marker) in enumerate(zip(values["inputs"].values.tolist(), "osD^", strict=False)):
        found = t_interval(values.sel(inputs=place))
        mean = found["mean"].values
        bars = np.nan_to_num(np.stack([mean - found["low"].values, found["high"].values - mean]))
        color = sns.color_palette("colorblind")[k]
        look = {"fmt": marker, "color": color, "ms": 4, "lw": 1, "capsize": 2, "label": str(place)}
        ax.errorbar(mean, np.arange(len(names)) + 0.2 * k - 0.1, xerr=bars, **look)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_ylabel("predictive")
