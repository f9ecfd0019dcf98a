"""What an explorer calls variables and places, and how it groups them."""

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from kdlandscape.cubes.words import cell_words, variable_words, visible

#: What a variable is about, in the order of the list; what only says how good another number is comes last.
SUBJECTS = ("surface", "path", "spectrum", "number", "error or diagnostic")
_DIAGNOSTIC = ("_sem", "_error", "_errors", "residuals", "converged", "_truncation", "num_matvecs", "finite")


def coordinate(cube: xr.Dataset | xr.DataArray, dim: str) -> list[Any]:
    """Return the coordinates of a dim, or its positions where it has none."""
    if dim not in cube.coords:
        return list(range(cube.sizes[dim]))
    values = cube[dim]
    return values.values.astype(str).tolist() if values.dtype.kind in "mM" else values.values.tolist()


def place_words(cube: xr.Dataset, at: Mapping[str, int], dims: Sequence[str]) -> str:
    """Return the cell at some positions in words, such as ``seed = 0, λ = 0.25``."""
    return cell_words(cube, {dim: coordinate(cube, dim)[at[dim]] for dim in dims})


def subject(array: xr.Variable | xr.DataArray, name: str) -> str:
    """Return what a variable is about, one of `SUBJECTS`."""
    words = str(array.attrs.get("long_name", ""))
    if name.endswith(_DIAGNOSTIC) or words.startswith(("standard error", "bound on", "expected error of the eigen")):
        return SUBJECTS[4]
    if {"x", "y"} <= set(array.dims):
        return SUBJECTS[0]
    if "t" in array.dims:
        return SUBJECTS[1]
    return SUBJECTS[2] if {"eigenvalue", "grid", "z"} & set(array.dims) or "trace" in name else SUBJECTS[3]


def variable_list(cube: xr.Dataset, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return (words, name) of variables for a list, grouped by subject; words that two share get the name too."""
    words = {name: variable_words(cube.variables[name], name) for name in names}
    shared = list(words.values())
    about = {name: subject(cube.variables[name], name) for name in names}
    return [
        (f"{about[name]}: {words[name]}{f' ({visible(name)})' if shared.count(words[name]) > 1 else ''}", name)
        for name in sorted(names, key=lambda name: SUBJECTS.index(about[name]))
    ]
