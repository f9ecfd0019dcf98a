"""Planes through a loss surface: from above, and as a surface."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator
from scipy.interpolate import RectBivariateSpline

from kdlandscape.cubes.store import first_done
from kdlandscape.cubes.words import cell_words, dim_label, short_label
from kdlandscape.figures.grids import (
    figure_inches,
    grid_of_axes,
    hide_shared_labels,
    inches_of,
    legend_of_all,
    new_axes,
    points_of,
    wrap_labels,
    wrapped,
)

MARKERS = {"teacher": "*", "init": "s", "student": "o"}
NAMES = {"init": "initial student"}
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
    at_points: xr.DataArray | None = None,
    limits: tuple[float, float] | None = None,
) -> QuadMesh:
    """Draw the loss on a plane on a logarithmic colour scale with its contours; a pointed colour bar: values beyond.

    Values that are NaN stay white; values beyond the limits, infinite ones too, take the last colour. Every cell has
    the value of its point; contours follow a spline through all of them.

    Parameters
    ----------
    loss
        Over ``y, x``.
    ax
        Where to draw; default: new axes, with a colour bar and a legend.
    points
        Coordinates over ``point, axis`` of networks to mark; default: none. The points ``teacher``, ``init`` and
        ``student`` have their own markers; points along a dim ``step`` are joined to a trajectory.
    at_points
        The loss of these networks over ``point``: it colours the marks, because no cell of a grid has its exact value.
    limits
        Of the colours, to share them between panels; default: of this loss.

    Raises
    ------
    ValueError
        If an axis holds words, between which nothing lies, or no value can be drawn.
    """
    alone = ax is None
    ax = new_axes(ax)
    loss = loss.transpose("y", "x")
    for dim in ("x", "y"):
        if loss[dim].dtype.kind not in "biuf":
            raise ValueError(f"expected numbers along {dim}, got {loss[dim].values.tolist()[:3]}; use heatmap")
    limits = limits or log_limits(loss)
    x, y = loss["x"].values, loss["y"].values
    shown = np.ma.masked_invalid(np.clip(loss.values, *limits))
    mesh = ax.pcolormesh(x, y, shown, norm=LogNorm(*limits), cmap="viridis", shading="nearest", rasterized=True)
    if min(shown.shape) > 1:
        ax.contour(*_fine(x, y, shown), levels=np.geomspace(*limits, 10)[1:], colors="white", linewidths=0.4)
    if points is not None:
        _mark(points, ax, {} if at_points is None else _colours(at_points, mesh))
    ax.set_aspect("equal")
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    ax.set_xlabel(dim_label(loss, "x"))
    ax.set_ylabel(dim_label(loss, "y"))
    if alone:
        colour_bar(mesh, [ax], loss)
        wrap_labels([ax])
        legend_of_all([ax])
    return mesh


def _fine(x: np.ndarray, y: np.ndarray, shown: np.ma.MaskedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a grid four times as fine with a cubic spline of the logarithm through all values, for smooth contours.

    With holes, or fewer than four increasing points along an axis, the values stay as they are.
    """
    increasing = all((np.diff(axis) > 0).all() for axis in (x, y))
    if np.ma.getmaskarray(shown).any() or min(shown.shape) < 4 or not increasing:
        return x, y, shown
    spline = RectBivariateSpline(y, x, np.log(np.asarray(shown)))
    across, up = (np.linspace(axis[0], axis[-1], 4 * (len(axis) - 1) + 1) for axis in (x, y))
    return across, up, np.exp(spline(up, across))


def colour_bar(mesh: Any, axes: Sequence[Axes], values: xr.DataArray) -> None:
    """Add a colour bar with the name and unit of the colours; a pointed end says that values lie beyond it."""
    low, high = mesh.get_clim()
    finite = values.where(np.isfinite(values))
    below, above = float(finite.min()) < low, not float(values.max()) <= high
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
    figure = axes[0].figure
    bar = figure.colorbar(mesh, ax=list(axes), shrink=0.9, extend=extend)
    if isinstance(mesh.norm, LogNorm) and high < 10 * low:  # within a decade no power of ten names the ticks
        ticks = [one for one in MaxNLocator(6).tick_values(low, high) if low <= one <= high]
        bar.set_ticks(ticks, labels=[f"{one:g}" for one in ticks], minor=False)
        bar.minorticks_off()
    inches = max(0.8 * inches_of(axes[0])[1], 0.6 * figure_inches(axes[0])[1])
    bar.set_label(wrapped(short_label(values), inches, plt.rcParams["axes.labelsize"]), linespacing=1.0)


