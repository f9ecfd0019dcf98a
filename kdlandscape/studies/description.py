"""What any cube says in sentences: its size, what is missing, and where each of its numbers is least and greatest."""

from collections.abc import Hashable

import numpy as np
import xarray as xr

from kdlandscape.cubes.schema import DONE
from kdlandscape.cubes.statistics import t_interval
from kdlandscape.cubes.words import cell_words, dim_symbol, kind, number_words, unit_of, variable_words

#: Dims of one picture, of a path or of a spectrum: a variable over one of them is no number of a run.
_INSIDE = {"x", "y", "t", "point", "axis", "step", "epoch", "eigenvalue", "draw", "node", "grid", "z", "dim"}
_DIAGNOSTIC = ("_sem", "_error", "_errors", "residuals", "converged", "_truncation", "num_matvecs", "finite")
_LONGEST = 400  # cells of a variable that a reader can still tell apart by their coordinates
_MOST = 8  # sentences


def numbers(cube: xr.Dataset) -> list[str]:
    """Return the variables that are one number for each cell of a study, in the order of the cube."""
    return [
        str(name)
        for name, array in cube.data_vars.items()
        if array.dtype.kind in "biuf"
        and name != DONE
        and array.size
        and not _INSIDE & set(map(str, array.dims))
        and not str(name).endswith(_DIAGNOSTIC)
        and np.prod([cube.sizes[dim] for dim in array.dims if kind(cube, str(dim)) != "repeat"]) <= _LONGEST
    ]


def repeats(values: xr.DataArray) -> list[Hashable]:
    """Return the dims of a variable that repeat the same measurement."""
    return [dim for dim in values.dims if kind(values, str(dim)) == "repeat"]


def describe(cube: xr.Dataset, most: int = _MOST) -> list[str]:
    """Say of each number of a cube where its mean is least and greatest, with its 95 % t interval over repeats.

    Parameters
    ----------
    cube
        Any cube; no name or dim is expected of it.
    most
        How many sentences.

    Returns
    -------
    list of str
        The last one says what is left out, if anything is.
    """
    names = numbers(cube)
    said = [_sentence(cube[name]) for name in names[:most]]
    if len(names) > most:
        said.append(f"{len(names) - most} more variables are in the table of variables.")
    return said or ["No variable of this cube is one number for each run; its figures show what it holds."]


def _sentence(values: xr.DataArray) -> str:
    values = values.astype(float).load()
    words, unit, over = variable_words(values), unit_of(values), repeats(values)
    words = words[:1].upper() + words[1:]
    found = t_interval(values, over) if over else _alone(values)
    mean = found["mean"]
    if not int(np.isfinite(mean).sum()):
        return f"{words}: no finished run has a value."
    hidden = int(np.isinf(mean).sum() + (found["count"] == 0).sum())
    lost = f" {hidden} of {mean.size} cells have no finite value." if hidden else ""
    flat = mean.where(np.isfinite(mean)).values.ravel()
    low, high = int(np.nanargmin(flat)), int(np.nanargmax(flat))
    if flat[low] == flat[high]:
        everywhere = " everywhere" if mean.size > 1 else ""
        return f"{words} is {_told(found, low, unit)}{everywhere}{_over(values, over)}.{lost}"
    return (
        f"{words} goes from {_told(found, low, unit)} at {_place(mean, low)} to {_told(found, high, unit)} at "
        f"{_place(mean, high)}{_over(values, over)}.{lost}"
    )


def _alone(values: xr.DataArray) -> xr.Dataset:
    nothing = xr.full_like(values, np.nan)
    return xr.Dataset({"mean": values, "low": nothing, "high": nothing, "count": values.notnull().astype(int)})


def _told(found: xr.Dataset, place: int, unit: str) -> str:
    mean, low, high = (float(found[name].values.ravel()[place]) for name in ("mean", "low", "high"))
    if not np.isfinite([low, high]).all():
        return number_words(mean, unit)
    return f"{number_words(mean, unit)} ({low:.4g} to {high:.4g})"


def _place(mean: xr.DataArray, place: int) -> str:
    where = np.unravel_index(place, mean.shape)
    cell = {}
    for dim, i in zip(map(str, mean.dims), where, strict=True):
        values = mean[dim].values if dim in mean.coords else np.arange(mean.sizes[dim])
        cell[dim] = str(values[i]) if values.dtype.kind in "mM" else values[i].item()
    return cell_words(mean, {dim: value for dim, value in cell.items() if mean.sizes[dim] > 1})


def _over(values: xr.DataArray, over: list[Hashable]) -> str:
    """Say what a mean and its interval are taken over."""
    counts = [f"{values.sizes[dim]} values of {dim_symbol(values, str(dim))}" for dim in over if values.sizes[dim] > 1]
    return f" (mean and 95 % t interval over {' and '.join(counts)})" if counts else " (one value each: no interval)"
