"""Lines against an axis of the cube, with their spread over seeds."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from kdlandscape.cubes.statistics import mean_sem
from kdlandscape.cubes.words import dim_label, kind, variable_label
from kdlandscape.figures.grids import (
    figure_inches,
    grid_of_axes,
    hide_shared_labels,
    inches_of,
    legend_above,
    new_axes,
    place_names,
    tick_words,
    wrap_labels,
    wrapped,
)

_MARKERS = "osD^vX*P"


def line(values: xr.DataArray, x: str, ax: Axes | None = None, *, hue: str | None = None, **settings: Any) -> Axes:
    """Draw the mean of a variable against a dim, with a band of one standard error over all dims that remain.

    Between categories and between seeds there is nothing, so along these the means stand alone, with bars.

    Parameters
    ----------
    values
        A variable of a cube; missing cells are left out.
    x, hue
        Dims: the horizontal axis, and what tells the lines apart.
    ax
        Where to draw; default: new axes.
    settings
        Passed on to ``seaborn.lineplot``; unused along categories.
    """
    ax = new_axes(ax)
    if kind(values, x) in ("category", "repeat"):
        _means(values, x, ax, hue)
    else:
        named = values.assign_coords({hue: place_names(values, hue)}) if hue else values
        frame = named.rename("value").to_dataframe().reset_index().dropna(subset=["value"])
        # Colour, marker and dashes all tell the hue, so that a greyscale print still does.
        look = {"hue": hue, "style": hue, "markers": True, "palette": "colorblind"} if hue else {"marker": "o"}
        sns.lineplot(frame, x=x, y="value", errorbar="se", ax=ax, **look, **settings)
    if x in values.coords and values[x].dtype.kind == "M":
        locator = AutoDateLocator(minticks=2, maxticks=4)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    ax.set_xlabel(dim_label(values, x))
    ax.set_ylabel(variable_label(values))
    wrap_labels([ax])
    if hue and settings.get("legend", True):
        legend_above(ax, dim_label(values, hue))
    return ax


def _means(values: xr.DataArray, x: str, ax: Axes, hue: str | None) -> None:
    """Draw means with bars of one standard error at the places of categories, side by side for each hue."""
    mean, sem, _ = mean_sem(values, [dim for dim in values.dims if dim not in (x, hue)])
    places = range(values.sizes[hue]) if hue else [0]
    colors = sns.color_palette("colorblind", len(places))
    for i in places:
        at = {} if hue is None else {hue: i}
        name = None if hue is None else place_names(values, hue)[i]
        place = np.arange(values.sizes[x]) + 0.6 * ((i + 0.5) / len(places) - 0.5)
        bars = np.nan_to_num(sem.isel(at).values)
        look = {"color": colors[i], "marker": _MARKERS[i % len(_MARKERS)], "ls": "", "ms": 4, "lw": 1, "capsize": 2}
        ax.errorbar(place, mean.isel(at).values, bars, label=name, **look)
    ax.set_xticks(range(values.sizes[x]), tick_words(values, x))
    ax.set_xlim(-0.5, values.sizes[x] - 0.5)


def init_lambda(cube: xr.Dataset, axes: Sequence[Axes] | None = None) -> np.ndarray:
    """Draw what depends on λ: barrier, distances, agreement and its baseline, sharpness; bands: one standard error.

    Parameters
    ----------
    cube
        Of a study with the dim ``init_lambda``; every other outer dim but ``lr_policy`` is spread.
    axes
        Four axes; default: new ones, two by two.

    Returns
    -------
    numpy.ndarray
        The four axes. Source: Stanton et al. 2021, Fig. 6b.
    """
    grid = grid_of_axes(4, 2, height=0.85, sharex=True) if axes is None else None
    drawn = np.asarray(axes if grid is None else grid).ravel()
    first, second, third, fourth = drawn
    cube = cube.squeeze("lr_policy", drop=True) if cube.sizes.get("lr_policy") == 1 else cube
    hue = "lr_policy" if "lr_policy" in cube.dims else None
    line(cube["barrier"], "init_lambda", first, hue=hue)
    _distances(cube, second, hue)
    line(_agreements(cube), "init_lambda", third, hue="kind")
    line(cube["student_eigenvalues"].isel(eigenvalue=0), "init_lambda", fourth, hue=hue)
    teacher = cube["teacher_eigenvalues"].isel(eigenvalue=0)
    fourth.axhline(float(teacher.mean()), color="0.6", linewidth=0.8, linestyle="--", label="teacher", zorder=0)
    fourth.set_ylabel(f"largest {variable_label(cube['student_eigenvalues'])}")
    for ax in drawn:
        ax.set_xlabel(dim_label(cube, "init_lambda"))
        legend_above(ax)
    wrap_labels(drawn)
    if grid is not None:
        hide_shared_labels(grid)
    return drawn


def _agreements(cube: xr.Dataset) -> xr.DataArray:
    """Return the agreement of students and of independent students over ``kind``, for each data set that has both."""
    parts = {
        f"{split}, {who}": cube[name].sel(split=split, drop=True)
        for split in cube["split"].values.tolist()
        for name, who in (("agreement", "student"), ("control_agreement", "independent"))
    }
    kinds = xr.DataArray(list(parts), dims="kind", name="kind", attrs={"long_name": "data and student"})
    both = xr.concat(list(parts.values()), kinds, combine_attrs="override")
    return both.assign_attrs(long_name="agreement with the teacher")


def _distances(cube: xr.Dataset, ax: Axes, hue: str | None) -> None:
    """Draw the distance to the teacher (solid) and the distance travelled (dotted), over the distance at the start."""
    start = cube["distance_start"].where(cube["distance_start"] > 0)
    line(cube["distance_end"] / start, "init_lambda", ax, hue=hue)
    if "distance_travelled" in cube:
        dotted = {"linestyle": ":"} | ({"dashes": False} if hue else {})
        line(cube["distance_travelled"] / start, "init_lambda", ax, hue=hue, legend=False, **dotted)
        ax.plot([], [], "-", color="0.3", label="to the teacher")
        ax.plot([], [], ":", color="0.3", label="travelled")
    ax.axhline(1, color="0.6", linewidth=0.8, zorder=0)
    ax.set_ylabel("distance over that from start to teacher")


def fidelity_accuracy(cube: xr.Dataset, ax: Axes | None = None, *, split: str = "test", hue: str | None = None) -> Axes:
    """Draw each student's accuracy against its agreement with the teacher, and the independent students' agreement.

    Fidelity is not generalization: the two need not rise together (Stanton et al. 2021, Fig. 1). The band is the mean
    agreement of independent students, the level that fidelity has to exceed, with its standard error.

    Parameters
    ----------
    cube
        With ``agreement``, ``control_agreement`` and ``student_accuracy`` over ``split`` and any other dims.
    ax
        Where to draw; default: new axes.
    split
        ``train`` or ``test``.
    hue
        A dim that colours the students.
    """
    ax = new_axes(ax)
    part = cube[["agreement", "control_agreement", "student_accuracy"]].sel(split=split)
    frame = part.to_dataframe().reset_index().dropna(subset=["agreement", "student_accuracy"])
    look = (
        {"hue": hue, "style": hue, "palette": "colorblind" if frame[hue].nunique() < 11 else "viridis"} if hue else {}
    )
    sns.scatterplot(frame, x="agreement", y="student_accuracy", ax=ax, s=18, **look)
    control = part["control_agreement"]
    mean, sem, _ = (float(one) for one in mean_sem(control, control.dims))
    ax.axvspan(mean - np.nan_to_num(sem), mean + np.nan_to_num(sem), color="0.8", zorder=0)
    ax.axvline(mean, color="0.5", lw=0.8, label="independent students", zorder=0)
    ax.set_xlabel(f"{split} {variable_label(part['agreement'])}")
    ax.set_ylabel(f"{split} {variable_label(part['student_accuracy'])}")
    wrap_labels([ax])
    legend_above(ax, dim_label(cube, hue) if hue else "")
    return ax


def heatmap(values: xr.DataArray, x: str, y: str, ax: Axes | None = None) -> Axes:
    """Draw the mean of a variable over two dims as a map, with its numbers where they fit; missing cells are crossed.

    Parameters
    ----------
    values
        A variable of a cube; all dims but x and y are averaged over.
    x, y
        Dims.
    ax
        Where to draw; default: new axes.
    """
    ax = new_axes(ax)
    mean = values.mean([dim for dim in values.dims if dim not in (x, y)]).transpose(y, x)
    room = inches_of(ax) / (mean.sizes[x], mean.sizes[y])
    texts = _numbers(mean.values)
    needed = 0.55 * max(map(len, texts.ravel())) * plt.rcParams["font.size"] / 72, plt.rcParams["font.size"] / 72
    fit = bool((room > needed).all())
    names = {"xticklabels": _ticks(mean, x), "yticklabels": _ticks(mean, y)}
    label = wrapped(variable_label(values), 0.7 * figure_inches(ax)[1], plt.rcParams["axes.labelsize"])
    bar = {"cbar_kws": {"label": label}, "cmap": "viridis", **names}
    sns.heatmap(mean.values, annot=texts if fit else None, fmt="", ax=ax, annot_kws={"size": "small"}, **bar)
    for i, j in np.argwhere(np.isnan(mean.values)):
        ax.text(j + 0.5, i + 0.5, "×", ha="center", va="center", color="0.4")
    ax.set_xlabel(dim_label(values, x))
    ax.set_ylabel(dim_label(values, y))
    return ax


def _ticks(values: xr.DataArray, dim: str) -> list[str]:
    """Return the coordinates of a dim in words; of a long one only every so many, and empty texts between."""
    step = -(-values.sizes[dim] // 12)
    return [word if i % step == 0 else "" for i, word in enumerate(tick_words(values, dim))]


def _numbers(values: np.ndarray) -> np.ndarray:
    """Return numbers as texts with as many decimals as the largest of them needs for three digits."""
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    decimals = int(np.clip(2 - np.floor(np.log10(largest)), 0, 8)) if largest > 0 else 0
    return np.vectorize(lambda value: f"{value:.{decimals}f}" if np.isfinite(value) else "", otypes=[object])(values)
