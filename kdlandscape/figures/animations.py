"""A surface in motion as a file: along λ, or along the steps of a training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib import animation
from matplotlib.axes import Axes

from kdlandscape.cubes.files import publish, scratch
from kdlandscape.cubes.store import first_done
from kdlandscape.cubes.words import cell_words, dim_label, variable_label
from kdlandscape.figures.grids import legend_of_all, wrap_labels
from kdlandscape.figures.surfaces import colour_bar, log_limits, plane
from kdlandscape.nearest import did_you_mean, listed

_WRITERS: dict[str, tuple[str, str]] = {
    ".gif": ("pillow", "the package pillow"),
    ".mp4": ("ffmpeg", "the program ffmpeg"),
}


def animate(
    cube: xr.Dataset,
    path: Path | str,
    along: str = "init_lambda",
    *,
    curve: str | None = None,
    seconds: float = 0.7,
    dpi: int = 150,
) -> Path:
    """Write an animation of a plane along a dim, with a curve beside it: a GIF, or an MP4 where ffmpeg is installed.

    Along λ each frame is the plane of one student; along ``step`` the plane of a training stays, and its trajectory
    grows. Colours and axes are the same in all frames. Cost: one plane drawn a frame; nothing is computed anew.

    Parameters
    ----------
    cube
        With ``plane_loss`` over ``y, x``: of a study (its first run that is done is shown), or what `training_path`
        returns. Further dims must have length 1.
    path
        The file, ending in ``.gif`` or ``.mp4``.
    along
        The dim of the frames.
    curve
        The variable drawn against it; default: the barrier, else the loss.
    seconds, dpi
        How long a frame stays, and points per inch.

    Raises
    ------
    ValueError
        If the file has another ending, the cube has no such dim or curve, or a further dim has several places.
    RuntimeError
        If the writer of such files is not installed.
    """
    path, cube = Path(path), first_done(cube)
    writer = _writer(path, 1 / seconds)
    surface, numbers = _surface(cube, along), _curve(cube, along, curve)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4), width_ratios=[1.25, 1], layout="constrained")
    try:
        limits = log_limits(surface)
        draw = _frames(cube, surface, numbers, along, limits)
        with scratch(path.parent) as folder:
            with writer.saving(figure, str(folder / path.name), dpi):
                for i in range(cube.sizes[along]):
                    mesh = draw(i, left, right)
                    if not i:
                        colour_bar(mesh, [left], surface)
                        legend_of_all([left])
                        figure.canvas.draw()
                        figure.set_layout_engine("none")  # all frames stand where the first one does
                    writer.grab_frame()
            publish(folder / path.name, path)
    finally:
        plt.close(figure)
    return path


def _writer(path: Path, fps: float) -> Any:
    if path.suffix not in _WRITERS:
        raise ValueError(f"path: expected a file that ends in {listed(_WRITERS)}, got {path.name!r}")
    name, needed = _WRITERS[path.suffix]
    if not animation.writers.is_available(name):
        raise RuntimeError(f"expected {needed} to write {path.suffix} files, got none; write a .gif")
    make: Any = animation.writers[name]
    return make(fps=fps)


def _surface(cube: xr.Dataset, along: str) -> xr.DataArray:
    if along not in cube.dims:
        raise ValueError(
            f"along: expected a dim of the cube ({listed(cube.dims)}), got {along!r}.{did_you_mean(along, cube.dims)}"
        )
    if "plane_loss" not in cube:
        raise ValueError(f"expected the variable 'plane_loss', got {listed(cube.data_vars)}")
    surface = cube["plane_loss"].squeeze(
        [dim for dim in cube["plane_loss"].dims if cube.sizes[dim] == 1 and dim != along]
    )
    several = [dim for dim in surface.dims if dim not in ("x", "y", along)]
    if several:
        raise ValueError(
            f"expected one place along {listed(several)}, got several; choose one by cube.sel or cube.isel"
        )
    return surface.load()


def _curve(cube: xr.Dataset, along: str, name: str | None) -> xr.DataArray:
    known = [
        str(one)
        for one, array in cube.data_vars.items()
        if array.squeeze().dims == (along,) and array.dtype.kind in "if"
    ]
    if name is None:
        name = next((one for one in ("barrier", "loss", *known) if one in known), None)
    if name not in known:
        raise ValueError(
            f"curve: expected a variable over {along} alone ({listed(known)}), got {name!r}."
            f"{did_you_mean(name or '', known)}"
        )
    return cube[name].squeeze().load()


def _frames(
    cube: xr.Dataset, surface: xr.DataArray, numbers: xr.DataArray, along: str, limits: tuple[float, float]
) -> Callable[[int, Axes, Axes], Any]:
    """Return what draws the frame of one place and returns the coloured mesh."""
    places = np.arange(cube.sizes[along]) if numbers[along].dtype.kind not in "iuf" else numbers[along].values

    def draw(i: int, left: Axes, right: Axes) -> Any:
        for ax in (left, right):
            ax.clear()
        part = surface.isel({along: i}) if along in surface.dims else surface
        mesh = plane(part, left, points=_points(cube, along, i), limits=limits)
        left.set_title(cell_words(cube, {along: cube[along].values[i].item()}))
        right.plot(places, numbers, "-", color="0.6", lw=1)
        right.plot(places[: i + 1], numbers[: i + 1], "o-", color="#0072b2", ms=3.5)
        right.set_xlabel(dim_label(cube, along))
        right.set_ylabel(variable_label(numbers))
        wrap_labels([left, right])
        return mesh

    return draw


def _points(cube: xr.Dataset, along: str, i: int) -> xr.DataArray | None:
    """Return the networks of a frame: marked ones, or the trajectory up to it."""
    if "plane_points" in cube:
        points = cube["plane_points"].squeeze()
        return points.isel({along: i}) if along in points.dims else points
    return cube["points"].isel({along: slice(i + 1)}) if "points" in cube and along in cube["points"].dims else None
