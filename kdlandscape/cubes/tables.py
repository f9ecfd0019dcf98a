"""A table of a cube as text: means with their standard errors."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import xarray as xr

from kdlandscape.cubes.statistics import mean_in_words, mean_sem
from kdlandscape.nearest import did_you_mean


class Table(NamedTuple):
    """Column names, a row of texts for each cell, and what the numbers mean."""

    header: list[str]
    rows: list[list[str]]
    note: str


def mean_table(cube: xr.Dataset, rows: Sequence[str], over: str = "seed", values: Sequence[str] = ()) -> Table:
    """Return ``mean ± sem`` over one dim: a row for each cell of ``rows``, a column for each value.

    Parameters
    ----------
    cube
        Any cube.
    rows, over
        Dims whose coordinates make the rows, and the dim to average over.
    values
        Variables. One with further dims is followed by a coordinate of each: ``agreement.test``.

    Raises
    ------
    ValueError
        If a value is not in the cube, or does not say which coordinate of a further dim it means.
    """
    columns = {value: mean_sem(_select(cube, value, {*rows, over}), over) for value in values}
    lines = []
    for cell in _cells(cube, rows):
        line = [f"{value:g}" if isinstance(value, float) else str(value) for value in cell]
        for mean, sem, count in columns.values():
            at = {dim: value for dim, value in zip(rows, cell, strict=True) if dim in mean.dims}
            line.append(mean_in_words(*(float(array.sel(at)) for array in (mean, sem, count))))
        lines.append(line)
    size = cube.sizes[over]
    note = f"mean ± standard error over {size} values of {over}" if size > 1 else f"one value of {over}, so no spread"
    return Table([name.replace("_", " ").replace(".", " ") for name in (*rows, *columns)], lines, note)


def format_table(cube: xr.Dataset, rows: Sequence[str], over: str = "seed", values: Sequence[str] = ()) -> str:
    """Return a `mean_table` as text, with a word of a column's name a line."""
    header, cells, note = mean_table(cube, rows, over, values)
    words = [name.split() for name in header]
    depth = max(map(len, words))
    top = [[one[i - depth + len(one)] if i >= depth - len(one) else "" for one in words] for i in range(depth)]
    widths = [max(map(len, column)) for column in zip(*top, *cells, strict=True)]
    text = "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in [*top, *cells]
    )
    return f"{text}\n{note}"


def _select(cube: xr.Dataset, value: str, kept: set[str]) -> xr.DataArray:
    """Return a variable at the coordinates that follow its name, one for each dim that is not kept."""
    name, *coords = value.split(".")
    if name not in cube:
        hint = did_you_mean(name, cube.data_vars)
        raise ValueError(f"table: expected a variable of the cube, got {name!r}.{hint}")
    array = cube[name]
    rest = [str(dim) for dim in array.dims if dim not in kept]
    if len(rest) != len(coords):
        raise ValueError(f"table: expected {'.'.join([name, *(f'<{dim}>' for dim in rest)])}, got {value!r}")
    for dim, coord in zip(rest, coords, strict=True):
        known = [str(item) for item in array[dim].values]
        if coord not in known:
            raise ValueError(f"table: expected a {dim} of {', '.join(known)}, got {coord!r} in {value!r}")
        array = array.isel({dim: known.index(coord)})
    return array


def _cells(cube: xr.Dataset, rows: Sequence[str]) -> list[tuple]:
    return list(product(*(cube[dim].values.tolist() for dim in rows)))
