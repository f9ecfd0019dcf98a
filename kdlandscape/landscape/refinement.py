"""Evaluate the points of a grid coarse to fine, in steps that can be watched, interrupted and resumed."""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.utils._pytree import tree_leaves

from kdlandscape.landscape.loss import MeanLoss

STEP_SECONDS = 0.5  # between two calls of the callback
STREAM_SECONDS = 20.0  # the same where every step reads the data from disk again
SAVE_SECONDS = 2.0  # between two saves


@dataclass
class Grid:
    """Values on a grid as far as they are known: every array has the shape of the grid."""

    coords: Mapping[str, np.ndarray]
    names: Sequence[str]
    values: dict[str, np.ndarray] = field(init=False)
    done: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        shape = tuple(len(axis) for axis in self.coords.values())
        self.values = {name: np.full(shape, np.nan) for name in self.names}
        self.done = np.zeros(shape, dtype=bool)

    def points(self, index: np.ndarray) -> np.ndarray:
        """Coordinates (K, D), in the order of ``coords``, of flat indices (K,)."""
        places = np.unravel_index(index, self.done.shape)
        return np.stack([axis[place] for axis, place in zip(self.coords.values(), places, strict=True)], axis=1)

    def put(self, index: np.ndarray, values: Mapping[str, Tensor]) -> None:
        """Fill in the values at flat indices."""
        for name, rows in values.items():
            self.values[name].reshape(-1)[index] = rows.double().cpu().numpy()
        self.done.reshape(-1)[index] = True

    def adopt(self, saved: xr.Dataset) -> None:
        """Take over the points of a saved slice whose coordinates are exactly those of this grid."""
        shared = [np.intersect1d(axis, saved[dim].values, return_indices=True) for dim, axis in self.coords.items()]
        here, there = np.ix_(*(s[1] for s in shared)), np.ix_(*(s[2] for s in shared))
        order = tuple(self.coords)
        known = saved["done"].transpose(*order).values.astype(bool)[there]
        for name in self.names:
            self.values[name][here] = np.where(known, saved[name].transpose(*order).values[there], np.nan)
        self.done[here] = known


def coarse_to_fine(shape: Sequence[int]) -> list[np.ndarray]:
    """Return flat indices by level: every 8th point of an axis, every 4th, every 2nd, all; each from the middle out."""
    strides = [2**k for k in range(3, -1, -1)]
    # An axis counts its points from the middle, so that the centre of a symmetric grid belongs to every level.
    distances = np.meshgrid(*(np.abs(np.arange(n) - n // 2) for n in shape), indexing="ij")
    level = np.full(tuple(shape), len(strides) - 1)
    for rank in range(len(strides) - 1, -1, -1):
        level[np.all([d % strides[rank] == 0 for d in distances], axis=0)] = rank
    outwards = np.argsort(np.sum(distances, axis=0).reshape(-1), kind="stable")
    levels = [outwards[level.reshape(-1)[outwards] == rank] for rank in range(len(strides))]
    return [index for index in levels if len(index)]


def fill(
    grid: Grid,
    evaluate: Callable[[Tensor], Mapping[str, Tensor]],
    *,
    seconds: float = STEP_SECONDS,
    report: Callable[[int, int], Any] | None = None,
) -> bool:
    """Evaluate what is missing, coarse to fine; return whether the end was reached.

    ``report(done, total)`` is called after every step; False from it stops.
    """
    size, total = 1, grid.done.size
    for level in coarse_to_fine(grid.done.shape):
        todo = level[~grid.done.reshape(-1)[level]]
        while len(todo):
            now, todo = todo[:size], todo[size:]
            start = time.perf_counter()
            grid.put(now, evaluate(torch.from_numpy(grid.points(now))))
            pace = (time.perf_counter() - start) / len(now)
            size = int(min(max(seconds / pace, 1), 8 * size))
            if report is not None and report(int(grid.done.sum()), total) is False:
                return False
    return True


def key(objective: MeanLoss, origin: Tensor, directions: Tensor) -> str:
    """Hash theta, directions, data, constants of the network, metric names and BatchNorm policy of a slice."""
    digest = hashlib.sha256(repr((objective.metric_names, objective.bn, str(objective.dtype))).encode())
    digest.update(repr(sorted((name, tuple(shape)) for name, shape in objective.shapes.items())).encode())
    constants = [tensor for _, tensor in sorted(objective.constants.items())]
    for tensor in (origin, directions, *constants):
        _update(digest, tensor)
    for batch in objective.batches.loaded():
        for leaf in tree_leaves(batch):
            _update(digest, leaf)
    return digest.hexdigest()


def _update(digest: Any, tensor: Tensor) -> None:
    digest.update(repr((tuple(tensor.shape), str(tensor.dtype))).encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())


def load(path: Path, expected: str, center: Mapping[str, float]) -> xr.Dataset | None:
    """Open a saved slice, or None if there is none.

    Raises
    ------
    ValueError
        If the file holds another slice.
    """
    if not path.exists():
        return None
    with xr.open_dataset(path) as opened:
        saved = opened.load()
    if saved.attrs.get("key") != expected:
        raise ValueError(
            f"{path.name} holds a slice of other weights, directions, data or metrics: expected key "
            f"{expected[:12]}, got {str(saved.attrs.get('key'))[:12]}; give another path, or delete the file"
        )
    for name, value in center.items():
        kept = float(saved[f"marked_{name}"].sel(mark="center"))
        if not np.isclose(kept, value, rtol=1e-4, atol=1e-8, equal_nan=True):
            raise ValueError(
                f"{path.name} holds a slice of another {name}: expected {value:.6g} at the origin, got {kept:.6g}; "
                "give another path, or delete the file"
            )
    return saved


def save(path: Path, slice_: xr.Dataset) -> None:
    """Write a slice as netCDF, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=".nc", prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    try:
        slice_.to_netcdf(name)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def saving(path: Path | None, make: Callable[[], xr.Dataset]) -> Any:
    """Give a function that saves now and then; save at the end, also after an exception or an interrupt."""
    last = time.monotonic()

    def now_and_then() -> None:
        nonlocal last
        if path is not None and time.monotonic() - last > SAVE_SECONDS:
            save(path, make())
            last = time.monotonic()

    try:
        yield now_and_then
    finally:
        if path is not None:
            save(path, make())
