"""Energy drift, spectrum and loss surface of a constrained and an unconstrained Hamiltonian network."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.cubes.words import dim_label, variable_label
from kdlandscape.figures.grids import grid_of_axes, legend_of_all, wrap_labels
from kdlandscape.studies.mechanics_compared import CONSTRAINED, UNCONSTRAINED

LOOKS = {CONSTRAINED: ("-", "o"), UNCONSTRAINED: ("--", "s")}


def mechanics(cube: xr.Dataset, axes: Sequence[Axes] | None = None) -> np.ndarray:
    """Draw energy drift and place error over time, the spectrum, and the loss along the first axis of the plane.

    Parameters
    ----------
    cube
        Of the mechanics study, or one run: geometric means and their 95 % t intervals over seeds.
    axes
        Four axes; default: new ones.

    Returns
    -------
    numpy.ndarray
        The four axes.
    """
    cube = cube if "seed" in cube["energy_drift"].dims else cube.expand_dims("seed")
    drawn = np.asarray(grid_of_axes(4, 2, height=0.8) if axes is None else axes).ravel()[:4]
    middle = cube["plane_loss"].isel(y=cube.sizes["y"] // 2)
    later = cube.isel(time=slice(1, None))  # at the start nothing has drifted
    parts = ((later["energy_drift"], "time"), (later["path_error"], "time"), (cube["eigenvalues"], "eigenvalue"))
    for ax, (values, dim) in zip(drawn, (*parts, (middle, "x")), strict=True):
        for k, (name, (style, marker)) in enumerate(LOOKS.items()):
            logs = xr.apply_ufunc(np.log, values.where(values > 0).sel(network=name))
            found = xr.apply_ufunc(np.exp, t_interval(logs))
            color = sns.color_palette("colorblind")[k]
            place = found[dim] + 1 if dim == "eigenvalue" else found[dim]
            shown = marker if dim == "eigenvalue" else ""
            ax.plot(place, found["mean"], style, marker=shown, color=color, lw=1, ms=4, label=name)
            ax.fill_between(place, found["low"], found["high"], color=color, alpha=0.2, lw=0)
        ax.set_yscale("log")
        ax.set_xlabel("number of the eigenvalue" if dim == "eigenvalue" else dim_label(cube, dim))
        ax.set_ylabel(variable_label(values))
    drawn[2].set_xticks(range(1, cube.sizes["eigenvalue"] + 1))
    drawn[3].set_xlabel("place along the first random direction")
    wrap_labels(list(drawn))
    legend_of_all(drawn)
    return drawn
