"""Small pictures of claims, and agreement by arm."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.cubes.words import cell_words
from kdlandscape.figures.grids import grid_of_axes, inches_of, legend_above, wrap_labels, wrapped
from kdlandscape.studies.claims import runs_of
from kdlandscape.studies.decisions import CONTRADICTED, NOT_TESTABLE, REPRODUCED, UNDECIDED

#: Colour and mark of each outcome, apart for colour-blind eyes and in greyscale.
STYLES = {
    REPRODUCED: ("#0072b2", "o"),
    CONTRADICTED: ("#d55e00", "X"),
    UNDECIDED: ("0.45", "D"),
    NOT_TESTABLE: ("0.6", ""),
}


def claims(table: xr.Dataset, axes: Sequence[Axes] | None = None, *, columns: int = 3) -> np.ndarray:
    """Draw each claim: seeds, mean, interval, and where it would reproduce (shaded); dot: it does, cross: it does not.

    A diamond: undecided, since the interval crosses the bound.  Smaller, below it: the same of another run of all
    studies with other seeds, where the cube holds one.

    Parameters
    ----------
    table
        From `kdlandscape.studies.claims.verdicts`, or the cube of a study of one level.
    axes
        As many as claims; default: a new grid.
    columns
        Of a new grid.

    Returns
    -------
    numpy.ndarray
        The axes of the claims.
    """
    table = table.squeeze("level", drop=True) if "level" in table.dims else table
    count = table.sizes["claim"]
    if axes is None:
        axes = list(grid_of_axes(count, columns, height=0.62).flat[:count])
    for i, ax in enumerate(axes):
        first, *others = (run.isel(claim=i) for run in runs_of(table))
        _claim(first, ax, others)
    return np.asarray(axes)


def _claim(row: xr.Dataset, ax: Axes, others: Sequence[xr.Dataset] = ()) -> None:
    result = str(row["verdict"].values)
    color = STYLES[result][0]
    values = row["values"].values[np.isfinite(row["values"].values)]
    ax.set_title(f"{row['claim'].item()}: {result}", fontsize="x-small", color=color)
    ax.yaxis.set_visible(False)  # there is nothing along it
    ax.set_xlabel(str(row["statistic"].item()), fontsize="x-small")
    ax.locator_params(axis="x", nbins=4)
    ax.tick_params(labelsize="x-small")
    wrap_labels([ax])
    if not len(values):
        ax.xaxis.set_visible(False)
        text = wrapped(str(row["statistic"].item()), inches_of(ax)[0], ax.xaxis.label.get_fontsize())
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize="x-small", color=color)
        return
    ax.plot(values, np.zeros_like(values), "|", color="0.4", ms=10)
    heights = -np.linspace(0, 0.6, 1 + len(others))
    intervals = [_interval(one, ax, y) for one, y in zip([row, *others], heights, strict=True)]
    bounds = [float(row[name]) for name in ("above", "below")]
    known = [bound for bound in bounds if np.isfinite(bound)]
    left, right = (f([*values, *np.ravel(intervals), *known]) for f in (np.nanmin, np.nanmax))
    room = 0.15 * max(right - left, 1e-3)
    ax.set_xlim(left - room, right + room)
    start = bounds[0] if np.isfinite(bounds[0]) else left - room
    end = bounds[1] if np.isfinite(bounds[1]) else right + room
    ax.axvspan(start, end, color=STYLES[REPRODUCED][0], alpha=0.12, lw=0)
    for bound in known:
        ax.axvline(bound, color="0.5", lw=0.8, ls="--")
    ax.set_ylim(-1, 1)


def _interval(row: xr.Dataset, ax: Axes, y: float) -> tuple[float, float]:
    """Draw the mean and the interval of a claim in the colour and mark of its verdict; return the interval."""
    color, marker = STYLES[str(row["verdict"].values)]
    mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
    face = "white" if str(row["verdict"].values) == UNDECIDED else color
    bars = np.nan_to_num([[mean - low], [high - mean]])
    ax.errorbar([mean], [y], xerr=bars, fmt=marker, color=color, mfc=face, ms=5 if y == 0 else 3.5, capsize=3)
    return low, high


def agreement(cube: xr.Dataset, ax: Axes | None = None) -> np.ndarray:
    """Draw train and test agreement of every arm, and that of the independent student, with 95 % t intervals.

    Parameters
    ----------
    cube
        Of a distillation study, or one run: ``agreement`` and ``control_agreement`` over ``split``, ``seed`` and more;
        every cell of the other dims is an arm.
    ax
        Default: a new one.

    Returns
    -------
    numpy.ndarray
        The axes, in an array of length 1.
    """
    both = cube[["agreement", "control_agreement"]]
    others = [str(dim) for dim in both["agreement"].dims if dim not in ("split", "seed")]
    shown = [dim for dim in others if both.sizes[dim] > 1]
    both = both.stack(arm=others) if others else both.expand_dims("arm")
    if ax is None:
        width = plt.rcParams["figure.figsize"][0]
        height = 0.8 + 0.22 * both.sizes["arm"]
        ax = plt.subplots(figsize=(width, height), layout="constrained")[1]
    names = [
        cell_words(cube, {dim: both[dim].values[i].item() for dim in shown}) or "all" for i in range(both.sizes["arm"])
    ]
    both = both.drop_vars(["arm", *others], errors="ignore")
    kinds = [
        ("agreement", "train", "s", "C1"),
        ("agreement", "test", "o", "C0"),
        ("control_agreement", "test", "x", "0.5"),
    ]
    for offset, (name, split, marker, color) in zip((-0.15, 0, 0.15), kinds, strict=True):
        found = t_interval(both[name].sel(split=split))
        mean = found["mean"].values
        bars = np.nan_to_num(np.stack([mean - found["low"].values, found["high"].values - mean]))
        label = f"{split}, {'independent student' if name.startswith('control') else 'student'}"
        ax.errorbar(mean, np.arange(len(mean)) + offset, xerr=bars, fmt=marker, color=color, ms=4, lw=1, label=label)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel("agreement with the teacher")
    ax.set_ylabel("arm")
    legend_above(ax)
    return np.array([ax])
