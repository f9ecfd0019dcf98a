"""Planes through a loss surface: from above, and as a surface."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm

from kdlandscape.cubes.store import first_done
from kdlandscape.figures.layout import new_axes, row_of_axes

MARKERS = {"teacher": "*", "init": "s", "student": "o"}
DECADES = 3  # of the colour scale


def log_limits(loss: xr.DataArray) -> tuple[float, float]:
    """Return colour limits that reach from the largest finite value three decades down.

    A distillation loss is 0 at the teacher, so the smallest value gives no lower limit.
    """
    finite = loss.where(np.isfinite(loss) & (loss > 0))
    top = float(finite.max())
    if not np.isfinite(top):
        raise ValueError(f"expected some finite positive values of {loss.name!r} to draw, got none")
    return max(float(finite.min()), top / 10**DECADES), top


def plane(
    loss: xr.DataArray,
    ax: Axes | None = None,
    *,
    points: xr.DataArray | None = None,
    limits: tuple[float, float] | None = None,
) -> QuadMesh:
    """Draw the loss on a plane on a logarithmic colour scale with its contours; return the mesh.

    Values that are NaN stay white; infinite ones take the last colour.

    Parameters
    ----------
    loss
        Over ``y, x``.
    ax
        Where to draw; default: new axes.
    points
        Coordinates over ``point, axis`` of networks to mark; default: none. The points ``teacher``, ``init`` and
        ``student`` have their own markers; points along a dim ``step`` are joined to a trajectory.
    limits
        Of the colours, to share them between panels; default: of this loss.
    """
    ax = new_axes(ax)
    loss = loss.transpose("y", "x")
    limits = limits or log_limits(loss)
    x, y = loss["x"].values, loss["y"].values
    shown = np.ma.masked_invalid(np.clip(loss.values, *limits))
    mesh = ax.pcolormesh(x, y, shown, norm=LogNorm(*limits), cmap="viridis", shading="nearest", rasterized=True)
    if min(shown.shape) > 1:
        ax.contour(x, y, shown, levels=np.geomspace(*limits, 10)[1:], colors="white", linewidths=0.4)
    if points is not None:
        _mark(points, ax)
    ax.set_aspect("equal")
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    ax.set_xlabel("x")
    ax.set_ylabel("y")
    return mesh


def _mark(points: xr.DataArray, ax: Axes) -> None:
    style: Any = {"color": "white", "mec": "black", "mew": 0.6, "ms": 4.5}
    if "step" in points.dims:
        path = points.transpose("step", "axis").sel(axis=["x", "y"]).values
        ax.plot(*path.T, ".-", color="white", lw=0.8, ms=3, label="trajectory")
        return
    for name in points["point"].values.tolist():
        x, y = points.sel(point=name, axis=["x", "y"]).values
        ax.plot(x, y, MARKERS.get(name, "D"), label=name, ls="", **style)


def surface(loss: xr.DataArray, ax: Any = None) -> Any:
    """Draw the logarithm of the loss on a plane as a surface in three dimensions.

    Parameters
    ----------
    loss
        Over ``y, x``.
    ax
        Axes with ``projection="3d"``; default: new ones.
    """
    if ax is None:
        ax = plt.figure(layout="constrained").add_subplot(projection="3d")
    if ax.name != "3d":
        raise ValueError(f"expected axes made with projection='3d', got {ax.name!r} ones")
    loss = loss.transpose("y", "x")
    low, high = log_limits(loss)
    x, y = np.meshgrid(loss["x"].values, loss["y"].values)
    height = np.log10(np.clip(loss.values, low, high))
    ax.plot_surface(x, y, height, cmap="viridis", rcount=64, ccount=64, linewidth=0, rasterized=True)
    ax.set_xlabel("x")
    ax.set_ylabel("y")
    ax.set_zlabel(rf"$\log_{{10}}$ loss [{loss.attrs.get('units', '1')}]")
    return ax


def planes(cube: xr.Dataset, axes: Sequence[Axes] | None = None, *, num: int = 4) -> np.ndarray:
    """Draw the planes through teacher, initial and final student for a few λ, on one colour scale.

    Shows the first run of the cube that is done.

    Parameters
    ----------
    cube
        With ``plane_loss`` over ``init_lambda, y, x`` and ``plane_points``.
    axes
        As many axes as planes; default: new ones.
    num
        How many λ, evenly chosen from those below 1 (at 1 the three points coincide).

    Returns
    -------
    numpy.ndarray
        The axes. Source: Stanton et al. 2021, Fig. 6c.
    """
    cube = first_done(cube)
    below = np.flatnonzero(cube["init_lambda"].values < 1)
    if not len(below):
        raise ValueError(f"expected some λ below 1, got {cube['init_lambda'].values.tolist()}")
    chosen = below[np.unique(np.linspace(0, len(below) - 1, num).round().astype(int))]
    cube = cube[["plane_loss", "plane_points"]].isel(init_lambda=chosen)
    drawn = np.asarray(row_of_axes(len(chosen), sharey=True) if axes is None else axes)
    limits = log_limits(cube["plane_loss"])
    for ax, share in zip(drawn, cube["init_lambda"].values, strict=True):
        part = cube.sel(init_lambda=share)
        mesh = plane(part["plane_loss"], ax, points=part["plane_points"], limits=limits)
        ax.set_title(f"λ = {share:g}")
        ax.label_outer()
    # Towards λ = 1 the points lie close together near the origin, so this corner is free.
    drawn[-1].legend(loc="upper right", fontsize="xx-small", handletextpad=0.1, borderpad=0.3)
    unit = cube["plane_loss"].attrs.get("units", "")
    drawn[0].figure.colorbar(mesh, ax=drawn.tolist(), label=f"loss [{unit}]", shrink=0.8)
    return drawn
