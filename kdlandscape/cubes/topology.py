"""The basins of a plane, and which of them are real: merge tree and persistence of a surface on a grid."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from kdlandscape.cubes.variables import dataset, variable

LEAST_POINTS = 5  # along each axis: every second point still makes a plane
_NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


class Basin(NamedTuple):
    """A basin: its lowest cell, the cell where it meets a deeper one (its own for the deepest), and that one's place.

    Cells are numbers into the raveled grid.
    """

    low: int
    saddle: int
    parent: int


def plane_basins(surface: xr.DataArray, *, least: float | None = None) -> xr.Dataset:
    r"""Return the basins of a surface over ``y, x`` with the heights at which they merge (its merge tree).

    As water rises, a basin is born at each local minimum; where two meet, the shallower one ends. The difference of
    both heights is its *persistence*: the climb that leads out of it into a deeper basin. A cell's neighbours are the
    eight around it. Infinite or missing cells are never under water.

    Parameters
    ----------
    surface
        Over two dims, the last two axes of a plane, such as ``plane["loss"]``.
    least
        The smallest persistence that counts; default: a hundredth of the range of finite values. What is below it
        is ripple.

    Returns
    -------
    xarray.Dataset
        Over ``basin``, the deepest first: ``birth`` and ``death`` (the height at the lowest cell, and at the saddle;
        for the deepest the largest height), ``persistence``, the places ``low_x``, ``low_y``, ``saddle_x``,
        ``saddle_y``, and ``parent``, the basin it merges into (itself for the deepest). ``resolved``: whether every
        second point of the grid shows as many basins; where not, the attribute ``note`` says that it is too coarse.

    Raises
    ------
    ValueError
        If the surface has not two dims, is smaller than 5 by 5, or has no finite cell.

    References
    ----------
    Edelsbrunner and Harer, Computational Topology, 2010, section VII.1 (persistence of sublevel sets, dimension 0).
    """
    if surface.ndim != 2 or min(surface.shape) < LEAST_POINTS:
        raise ValueError(
            f"expected a plane of at least {LEAST_POINTS} by {LEAST_POINTS} points, got {dict(surface.sizes)}: on a "
            "coarser one no basin can be told from a ripple"
        )
    heights = np.where(np.isfinite(surface.values), surface.values, np.inf).astype(float)
    finite = heights[np.isfinite(heights)]
    if not finite.size:
        raise ValueError("expected a surface with finite values, got none")
    floor = 0.01 * float(np.ptp(finite)) if least is None else float(least)
    tree = {one.low: one for one in merge_tree(heights)}
    found = [one for one in tree.values() if _persistence(heights, one) >= floor or one.low == one.saddle]
    coarse = heights[::2, ::2]
    again = sum(_persistence(coarse, one) >= floor or one.low == one.saddle for one in merge_tree(coarse))
    number = {one.low: i for i, one in enumerate(found)}
    parents = [_kept(one, tree, number) for one in found]
    resolved = variable((), again == len(found), "whether every second point shows as many basins")
    labelled = _labelled(surface, heights, found, parents).assign(resolved=resolved)
    return labelled.assign_attrs(least_persistence=floor, num_coarse=again, note=_note(len(found), again))


def merge_tree(heights: np.ndarray) -> list[Basin]:
    """Return all basins of heights (h, w), the deepest first; cells of height inf are left out.

    Cells are visited from the lowest up; a union-find of basins keeps the deepest cell as the root of each.
    """
    flat, (rows, columns) = heights.ravel(), heights.shape
    root = np.full(flat.size, -1)
    ends: dict[int, tuple[int, int]] = {}

    def find(cell: int) -> int:
        while root[cell] != cell:
            root[cell] = root[root[cell]]
            cell = root[cell]
        return cell

    order = np.argsort(flat, kind="stable")
    rank = np.empty(flat.size, dtype=int)
    rank[order] = np.arange(flat.size)
    for cell in order[np.isfinite(flat[order])].tolist():
        root[cell] = cell
        y, x = divmod(cell, columns)
        near = [(y + dy) * columns + x + dx for dy, dx in _NEIGHBOURS if 0 <= y + dy < rows and 0 <= x + dx < columns]
        around = sorted({find(other) for other in near if root[other] >= 0}, key=lambda one: rank[one])
        for shallow in around[1:]:
            ends[shallow] = cell, around[0]
            root[shallow] = around[0]
        if around:
            root[cell] = around[0]
        else:
            ends.setdefault(cell, (cell, cell))  # born; overwritten where it ends
    lows = sorted(ends, key=lambda one: rank[one])
    return [Basin(low, *ends[low]) for low in lows]


def _persistence(heights: np.ndarray, basin: Basin) -> float:
    flat = heights.ravel()
    return float(flat[basin.saddle] - flat[basin.low])


def _labelled(surface: xr.DataArray, heights: np.ndarray, found: list[Basin], parents: list[int]) -> xr.Dataset:
    flat, units = heights.ravel(), str(surface.attrs.get("units", "1"))
    y, x = (surface[dim].values if dim in surface.coords else np.arange(surface.sizes[dim]) for dim in surface.dims)
    places = {"low": [one.low for one in found], "saddle": [one.saddle for one in found]}
    top = float(flat[np.isfinite(flat)].max())
    birth = flat[places["low"]]
    death = np.where(np.equal(places["low"], places["saddle"]), top, flat[places["saddle"]])
    values = {
        "birth": variable("basin", birth, "height of the lowest point of the basin", units),
        "death": variable("basin", death, "height at which the basin meets a deeper one", units),
        "persistence": variable("basin", death - birth, "climb out of the basin into a deeper one", units),
        "parent": variable("basin", parents, "the basin it merges into"),
    }
    for name, cells in places.items():
        rows, columns = np.divmod(cells, surface.shape[1])
        values[f"{name}_x"] = variable("basin", x[columns], f"x of the {name} of the basin")
        values[f"{name}_y"] = variable("basin", y[rows], f"y of the {name} of the basin")
    return dataset(values, {"basin": range(len(found))})


def _note(count: int, coarse: int) -> str:
    """Return why the plane is too coarse; empty if it is not."""
    if coarse == count:
        return ""
    return (
        f"the plane is too coarse to count its basins: all points show {count}, every second one {coarse}; "
        "give it more points"
    )


def _kept(basin: Basin, tree: dict[int, Basin], number: dict[int, int]) -> int:
    """Return the number of the nearest basin down the tree that counts."""
    parent = basin.parent
    while parent not in number:
        parent = tree[parent].parent
    return number[parent]