def _colours(losses: xr.DataArray, mesh: QuadMesh) -> dict[str, Any]:
    """Return the colour of each network on the scale of a mesh."""
    clipped = np.clip(losses.values, *mesh.get_clim())
    return dict(zip(losses["point"].values.tolist(), mesh.to_rgba(clipped), strict=True))


def _mark(points: xr.DataArray, ax: Axes, colours: Mapping[str, Any]) -> None:
    style: Any = {"color": "white", "mec": "black", "mew": 0.6, "ms": 4.5}
    if "step" in points.dims:
        path = points.transpose("step", "axis").sel(axis=["x", "y"]).values
        ax.plot(*path.T, ".-", color="white", mec="black", mew=0.4, lw=0.8, ms=4, label="trajectory")
        return
    for i, name in enumerate(points["point"].values.tolist()):
        x, y = points.sel(point=name, axis=["x", "y"]).values
        look: dict[str, Any] = {"ms": 8.0} if MARKERS.get(name) == "*" else {}
        marker, named = MARKERS.get(name, "Ds^oP"[i % 5]), style | look | {"ls": ""}
        ax.plot([], [], marker, label=NAMES.get(name, name), **named)  # a legend has no place on the scale of colours
        if name in colours:
            named |= {"mfc": colours[name], "mec": "white", "mew": 0.9}
        ax.plot(x, y, marker, **named)


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
        width = plt.rcParams["figure.figsize"][0]
        ax = plt.figure(figsize=(width, 0.85 * width), layout="constrained").add_subplot(projection="3d")
    if ax.name != "3d":
        raise ValueError(f"expected axes made with projection='3d', got {ax.name!r} ones")
    loss = loss.transpose("y", "x")
    low, high = log_limits(loss)
    x, y = np.meshgrid(loss["x"].values, loss["y"].values)
    height = np.log10(np.clip(loss.values, low, high))
    ax.plot_surface(x, y, height, cmap="viridis", rcount=64, ccount=64, linewidth=0, rasterized=True)
    labels = {"x": dim_label(loss, "x"), "y": dim_label(loss, "y"), "z": f"$\\log_{{10}}$ {short_label(loss)}"}
    size = points_of(plt.rcParams["xtick.labelsize"])
    for dim, label in labels.items():
        text = wrapped(label, 0.45 * figure_inches(ax).min(), size)
        getattr(ax, f"set_{dim}label")(
            text, labelpad=0.7 * size * (1 + text.count("\n")), linespacing=1.0, fontsize=size
        )
        getattr(ax, f"{dim}axis").set_major_locator(MaxNLocator(4))
    ax.set_box_aspect(None, zoom=0.7)
    return ax


def planes(cube: xr.Dataset, axes: Sequence[Axes] | None = None, *, num: int = 4) -> np.ndarray:
    """Draw the planes through teacher, initial and final student for a few λ; pointed colour bar: values beyond it.

    Shows the first run of the cube that is done.

    Parameters
    ----------
    cube
        With ``plane_loss`` over ``init_lambda, y, x`` and ``plane_points``; ``plane_point_loss`` colours the marks.
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
    exact = "plane_point_loss" in cube
    cube = cube[["plane_loss", "plane_points", *["plane_point_loss"] * exact]].isel(init_lambda=chosen)
    grid = grid_of_axes(len(chosen), 2, height=0.9, sharex=True, sharey=True) if axes is None else None
    drawn = np.asarray(axes if grid is None else [ax for ax in grid.flat if ax.get_visible()])
    limits = log_limits(cube["plane_loss"])
    for ax, share in zip(drawn, cube["init_lambda"].values, strict=True):
        part = cube.sel(init_lambda=share)
        losses = part["plane_point_loss"] if exact else None
        mesh = plane(part["plane_loss"], ax, points=part["plane_points"], at_points=losses, limits=limits)
        ax.set_title(cell_words(cube, {"init_lambda": float(share)}))
    colour_bar(mesh, drawn.tolist(), cube["plane_loss"])
    legend_of_all(drawn)
    if grid is None:
        wrap_labels(drawn)
    else:
        hide_shared_labels(grid)
        _label_once(grid)
    return drawn


def _label_once(grid: np.ndarray) -> None:
    """Write the labels that all axes of a grid share under and beside the whole of it."""
    first, size = grid[0, 0], plt.rcParams["axes.labelsize"]
    figure, (width, height) = first.figure, figure_inches(first)
    figure.supxlabel(wrapped(first.get_xlabel(), 0.9 * width, size), fontsize=size, linespacing=1.0)
    figure.supylabel(wrapped(first.get_ylabel(), 0.7 * height, size), fontsize=size, linespacing=1.0)
    for ax in grid.flat:
        ax.set_xlabel("")
        ax.set_ylabel("")
