"""Where students start: barriers over λ and over the angle to the teacher, and what sharing a start buys."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.cubes.words import cell_words, dim_label, dim_symbol, value_words, variable_label
from kdlandscape.figures.grids import grid_of_axes, legend_of_all, new_axes, wrap_labels
from kdlandscape.studies.shared_starts import gains
from kdlandscape.studies.start_angles import relative_heights
from kdlandscape.studies.subliminal import learned


def start_angles(cube: xr.Dataset, axes: np.ndarray | None = None) -> np.ndarray:
    """Draw the relative barrier over λ (left) and over the cosine of the start (right), a line for each setting.

    Parameters
    ----------
    cube
        With ``barrier`` and ``cos_start`` over ``init_lambda``, ``seed`` and settings: means over seeds.
    axes
        Two; default: new ones.

    Returns
    -------
    numpy.ndarray
        The axes. Where all settings fall on one curve, that axis is what the barrier follows.
    """
    axes = np.asarray(grid_of_axes(2, 2, height=1.0, sharey=True) if axes is None else axes).ravel()
    height = relative_heights(cube).mean("seed", keep_attrs=True)
    cosine = cube.sortby("init_lambda")["cos_start"].mean("seed", keep_attrs=True)
    dims = [str(dim) for dim in height.dims if dim != "init_lambda"]
    both = xr.Dataset({"height": height, "cosine": cosine})
    both = both.stack(setting=dims) if dims else both.expand_dims("setting")
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, both.sizes["setting"]))
    marks = "os^Dv<>P*Xhd"
    for i, color in enumerate(colors):
        cell = both.isel(setting=i)
        name = ", ".join(value_words(cell[dim].item()) for dim in dims) or "all runs"
        look = {"color": color, "marker": marks[i % len(marks)], "ms": 3, "lw": 1, "label": name}
        axes[0].plot(cell["init_lambda"], cell["height"], **look)
        axes[1].plot(cell["cosine"], cell["height"], **look)
    for ax, label in zip(axes, (dim_label(cube, "init_lambda"), variable_label(cube["cos_start"])), strict=True):
        ax.axhline(0.5, color="0.8", lw=0.8, zorder=0)
        ax.set_xlabel(label)
        ax.set_ylabel(variable_label(height))
    wrap_labels(axes)
    legend_of_all(axes, ", ".join(dim_symbol(cube, dim) for dim in dims))
    return axes


def shared_starts(cube: xr.Dataset, ax: Axes | None = None) -> np.ndarray:
    """Draw what the teacher's start buys in test agreement over the barrier between two runs from it.

    Parameters
    ----------
    cube
        With ``agreement`` and ``same_start_barrier`` over ``init``, ``seed`` and settings.
    ax
        Default: new ones.

    Returns
    -------
    numpy.ndarray
        The axes, in an array of length 1: a point for each setting, with 95 % t intervals over seeds.
    """
    ax = new_axes(ax)
    found = gains(cube)
    gain, barrier = (t_interval(found[name]) for name in ("gain", "barrier"))
    bars = [
        np.nan_to_num(np.stack([part["mean"] - part["low"], part["high"] - part["mean"]])) for part in (gain, barrier)
    ]
    least = np.maximum(barrier["mean"].values, 1e-4)  # a barrier is never below 0, and the axis is logarithmic
    left = np.minimum(bars[1][0], 0.9 * least)
    ax.errorbar(least, gain["mean"], bars[0], [left, bars[1][1]], fmt="o", color="#0072b2", ms=4, lw=1, capsize=2)
    ax.axhline(0, color="0.8", lw=0.8, zorder=0)
    ax.set_xscale("log")
    ax.set_xlabel(variable_label(found["barrier"]))
    ax.set_ylabel(variable_label(found["gain"]))
    wrap_labels([ax])
    return np.array([ax])


def subliminal(cube: xr.Dataset, axes: np.ndarray | None = None) -> np.ndarray:
    """Draw the accuracy gained through auxiliary logits (left) and the barrier to the teacher (right), over λ.

    Parameters
    ----------
    cube
        Of a subliminal study, or one of its runs: mean and 95 % t interval over seeds, a line for each setting.
    axes
        Two; default: new ones.

    Returns
    -------
    numpy.ndarray
        The axes.
    """
    cube = cube.sortby("init_lambda") if "seed" in cube.dims else cube.sortby("init_lambda").expand_dims("seed")
    axes = np.asarray(grid_of_axes(2, 2, height=1.25) if axes is None else axes).ravel()
    for ax, values in zip(axes, (learned(cube), cube["barrier"]), strict=True):
        dims = [str(dim) for dim in values.dims if dim not in ("seed", "init_lambda")]
        found = t_interval(values)
        found = found.stack(setting=dims).reset_index("setting") if dims else found.expand_dims("setting")
        for i in range(found.sizes["setting"]):
            cell = found.isel(setting=i)
            mean, low, high = (cell[part].values for part in ("mean", "low", "high"))
            name = cell_words(cube, {dim: cell[dim].item() for dim in dims}) or "all runs"
            look = {"fmt": "os^DvP"[i % 6] + "-", "ms": 4, "lw": 1, "capsize": 2, "label": name}
            ax.errorbar(cell["init_lambda"].values, mean, np.nan_to_num([mean - low, high - mean]), **look)
        ax.axhline(0, color="0.8", lw=0.8, zorder=0)
        ax.set_xlabel(dim_label(cube, "init_lambda"))
        ax.set_ylabel(variable_label(values))
    wrap_labels(axes)
    legend_of_all(axes)
    return axes
