"""Barriers to a teacher, before and after its partners' units are permuted onto its own."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.cubes.words import cell_words, dim_label, short_label, variable_label
from kdlandscape.figures.grids import grid_of_axes, hide_shared_labels, legend_of_all, wrap_labels
from kdlandscape.studies.basin_shares import INDEPENDENT, MATCHED, STUDENT, share_removed

OUTER = ("data_set", "network", "width")
MARKS = {
    "none": ("o", "#0173b2", "as they are"),
    "weights": ("s", "#de8f05", "weights matched"),
    "activations": ("^", "#029e73", "activations matched"),
    "straight_through": ("D", "#cc78bc", "loss matched, straight-through"),
    "sinkhorn": ("v", "#56b4e9", "loss matched, Sinkhorn"),
}


def marks(cube: xr.Dataset | xr.DataArray) -> dict[str, tuple[str, str, str]]:
    """Return marker, colour and words of each alignment of a cube."""
    return {str(one): MARKS.get(one, ("P", "0.5", str(one))) for one in cube["alignment"].values.tolist()}


def settings(cube: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """Return a title and the part of the cube for each data set, network and width, each with a dim of seeds."""
    cube = cube if "seed" in cube.dims else cube.expand_dims("seed")
    parts: list[tuple[str, xr.Dataset]] = [("", cube)]
    for dim in OUTER:
        if dim in cube.dims:
            parts = [
                (f"{title}, {cell_words(cube, {dim: value})}".lstrip(", "), part.sel({dim: value}))
                for title, part in parts
                for value in part[dim].values.tolist()
            ]
    return parts


def side_by_side(count: int, step: float) -> np.ndarray:
    """Return where the marks of one partner stand: around its place, with room for one more at the right."""
    return step * (np.arange(count) - (count - 1) / 2) - 0.05


def points(values: xr.DataArray, ax: Axes, offset: float, marker: str, color: str, label: str) -> None:
    """Draw mean and 95 % t interval over seeds for each partner."""
    found = t_interval(values)
    x = np.arange(values.sizes["partner"]) + offset
    mean = found["mean"].values
    bars = np.nan_to_num(np.stack([mean - found["low"].values, found["high"].values - mean]))
    ax.errorbar(x, mean, bars, marker=marker, color=color, label=label, ls="", ms=4, lw=1, capsize=2)


def name_partners(ax: Axes, names: Sequence[str]) -> None:
    """Write the partners under an axis."""
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_xlabel("partner of the teacher")


def basins(cube: xr.Dataset, axes: np.ndarray | None = None) -> np.ndarray:
    """Draw barriers by partner (left) with 95 % t intervals, and the KL along the straight path (right), by setting.

    Parameters
    ----------
    cube
        Of a basins study, or one of its runs: mean and 95 % t interval over seeds.
    axes
        (number of data sets and networks, 2); default: new ones.

    Returns
    -------
    numpy.ndarray
        The axes. Question: Stanton et al. 2021, section 6; alignment: Ainsworth et al. 2023.
    """
    parts = settings(cube)
    if axes is None:
        axes = grid_of_axes(2 * len(parts), 2, height=1.0)
        axes = axes.reshape(len(parts), 2)
    axes = np.asarray(axes)
    for (title, part), (left, right) in zip(parts, axes, strict=True):
        straight = part["barrier"].sel(correction="none")
        known = marks(part)
        for offset, (alignment, mark) in zip(side_by_side(len(known), 0.14), known.items(), strict=True):
            points(straight.sel(alignment=alignment), left, offset, *mark)
        points(part["bezier_barrier"], left, 0.35, "x", "0.4", "trained curve")
        left.axhline(0, color="0.8", lw=0.8, zorder=0)
        name_partners(left, part["partner"].values.tolist())
        left.set_ylabel(variable_label(part["barrier"]))
        left.set_title(title)
        _profiles(part["path_kl"].sel(correction="none"), right)
        right.set_xlabel(dim_label(part, "t"))
        right.set_ylabel(short_label(part["path_kl"]))
        right.set_title(title)
    wrap_labels(axes)
    legend_of_all(axes)
    return axes


def _profiles(values: xr.DataArray, ax: Axes) -> None:
    """Draw the path of the λ = 0 student (solid) and of its control (dashed), coloured as the barriers."""
    names = values["partner"].values.tolist()
    for name, style in ((STUDENT, "-"), (MATCHED if MATCHED in names else INDEPENDENT, "--")):
        if name not in names:
            continue
        for alignment, (_, color, _) in marks(values).items():
            mean = values.sel(partner=name, alignment=alignment).mean("seed")
            ax.plot(mean["t"], mean, style, color=color, lw=1)
        ax.plot([], [], style, color="0.3", label=f"path of {name}")


def removed_share(cube: xr.Dataset, axes: np.ndarray | None = None) -> np.ndarray:
    """Draw the share of the barrier that permutation removes, by partner and setting, with 95 % t intervals.

    Parameters
    ----------
    cube
        Of a basins study, or one of its runs: mean and 95 % t interval over seeds.
    axes
        One for each data set and network; default: new ones.

    Returns
    -------
    numpy.ndarray
        The axes. Filled: matched units; open: also rescaled (REPAIR). Where there was no barrier, that is said.
    """
    parts = settings(cube)
    height = 0.7 if len(parts) == 1 else 1.0  # the names of the partners take the same room in a narrow panel
    grid = grid_of_axes(len(parts), 2, height=height, sharex=True, sharey=True) if axes is None else None
    axes = np.asarray(axes if grid is None else grid).ravel()[: len(parts)]
    for (title, part), ax in zip(parts, axes, strict=True):
        share = share_removed(part)
        known = {name: mark for name, mark in marks(part).items() if name != "none"}
        for offset, (alignment, (marker, color, label)) in zip(
            side_by_side(len(known), 0.18), known.items(), strict=True
        ):
            points(share.sel(alignment=alignment, correction="none"), ax, offset, marker, color, label)
            fixed = t_interval(share.sel(alignment=alignment, correction="repair"))["mean"]
            look = {"mfc": "none", "color": color, "ms": 4, "ls": "", "label": f"{label}, rescaled"}
            ax.plot(np.arange(len(fixed)) + offset + 0.08, fixed, marker, **look)
        for place in np.flatnonzero(share.isnull().all([dim for dim in share.dims if dim != "partner"])):
            ax.text(place, 0.5, "no barrier", rotation=90, ha="center", va="center", fontsize="x-small", color="0.4")
        ax.axhline(1, color="0.8", lw=0.8, zorder=0)
        ax.axhline(0, color="0.8", lw=0.8, zorder=0)
        ax.set_title(title)
        ax.set_ylim(-0.5, 1.1)
        name_partners(ax, part["partner"].values.tolist())
        ax.set_ylabel(variable_label(share))
    wrap_labels(axes)
    if grid is not None:
        hide_shared_labels(grid)
    legend_of_all(axes)
    return axes
