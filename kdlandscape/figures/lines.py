"""Lines against an axis of the cube, with their spread over seeds."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes


def line(values: xr.DataArray, x: str, ax: Axes, *, hue: str | None = None, **settings: object) -> Axes:
    """Draw the mean of a variable against a dim, with a band of one standard error over all dims that remain."""
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
    """Draw what depends on λ: barrier, change of distance, agreement with its baseline, and sharpness.

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
        axes = plt.subplots(2, 2, figsize=(width, 0.7 * width), layout="constrained", sharex=True)[1].ravel()
    first, second, third, fourth = axes
    hue = "lr_policy" if "lr_policy" in cube.dims else None
    line(cube["barrier"], "init_lambda", first, hue=hue)
    start = cube["distance_start"]
    ratio = (cube["distance_end"] / start.where(start > 0)).assign_attrs(
        long_name="distance to teacher, end / start", units="1"
    )
    line(ratio, "init_lambda", second, hue=hue, legend=False)
    second.axhline(1, color="0.6", linewidth=0.8, zorder=0)
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
    return np.asarray(axes)
