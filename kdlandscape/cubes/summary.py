"""What a cube says in a few lines: means with their standard errors, and where students change basin."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import xarray as xr

from kdlandscape.cubes.basins import basin_findings
from kdlandscape.cubes.claims import format_verdicts
from kdlandscape.nearest import did_you_mean


def mean_sem(values: xr.DataArray, over: str = "seed") -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    r"""Return the mean over a dim, its standard error :math:`s/\sqrt{n}` and n, the number of values present.

    Missing cells (NaN) do not count; with fewer than two values the standard error is NaN.
    """
    count = values.count(over)
    mean = values.mean(over)
    squares = ((values - mean) ** 2).sum(over)
    degrees = (count - 1).where(count > 1)
    return mean, (squares / degrees / count) ** 0.5, count


def format_table(cube: xr.Dataset, rows: Sequence[str], over: str = "seed", values: Sequence[str] = ()) -> str:
    """Format ``mean ± sem`` over one dim: a row for each cell of ``rows``, a column for each value.

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
    header = [name.replace("_", " ").replace(".", " ").split() for name in (*rows, *columns)]
    depth = max(map(len, header))
    lines = [
        [words[i - depth + len(words)] if i >= depth - len(words) else "" for words in header] for i in range(depth)
    ]
    for cell in _cells(cube, rows):
        line = [f"{value:g}" if isinstance(value, float) else str(value) for value in cell]
        for mean, sem, count in columns.values():
            at = {dim: value for dim, value in zip(rows, cell, strict=True) if dim in mean.dims}
            line.append(_number(*(float(array.sel(at)) for array in (mean, sem, count))))
        lines.append(line)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return f"{text}\nmean ± standard error over {cube.sizes[over]} values of {over}"


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


def _number(mean: float, sem: float, count: float) -> str:
    if count == 0:
        return "missing"
    digits = 3 if abs(mean) < 10 else 2
    return f"{mean:.{digits}f} ± {sem:.{digits}f}"


def onset(holds: xr.DataArray, dim: str = "init_lambda") -> xr.DataArray:
    """Return the first coordinate from which on a condition holds to the end of a dim; NaN where it never does."""
    tail = holds.isel({dim: slice(None, None, -1)}).astype(int).cumprod(dim).isel({dim: slice(None, None, -1)})
    return holds[dim].where(tail.astype(bool)).min(dim)


def basin_onsets(cube: xr.Dataset, share: float = 0.01) -> xr.Dataset:
    r"""Return for each run the λ from which on students end in the teacher's basin, by two independent signs.

    ``barrier_vanishes``: the first λ from which on the linear barrier stays below ``share`` of its value at the
    smallest λ.  ``distance_shrinks``: the first λ < 1 from which on training brings the student closer to the
    teacher (Stanton et al. 2021, section 6.2).  At λ = 1 there is no distance to shrink, so that cell is left out.
    """
    cube = cube.sortby("init_lambda")
    inside = cube["barrier"] <= share * cube["barrier"].isel(init_lambda=0, drop=True)
    between = cube.sel(init_lambda=cube["init_lambda"] < 1)
    shrinks = between["distance_end"] < between["distance_start"]
    done = cube["barrier"].notnull().all("init_lambda")
    return xr.Dataset(
        {"barrier_vanishes": onset(inside).where(done), "distance_shrinks": onset(shrinks).where(done), "done": done}
    )


def findings(cube: xr.Dataset, over: str = "seed") -> list[str]:
    """Say in sentences whether and where the barrier vanishes and the distance to the teacher turns, over seeds.

    The claim counts as reproduced when in every seed (at least three) both signs exist below λ = 1, and their onsets
    lie within one step of the λ grid of each other; anything else is said as it is. A cube with the dim ``partner``
    gets the findings of `kdlandscape.cubes.basins`, one of claims its verdicts.
    """
    if "verdict" in cube:
        return format_verdicts(cube).splitlines()
    if "partner" in cube.dims:
        return basin_findings(cube, over)
    if not {"barrier", "distance_start", "distance_end"} <= set(cube.data_vars) or "init_lambda" not in cube.dims:
        return []
    onsets = basin_onsets(cube)
    others = [dim for dim in onsets["done"].dims if dim != over]
    stacked = onsets.stack(cell=others) if others else onsets.expand_dims(cell=[()])
    grid = np.sort(cube["init_lambda"].values)
    sentences = []
    for i, key in enumerate(stacked["cell"].values.tolist()):
        cell = stacked.isel(cell=i)
        cell = cell.isel({over: np.flatnonzero(cell["done"].values)})
        where = ", ".join(f"{dim}={value}" for dim, value in zip(others, key, strict=True)) or "all runs"
        sentences.append(f"{where}: {_verdict(cell, grid)}")
    return sentences


def _verdict(cell: xr.Dataset, grid: np.ndarray) -> str:
    barrier, distance = cell["barrier_vanishes"].values, cell["distance_shrinks"].values
    n = len(barrier)
    if n < 3:
        return f"not decided: {n} seeds are done, a verdict needs at least 3."
    both = np.isfinite(barrier) & np.isfinite(distance) & (barrier < 1)
    steps = np.abs(np.searchsorted(grid, barrier[both]) - np.searchsorted(grid, distance[both]))
    reproduced = both.all() and (steps <= 1).all()
    return (
        f"the linear barrier vanishes (below 1 % of its height at λ = {grid[0]:g}) from λ = {_spread(barrier)} on, "
        f"the distance to the teacher shrinks from λ = {_spread(distance)} on; both signs in {int(both.sum())} of {n} "
        f"seeds, within one grid step in {int((steps <= 1).sum())}: {'reproduced' if reproduced else 'NOT reproduced'}."
    )


def _spread(values: np.ndarray) -> str:
    present = values[np.isfinite(values)]
    if not len(present):
        return "nowhere"
    sem = present.std(ddof=1) / len(present) ** 0.5 if len(present) > 1 else np.nan
    return f"{present.mean():.3f} ± {sem:.3f} (range {present.min():g}–{present.max():g})"
