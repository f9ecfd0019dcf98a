"""The order in which a plane is computed, and what stands in for the points that are not there yet."""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

COARSE = 9


def order(num: int) -> Iterator[np.ndarray]:
    """Yield the grid points of a num-by-num plane level by level, coarse first: arrays (K, 2) of (row, column)."""
    step = 1
    while (num - 1) // step >= COARSE:
        step *= 2
    seen = np.zeros((num, num), bool)
    while step:
        places = np.unique([*range(0, num, step), num - 1])
        level = np.zeros_like(seen)
        level[np.ix_(places, places)] = True
        fresh = np.argwhere(level & ~seen)
        if len(fresh):
            yield fresh
        seen |= level
        step //= 2


def filled(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return values with every unknown point replaced by the nearest known one; NaN that were computed stay."""
    if known.all() or not known.any():
        return values
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[tuple(nearest)]
