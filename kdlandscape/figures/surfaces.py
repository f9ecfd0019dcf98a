"""Planes through a loss surface."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm

MARKERS = {"teacher": "*", "init": "s", "student": "o"}


def planes(cube: xr.Dataset, axes: Sequence[Axes] | None = None, *, num: int = 4) -> np.ndarray:
    """Draw the planes through teacher, initial and final student for a few λ, on one colour scale.

    Shows the first run of the cube that is done (every other dim at its first coordinate).

    Parameters
    ----------
    cube
        With ``plane_loss`` over ``init_lambda, y, x`` and ``plane_points``.
    axes
        As many axes as planes; default: a new row of them.
    num
        How many λ, evenly chosen from those below 1 (at 1 the three points coincide).

    Returns
    -------
    numpy.ndarray
        The axes. Source: Stanton et al. 2021, Fig. 6c.
    """
    if "done" in cube:
        first = np.argwhere(cube["done"].values)[0]
        cube = cube.isel(dict(zip(cube["done"].dims, first.tolist(), strict=True)))
    below = np.flatnonzero(cube["init_lambda"].values < 1)
    chosen = below[np.unique(np.linspace(0, len(below) - 1, num).round().astype(int))]
    cube = cube[["plane_loss", "plane_points"]].isel(init_lambda=chosen)
    if axes is None:
        width = plt.rcParams["figure.figsize"][0]
        size = (width, 1.1 * width / len(chosen))
        axes = plt.subplots(1, len(chosen), figsize=size, layout="constrained", sharey=True, squeeze=False)[1][0]
    loss = cube["plane_loss"]
    finite = loss.where(np.isfinite(loss) & (loss > 0))
    # The teacher's loss is zero: the scale starts three decades below the top.
    top = float(finite.max())
    for ax, share in zip(axes, cube["init_lambda"].values, strict=True):
        mesh = plane(cube.sel(init_lambda=share), ax, (top / 1e3, top))
        ax.set_title(f"λ = {share:g}")
    axes[0].set_ylabel("y")
    # Towards λ = 1 the points lie close together near the origin, so this corner is free.
    axes[-1].legend(loc="upper right", fontsize="xx-small", handletextpad=0.1, borderpad=0.3)
    axes[0].figure.colorbar(mesh, ax=list(axes), label=f"{loss.attrs.get('units', '')}", shrink=0.8)
    return np.asarray(axes)


def plane(cube: xr.Dataset, ax: Axes, limits: tuple[float, float]) -> QuadMesh:
    """Draw one plane on a logarithmic colour scale, its contours and the marked points; return the mesh."""
    loss = cube["plane_loss"].transpose("y", "x")
    x, y = loss["x"].values, loss["y"].values
    shown = np.clip(loss.values, *limits)
    mesh = ax.pcolormesh(x, y, shown, norm=LogNorm(*limits), cmap="viridis", shading="gouraud", rasterized=True)
    ax.contour(x, y, shown, levels=np.geomspace(*limits, 10)[1:], colors="white", linewidths=0.4)
    for name, marker in MARKERS.items():
        x_at, y_at = cube["plane_points"].sel(point=name, axis=["x", "y"]).values
        ax.plot(x_at, y_at, marker, color="white", mec="black", mew=0.6, ms=4.5, label=name, ls="")
    ax.set_aspect("equal")
    ax.set_xlabel("x")
    return mesh
