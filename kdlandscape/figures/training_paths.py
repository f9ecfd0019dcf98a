"""A recorded training on its loss surface: the plane of its path, its curvature, and how far it is from its end."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from kdlandscape.cubes.words import dim_label, variable_label
from kdlandscape.figures.grids import grid_of_axes, legend_above, new_axes, wrap_labels
from kdlandscape.figures.lines import line
from kdlandscape.figures.surfaces import colour_bar, plane


def training_path(cube: xr.Dataset, axes: Sequence[Axes] | None = None) -> np.ndarray:
    """Draw a recorded training: its path on the principal plane, curvature, loss and barrier, and distances.

    Parameters
    ----------
    cube
        What `kdlandscape.training_path` gives, of one training.
    axes
        Four axes; default: new ones, two by two.

    Returns
    -------
    numpy.ndarray
        The four axes. Source: Li et al. 2018, Fig. 9; Cohen et al. 2021, Fig. 1.
    """
    drawn = np.asarray(grid_of_axes(4, 2, height=0.85) if axes is None else axes).ravel()
    first, second, third, fourth = drawn
    mesh = plane(cube["plane_loss"], first, points=cube["points"])
    colour_bar(mesh, [first], cube["plane_loss"])
    stability(cube, second)
    for name, mark, label in (("loss", "o", "at the checkpoint"), ("barrier", "s", "barrier to the end")):
        curve = cube[name].where(cube[name] > 0)  # what is 0 has no logarithm
        if bool(curve.notnull().any()):
            third.plot(cube["step"], curve, marker=mark, ms=3, lw=1, label=label)
    third.set_yscale("log")
    third.set_ylabel(variable_label(cube["loss"]))
    for name, label in (("distance", "to the end"), ("distance_travelled", "travelled")):
        fourth.plot(cube["step"], cube[name], marker="o", ms=3, lw=1, label=label)
    fourth.set_ylabel("distance")
    for ax in (third, fourth):
        ax.set_xlabel(dim_label(cube, "step"))
        legend_above(ax)
    wrap_labels(drawn)
    return drawn


def stability(cube: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the largest eigenvalue along a training beside the threshold of stability, where that is known.

    Parameters
    ----------
    cube
        With ``eigenvalues`` and ``stability_threshold`` over ``step``.
    ax
        Where to draw; default: new axes.
    """
    ax = new_axes(ax)
    sharpest = cube["eigenvalues"].isel(eigenvalue=0, drop=True).assign_attrs(long_name="curvature")
    line(sharpest, "step", ax, label="largest eigenvalue")
    bound = cube["stability_threshold"]
    if bool(bound.notnull().any()):
        ax.plot(cube["step"], bound, "--", color="0.4", lw=1, label="threshold of stability")
    legend_above(ax)
    wrap_labels([ax])
    return ax
