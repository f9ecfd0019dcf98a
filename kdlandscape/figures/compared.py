"""A comparison of checkpoints: agreement of each pair, the paths between them, the plane, and the spectra."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from kdlandscape.cubes.spectra import density
from kdlandscape.cubes.store import first_done
from kdlandscape.cubes.words import dim_label, short_label, value_words, variable_label, variable_words, visible
from kdlandscape.figures.grids import grid_of_axes, hide_shared_labels, legend_above, legend_of_all, wrap_labels
from kdlandscape.figures.spectral import spectral_density
from kdlandscape.figures.surfaces import plane

LOOKS = {"as it is": ("#0173b2", "-"), "permuted": ("#de8f05", "--"), "rescaled": ("#029e73", ":")}
SPLITS: dict[str, Any] = {
    "train": {"lw": 1.3},
    "test": {"lw": 0.8, "alpha": 0.7, "marker": "o", "ms": 2.5, "markevery": 2},
}
COLOURS = {"train": "#0173b2", "test": "#de8f05"}


def pair_fidelity(cube: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw how often every two networks agree, inside the bounds that their accuracies allow.

    Parameters
    ----------
    cube
        Of the study ``compare``, or one of its runs; seeds are averaged.
    ax
        Where to draw; default: new axes.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. Dots: the agreement. Bars: the bounds. Crosses: the agreement of the first network with the
        independent one, where there is one.
    """
    cube, pairs = _mean(cube), cube["pair"].values.tolist()
    if ax is None:
        width = plt.rcParams["figure.figsize"][0]
        ax = plt.subplots(figsize=(width, 0.28 * width + 0.32 * len(pairs)), layout="constrained")[1]
    for offset, (split, colour) in zip((-0.14, 0.14), COLOURS.items(), strict=True):
        part = cube.sel(split=split)
        y = np.arange(len(pairs)) + offset
        if "agreement_min" in part:
            low, high = part["agreement_min"].values, part["agreement_max"].values
            label = f"{split}: bounds by accuracy"
            ax.barh(y, high - low, 0.2, left=low, color=colour, alpha=0.25, lw=0, label=label)
        ax.plot(part["agreement"].values, y, "o", color=colour, ms=4, label=f"{split}: agreement")
        if "control_agreement" in part:
            ax.plot(
                part["control_agreement"].values,
                y,
                "x",
                color=colour,
                ms=5,
                label=f"{split}: teacher and independent network",
            )
    ax.set_yticks(range(len(pairs)), [visible(pair) for pair in pairs])
    ax.set_ylim(len(pairs) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.set_xlabel(variable_label(cube["agreement"]))
    ax.set_ylabel(dim_label(cube, "pair"))
    wrap_labels([ax])
    legend_above(ax)
    return ax


def pair_paths(cube: xr.Dataset, axes: np.ndarray | None = None) -> np.ndarray:
    """Draw the loss, and the loss at the calibrated temperature, along the path between every two networks.

    Parameters
    ----------
    cube
        Of the study ``compare``, or one of its runs; seeds are averaged.
    axes
        (number of pairs with a path, 2); default: new ones.

    Returns
    -------
    numpy.ndarray
        The axes: left the loss, right at the calibrated temperature; plain lines on training data, those with dots on
        test data.

    Raises
    ------
    ValueError
        If no pair has a path.
    """
    cube = _mean(cube)
    pairs = [pair for pair in cube["pair"].values.tolist() if cube["path_loss"].sel(pair=pair).notnull().any()]
    if not pairs:
        raise ValueError("expected a pair of networks of one shape, between which there is a path; got none")
    if axes is None:
        axes = grid_of_axes(2 * len(pairs), 2, height=0.75, sharex=True).reshape(len(pairs), -1)
    for pair, row in zip(pairs, axes, strict=True):
        for ax, name in zip(row, ("path_loss", "path_calibrated_loss"), strict=True):
            values = cube[name].sel(pair=pair)
            for alignment, (colour, dashes) in LOOKS.items():
                for split, look in SPLITS.items():
                    path = values.sel(alignment=alignment, split=split)
                    label = f"{alignment}, {split}"
                    if path.notnull().any():
                        ax.plot(path["t"], path, dashes, color=colour, label=label, **look)
            ax.set_title(visible(pair))
            ax.set_xlabel(dim_label(cube, "t"))
            ax.set_ylabel(short_label(values))
    wrap_labels(axes)
    hide_shared_labels(axes)
    legend_of_all(axes)
    return axes


def network_plane(cube: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the training loss on the plane through the networks.

    Parameters
    ----------
    cube
        Of the study ``compare``, or one of its runs: the first run that is done.
    ax
        Where to draw; default: new axes.
    """
    cube = first_done(cube)
    mesh = plane(cube["plane_loss"], ax, points=cube["plane_points"], at_points=cube["plane_point_loss"])
    assert isinstance(mesh.axes, Axes)
    return mesh.axes


def network_spectra(cube: xr.Dataset, axes: Any = None) -> np.ndarray:
    """Draw the density of the curvature's eigenvalues at each network, and the directions that the data determine.

    Parameters
    ----------
    cube
        Of the study ``compare``, or one of its runs: the first run that is done.
    axes
        Two axes; default: new ones.

    Returns
    -------
    numpy.ndarray
        The axes: left the densities, right the effective dimension over z; bands and bars: one standard error of the
        random draws.
    """
    cube = first_done(cube)
    cube = cube.sel(network=(cube["spectrum_note"] == "").values)
    left, right = np.ravel(grid_of_axes(2, 2, height=0.85) if axes is None else axes)
    spectral_density(density(cube[["nodes", "weights"]], width=0.005), left, hue="network")
    for i, name in enumerate(cube["network"].values.tolist()):
        one, sem = (cube[key].sel(network=name) for key in ("effective_dimension", "effective_dimension_sem"))
        look: Any = {"marker": "osD^v"[i % 5], "ms": 3.5, "ls": ("-", "--", ":", "-.")[i % 4], "lw": 1, "capsize": 2}
        right.errorbar(one["z"], one, np.nan_to_num(sem), label=value_words(name), **look)
    right.set_xscale("log")
    right.set_xlabel(dim_label(cube, "z"))
    right.set_ylabel(variable_words(cube["effective_dimension"]).split(" Σ")[0])
    wrap_labels([right])
    legend_of_all([left, right])
    return np.array([left, right])


def _mean(cube: xr.Dataset) -> xr.Dataset:
    """Return means over the seeds, which repeat random draws alone."""
    if "seed" not in cube.dims:
        return cube
    numbers = [name for name, x in cube.data_vars.items() if x.dtype.kind == "f"]
    return cube[numbers].mean("seed", keep_attrs=True)
