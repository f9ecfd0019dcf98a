"""Where students change basin: the λ from which on the barrier vanishes and the distance to the teacher shrinks."""

import numpy as np
import xarray as xr

from kdlandscape.cubes.statistics import mean_in_words, mean_sem
from kdlandscape.studies.sentences import cells, require


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


def findings(cube: xr.Dataset) -> list[str]:
    """Say in sentences whether and where the barrier vanishes and the distance to the teacher turns, over seeds.

    The claim counts as reproduced when in every seed (at least three) both signs exist below λ = 1, and their onsets
    lie within one step of the λ grid of each other; anything else is said as it is.

    Raises
    ------
    ValueError
        If the cube lacks the barrier or the distances over ``init_lambda`` and ``seed``.
    """
    require(cube, ["barrier", "distance_start", "distance_end"], ["init_lambda", "seed"])
    onsets = basin_onsets(cube)
    grid = np.sort(cube["init_lambda"].values)
    sentences = []
    for where, cell in cells(onsets, kept=["seed"]):
        cell = cell.isel(seed=np.flatnonzero(cell["done"].values))
        sentences.append(f"{where or 'all runs'}: {_verdict(cell, grid)}")
    return sentences


def _verdict(cell: xr.Dataset, grid: np.ndarray) -> str:
    barrier, distance = cell["barrier_vanishes"].values, cell["distance_shrinks"].values
    n = len(barrier)
    if n < 3:
        return f"not decided: {n} seeds are done, a verdict needs at least 3."
    both = np.isfinite(barrier) & np.isfinite(distance) & (barrier < 1)
    steps = np.abs(np.searchsorted(grid, barrier[both]) - np.searchsorted(grid, distance[both]))
    reproduced = both.all() and (steps <= 1).all()
    spread = {name: _spread(cell[name]) for name in ("barrier_vanishes", "distance_shrinks")}
    return (
        f"the linear barrier vanishes (below 1 % of its height at λ = {grid[0]:g}) from λ = "
        f"{spread['barrier_vanishes']} on, the distance to the teacher shrinks from λ = {spread['distance_shrinks']} "
        f"on; both signs in {int(both.sum())} of {n} seeds, within one grid step in {int((steps <= 1).sum())}: "
        f"{'reproduced' if reproduced else 'NOT reproduced'}."
    )


def _spread(onsets: xr.DataArray) -> str:
    mean, sem, count = (float(part) for part in mean_sem(onsets))
    if not count:
        return "nowhere"
    return f"{mean_in_words(mean, sem, count)} (range {float(onsets.min()):g}–{float(onsets.max()):g})"
