"""Spectra: densities on a logarithmic axis, and bars of eigenvalues."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from kdlandscape.cubes.statistics import mean_sem
from kdlandscape.cubes.words import dim_label, value_words, variable_label
from kdlandscape.figures.grids import legend_above, new_axes, wrap_labels


def spectral_density(spectrum: xr.Dataset, ax: Axes | None = None, *, hue: str | None = None) -> Axes:
    """Draw spectral densities on a logarithmic axis, each with a band of one standard error over its draws.

    Parameters
    ----------
    spectrum
        With ``density`` and ``density_sem`` over ``grid`` and perhaps ``hue``, as ``kdl.spectral_density`` and
        ``kdlandscape.cubes.spectra.density`` (any kernel width) give them.
    ax
        Where to draw; default: new axes.
    hue
        A dim that tells networks apart.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. Densities below a millionth of the highest are cut off.

    Raises
    ------
    ValueError
        If a dim remains that is neither ``grid`` nor ``hue``.
    """
    ax = new_axes(ax)
    rest = set(spectrum["density"].dims) - {"grid", hue}
    if rest:
        raise ValueError(
            f"expected a density over grid{f' and {hue}' if hue else ''}, got also {sorted(map(str, rest))}"
        )
    parts = (
        [("", spectrum)]
        if hue is None
        else [(value_words(v), spectrum.sel({hue: v})) for v in spectrum[hue].values.tolist()]
    )
    floor = float(spectrum["density"].max()) * 1e-6
    for i, (label, part) in enumerate(parts):
        x, mean, sem = (part[name].values for name in ("grid", "density", "density_sem"))
        dashes = ("-", "--", ":", "-.")[i % 4]
        (drawn,) = ax.plot(x, np.maximum(mean, floor), dashes, label=label or None)
        if np.isfinite(sem).any():
            low, high = np.maximum(mean - sem, floor), np.maximum(mean + sem, floor)
            ax.fill_between(x, low, high, color=drawn.get_color(), alpha=0.25, linewidth=0)
    ax.set_yscale("log")
    ax.set_ylim(floor, None)
    ax.set_xlabel(dim_label(spectrum, "grid"))
    ax.set_ylabel(variable_label(spectrum["density"]))
    wrap_labels([ax])
    if hue is not None:
        legend_above(ax, dim_label(spectrum, hue))
    return ax


def eigenvalues(values: xr.DataArray, ax: Axes | None = None, *, hue: str | None = None) -> Axes:
    """Draw extreme eigenvalues as bars, side by side for each coordinate of ``hue``.

    Parameters
    ----------
    values
        Over ``eigenvalue`` and perhaps ``hue``; every other dim is averaged over, with one standard error as whiskers.
    ax
        Where to draw; default: new axes.
    hue
        A dim that tells networks apart.
    """
    ax = new_axes(ax)
    names = [None] if hue is None else values[hue].values.tolist()
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        part = values if hue is None else values.sel({hue: name})
        rest = [dim for dim in part.dims if dim != "eigenvalue"]
        mean, sem, _ = mean_sem(part, rest)
        whiskers = sem.values if np.isfinite(sem).any() else None
        x = np.arange(part.sizes["eigenvalue"]) + (i - (len(names) - 1) / 2) * width
        hatch = ("", "///", "...", "xx")[i % 4]
        look: dict[str, Any] = {
            "hatch": hatch,
            "edgecolor": "white",
            "capsize": 2,
            "label": None if name is None else value_words(name),
        }
        ax.bar(x, mean.values, width, yerr=whiskers, **look)
    ax.set_xticks(range(values.sizes["eigenvalue"]), [f"{k + 1}" for k in range(values.sizes["eigenvalue"])])
    ax.set_xlabel("eigenvalue, from the most extreme")
    ax.set_ylabel(variable_label(values))
    wrap_labels([ax])
    if hue is not None:
        legend_above(ax, dim_label(values, hue))
    return ax
