"""The data of an objective: held in memory when small, streamed when large, always in the same order of examples."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from kdlandscape.landscape.reduction import num_examples

HOLD_BYTES = 2**30


@contextmanager
def preserve_rng() -> Iterator[None]:
    """Leave the global random states of torch, numpy and Python as they were, also after an exception."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)


class Batches:
    """An iterable of ``(inputs, targets)`` on one device; floating-point inputs take the dtype asked for.

    Raises
    ------
    ValueError
        If the data are empty or are no pairs of inputs and targets.
    """

    def __init__(self, data: Any, batch_size: int | None, device: torch.device, dtype: torch.dtype) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"expected batch_size of at least 1, got {batch_size}")
        self._device, self._dtype = device, dtype
        source, self.batch_size = _source(data, batch_size)
        self._held: Any = None
        if not isinstance(source, DataLoader):
            self._held = self._move(source)
        elif _bytes(source) <= HOLD_BYTES:
            with preserve_rng():
                batches = list(source)
            if not batches:
                raise ValueError("the data are empty: expected at least one example")
            self._held = tree_map(lambda *parts: torch.cat(parts), *(self._move(_pair(b)) for b in batches))
        self._loader = source
        counts = [num_examples(batch) for batch in self]
        self.num_examples = sum(counts)
        if not self.num_examples:
            raise ValueError("the data are empty: expected at least one example")

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        if self._held is None:
            yield from self.loaded()
            return
        n = num_examples(self._held)
        step = self.batch_size or max(n, 1)
        for start in range(0, n, step):
            stop = min(start + step, n)
            yield tree_map(lambda leaf, a=start, b=stop: leaf[a:b], self._held)

    @property
    def held(self) -> bool:
        """Whether the whole data set is in memory."""
        return self._held is not None

    def loaded(self) -> Iterator[tuple[Any, Any]]:
        """Yield the data in the largest parts that are there: all at once if held in memory, else batch by batch."""
        if self._held is not None:
            yield self._held
            return
        with preserve_rng():
            yield from (self._move(_pair(batch)) for batch in self._loader)

    def to(self, dtype: torch.dtype) -> "Batches":
        """Return the same data with floating-point numbers in another precision."""
        other = copy.copy(self)
        other._dtype = dtype
        if other._held is not None:
            other._held = other._move(self._held)
        return other

    def _move(self, pair: tuple[Any, Any]) -> tuple[Any, Any]:
        def move(leaf: Any) -> Tensor:
            tensor = torch.as_tensor(leaf)
            return tensor.to(self._device, self._dtype if tensor.is_floating_point() else tensor.dtype)

        return tree_map(move, pair)


def _source(data: Any, batch_size: int | None) -> tuple[Any, int | None]:
    """Return a pair of tensors or a DataLoader, and the batch size."""
    if isinstance(data, DataLoader):
        return data, batch_size or data.batch_size
    if isinstance(data, Dataset):
        size = batch_size or 256
        loader: DataLoader = DataLoader(data, batch_size=size, shuffle=False, collate_fn=default_collate)
        return loader, size
    pair = _pair(data)
    num_examples(pair)
    return pair, batch_size


def _pair(batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return batch[0], batch[1]
    raise ValueError(
        f"expected data as (inputs, targets), a Dataset or a DataLoader of such pairs; got {type(batch).__name__}"
        + (f" of length {len(batch)}" if isinstance(batch, list | tuple) else "")
    )


def _bytes(loader: DataLoader) -> float:
    """Bytes of the whole data set, from its first example; infinite where the length is unknown."""
    if isinstance(loader.dataset, IterableDataset):
        return float("inf")
    n = len(loader.dataset)  # type: ignore[arg-type]
    if n == 0:
        return 0.0
    return float(sum(torch.as_tensor(leaf).nbytes for leaf in tree_leaves(loader.dataset[0])) * n)
