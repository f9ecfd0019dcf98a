"""The order in which the points of a grid are computed, and what stands in for the points that are not there yet."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

_COARSE = 9  # steps along an axis that come first, at most


def coarse_to_fine(shape: Sequence[int]) -> list[np.ndarray]:
    """Return the flat indices of a grid by level, each level from the middle out.

    The first level has every 2ᵏ-th point of an axis and both its ends, so it spans the grid: at most 11 points along
    any axis. Each further level halves the step.
    """
    longest = max(shape, default=1)
    strides = [1]
    while (longest - 1) // strides[0] >= _COARSE:
        strides.insert(0, 2 * strides[0])
    # An axis counts its points from the middle, so that the centre of a symmetric grid belongs to every level.
    distances = np.meshgrid(*(np.abs(np.arange(n) - n // 2) for n in shape), indexing="ij")
    edges = np.meshgrid(*(np.isin(np.arange(n), (0, n - 1)) for n in shape), indexing="ij")
    level = np.full(tuple(shape), len(strides) - 1)
    for rank in reversed(range(len(strides))):
        on_level = [(d % strides[rank] == 0) | edge for d, edge in zip(distances, edges, strict=True)]
        level[np.all(on_level, axis=0)] = rank
    outwards = np.argsort(np.sum(distances, axis=0).reshape(-1), kind="stable")
    levels = [outwards[level.reshape(-1)[outwards] == rank] for rank in range(len(strides))]
    return [index for index in levels if len(index)]


def filled(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return values with every unknown point replaced by the nearest known one; NaN that were computed stay."""
    if known.all() or not known.any():
        return values
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[tuple(nearest)]
