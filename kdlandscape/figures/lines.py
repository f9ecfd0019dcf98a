"""Lines against an axis of the cube, with their spread over seeds."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes

from kdlandscape.figures.layout import new_axes


def line(values: xr.DataArray, x: str, ax: Axes | None = None, *, hue: str | None = None, **settings: object) -> Axes:
    """Draw the mean of a variable against a dim, with a band of one standard error over all dims that remain.

    Parameters
    ----------
    values
        A variable of a cube; missing cells are left out.
    x, hue
        Dims: the horizontal axis, and what tells the lines apart.
    ax
        Where to draw; default: new axes.
    settings
        Passed on to ``seaborn.lineplot``.
    """
    ax = new_axes(ax)
    frame = values.rename("value").to_dataframe().reset_index().dropna(subset=["value"])
    # Colour, marker and dashes all tell the hue, so that a greyscale print still does.
    kind = {"hue": hue, "style": hue, "markers": True, "palette": "colorblind"} if hue else {"marker": "o"}
    sns.lineplot(frame, x=x, y="value", errorbar="se", ax=ax, **kind, **settings)
    ax.set_ylabel(axis_label(values))
    return ax


def axis_label(values: xr.DataArray) -> str:
    """Return "long name [unit]" from a variable's attrs."""
    name, unit = values.attrs.get("long_name", str(values.name)), values.attrs.get("units", "1")
    return name if unit == "1" else f"{name} [{unit}]"


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
    if axes is None:
        width = plt.rcParams["figure.figsize"][0]
        rows, columns = (2, 2) if width >= 4.5 else (4, 1)
        size = (width, rows * 0.7 * width / columns)
        axes = plt.subplots(rows, columns, figsize=size, layout="constrained", sharex=True)[1].ravel()
    first, second, third, fourth = axes
    hue = "lr_policy" if "lr_policy" in cube.dims else None
    line(cube["barrier"], "init_lambda", first, hue=hue)
    _distances(cube, second, hue)
    agreement = xr.concat(
        [cube["agreement"], cube["control_agreement"]],
        xr.DataArray(["student", "independent"], dims="role", name="role"),
        combine_attrs="override",
    )
    agreement = agreement.stack(kind=["split", "role"]).transpose(..., "kind")
    kinds = [f"{split}, {role}" for split, role in agreement["kind"].values.tolist()]
    agreement = agreement.drop_vars(["kind", "split", "role"]).assign_coords(kind=kinds)
    line(agreement, "init_lambda", third, hue="kind")
    third.set_ylabel("agreement with the teacher")
    third.legend(title=None)
    line(cube["student_eigenvalues"].isel(eigenvalue=0), "init_lambda", fourth, hue=hue, legend=False)
    teacher = cube["teacher_eigenvalues"].isel(eigenvalue=0)
    fourth.axhline(float(teacher.mean()), color="0.6", linewidth=0.8, linestyle="--", label="teacher", zorder=0)
    fourth.set_ylabel("top Hessian eigenvalue [nat]")
    fourth.legend()
    for ax in axes:
        ax.set_xlabel("teacher's share of the initial weights, λ")
        ax.label_outer()
    return np.asarray(axes)


def _distances(cube: xr.Dataset, ax: Axes, hue: str | None) -> None:
    """Draw the distance to the teacher (solid) and the distance travelled (dotted), over the distance at the start."""
    start = cube["distance_start"].where(cube["distance_start"] > 0)
    line(cube["distance_end"] / start, "init_lambda", ax, hue=hue, legend=False)
    if "distance_travelled" in cube:
        dotted = {"linestyle": ":"} | ({"dashes": False} if hue else {})
        line(cube["distance_travelled"] / start, "init_lambda", ax, hue=hue, legend=False, **dotted)
        ax.plot([], [], "-", color="0.3", label="to the teacher")
        ax.plot([], [], ":", color="0.3", label="travelled")
        ax.legend()
    ax.axhline(1, color="0.6", linewidth=0.8, zorder=0)
    ax.set_ylabel("distance, end / start")


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
    kind = (
        {"hue": hue, "style": hue, "palette": "colorblind" if frame[hue].nunique() < 11 else "viridis"} if hue else {}
    )
    sns.scatterplot(frame, x="agreement", y="student_accuracy", ax=ax, s=18, **kind)
    control = frame["control_agreement"]
    ax.axvspan(control.mean() - control.sem(), control.mean() + control.sem(), color="0.8", zorder=0)
    ax.axvline(control.mean(), color="0.5", lw=0.8, label="independent students", zorder=0)
    ax.set_xlabel(f"{split} {axis_label(part['agreement'])}")
    ax.set_ylabel(f"{split} {axis_label(part['student_accuracy'])}")
    ax.legend()
    return ax


def heatmap(values: xr.DataArray, x: str, y: str, ax: Axes | None = None) -> Axes:
    """Draw the mean of a variable over two dims as a map with its numbers; a missing cell is crossed out.

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
    rest = [dim for dim in values.dims if dim not in (x, y)]
    mean = values.mean(rest).transpose(y, x)
    frame = mean.to_pandas()
    sns.heatmap(frame, annot=True, fmt=".3g", cmap="viridis", ax=ax, cbar_kws={"label": axis_label(values)})
    for i, j in np.argwhere(np.isnan(mean.values)):
        ax.text(j + 0.5, i + 0.5, "×", ha="center", va="center", color="0.4")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    return ax
