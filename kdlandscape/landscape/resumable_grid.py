"""Evaluate the points of a grid coarse to fine, in steps that can be watched, interrupted and resumed."""

import hashlib
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

from kdlandscape.cubes.clock_ahead import in_trial
from kdlandscape.cubes.coarse_to_fine import coarse_to_fine
from kdlandscape.cubes.seals import check_seal, write_sealed
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
    """Open a saved slice, or None if there is none; a trial knows none, since its networks are hardly trained.

    Raises
    ------
    ValueError
        If the file holds another slice, or is damaged.
    """
    if not path.exists() or in_trial():
        return None
    check_seal(path, "; give another path, or delete the file")
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


@contextmanager
def saving(path: Path | None, make: Callable[[], xr.Dataset]) -> Any:
    """Give a function that saves now and then; save at the end, also after an exception or an interrupt.

    Nothing of a trial is saved.
    """
    if in_trial():
        path = None
    last = time.monotonic()

    def now_and_then() -> None:
        nonlocal last
        if path is not None and time.monotonic() - last > SAVE_SECONDS:
            write_sealed(path, make().to_netcdf)
            last = time.monotonic()

    try:
        yield now_and_then
    finally:
        if path is not None:
            write_sealed(path, make().to_netcdf)
