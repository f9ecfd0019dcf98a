"""How the outputs of random functions, and of their students, correlate with the cosine of the inputs."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes

from kdlandscape.cubes.statistics import mean_sem
from kdlandscape.cubes.words import dim_label
from kdlandscape.figures.grids import grid_of_axes, legend_above, wrap_labels


def function_prior(cube: xr.Dataset, axes: Sequence[Axes] | None = None) -> np.ndarray:
    """Draw the correlation of outputs against the cosine of inputs: random functions by architecture, and students.

    Parameters
    ----------
    cube
        Of the function_prior study, or one run; means, with one standard error over seeds as bars.
    axes
        Two axes; default: new ones. Left: random functions beside the closed form of wide ReLU networks (dashed).
        Right: students (dotted) beside their teachers.

    Returns
    -------
    numpy.ndarray
        The two axes.
    """
    drawn = np.asarray(grid_of_axes(2, 2, height=1.0) if axes is None else axes).ravel()[:2]
    hue = "network" if "network" in cube["correlation"].dims else None
    names = cube[hue].values.tolist() if hue else [None]
    for i, name in enumerate(names):
        part = cube if name is None else cube.sel({str(hue): name})
        color = sns.color_palette("colorblind")[i]
        _curve(part["correlation"], drawn[0], color, "-", str(name or "random functions"), "os^D"[i % 4])
        for member, style, marker in (("teacher", "-", "os^D"[i % 4]), ("student", ":", "x")):
            label = f"{name or ''} {member}".strip()
            _curve(part["kept_correlation"].sel(member=member), drawn[1], color, style, label, marker)
    _curve(cube["wide_correlation"], drawn[0], "0.4", "--", "infinitely wide MLP", "")
    for ax, label in zip(drawn, ("correlation of random outputs", "correlation of outputs"), strict=True):
        ax.set_xlabel(dim_label(cube, "cosine"))
        ax.set_ylabel(label)
        legend_above(ax)
    wrap_labels(list(drawn))
    return drawn


def _curve(values: xr.DataArray, ax: Axes, color: object, style: str, label: str, marker: str) -> None:
    mean, sem, _ = mean_sem(values, [dim for dim in values.dims if dim != "cosine"])
    look = {"color": color, "ls": style, "label": label, "marker": marker, "ms": 3, "lw": 1, "capsize": 2}
    ax.errorbar(values["cosine"].values, mean.values, np.nan_to_num(sem.values), **look)  # type: ignore[arg-type]
