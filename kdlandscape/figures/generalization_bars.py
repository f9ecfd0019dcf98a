"""Rank correlations of flatness with generalization, the error against width, and what rescaling changes."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes

from kdlandscape.cubes.words import short_words
from kdlandscape.figures.grids import grid_of_axes, legend_above, new_axes, wrap_labels, wrapped
from kdlandscape.figures.lines import line
from kdlandscape.studies.generalization import COPY, MEASURES, NETWORK, STUDENT, intervals, ratios


def generalization(cube: xr.Dataset, axes: Sequence[Axes] | None = None) -> np.ndarray:
    """Draw Kendall's τ of each measure with the gap, of networks and students (95 % t intervals), and error by width.

    Parameters
    ----------
    cube
        Of the flatness study.
    axes
        Three axes; default: new ones. The last is the test error at the end of training, by label noise.

    Returns
    -------
    numpy.ndarray
        The three axes. Source: Jiang et al. 2020, table 2.
    """
    drawn = np.asarray(grid_of_axes(3, 2, height=0.85) if axes is None else axes).ravel()[:3]
    found = intervals(cube)
    for ax, member in zip(drawn[:2], (NETWORK, STUDENT), strict=True):
        for i, (kind, marker) in enumerate((("overall", "o"), ("granulated", "s"))):
            part = found.sel(member=member, kind=kind)
            mean = part["mean"].values
            bars = np.nan_to_num(np.stack([mean - part["low"].values, part["high"].values - mean]))
            color = sns.color_palette("colorblind")[i]
            look = {"fmt": marker, "color": color, "ms": 4, "lw": 1, "capsize": 2, "label": kind}
            ax.errorbar(mean, np.arange(len(mean)) + 0.2 * i - 0.1, xerr=bars, **look)
        ax.axvline(0, color="0.6", lw=0.8, zorder=0)
        _name_measures(cube, ax)
        legend_above(ax)
    if "width" in cube["end_test_error"].dims:
        hue = "label_noise" if "label_noise" in cube["end_test_error"].dims else None
        line(cube["end_test_error"], "width", drawn[2], hue=hue)
        drawn[2].set_xscale("log", base=2)
    wrap_labels(list(drawn))
    for ax, member in zip(drawn[:2], (NETWORK, STUDENT), strict=True):
        ax.set_xlabel(f"Kendall's τ with the gap,\n{member}s")  # two lines: the names beside the axes leave little room
    return drawn


def _name_measures(cube: xr.Dataset, ax: Axes) -> None:
    """Write the measures beside an axis, the first one on top, in the words of whoever computed them."""
    names = [wrapped(short_words(cube[name]), 0.9, "x-small") for name in MEASURES]
    ax.set_yticks(range(len(MEASURES)), names, fontsize="x-small", linespacing=0.9)
    ax.set_ylim(len(MEASURES) - 0.5, -0.5)
    ax.set_ylabel("measure")


def rescaling_ratios(run: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw each measure of a rescaled copy, of the same function, over that of its network; and of students.

    Parameters
    ----------
    run
        One run of the flatness study, or its cube: points are seeds and settings.
    ax
        Where to draw; default: new axes.
    """
    ax = new_axes(ax)
    for i, (member, marker) in enumerate(((COPY, "o"), (STUDENT, "x"))):
        logs = ratios(run, member)
        color = sns.color_palette("colorblind")[i]
        for j, name in enumerate(MEASURES):
            values = np.exp(logs[name].values.ravel())
            label = member if j == 0 else None
            ax.plot(values, np.full(len(values), j + 0.2 * i - 0.1), marker, color=color, ms=4, alpha=0.7, label=label)
    ax.axvline(1, color="0.6", lw=0.8, zorder=0)
    ax.set_xscale("log")
    _name_measures(run, ax)
    ax.set_xlabel("measure over that of the network")
    legend_above(ax)
    wrap_labels([ax])
    return ax
