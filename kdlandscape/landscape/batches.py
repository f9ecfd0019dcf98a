"""The data of an objective: held in memory when small, streamed when large, always the same examples in order."""

import copy
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from kdlandscape.landscape.reduction import num_examples

HOLD_BYTES = 2**30
TARGETS = ("labels", "label", "targets", "target")  # of a batch that is a dict, as Hugging Face's collators make it


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
    """An iterable of ``(inputs, targets)`` on one device.

    Floating-point inputs whose precision is none of the network's take that of its first parameter; floating-point
    targets take the precision of the loss.

    Parameters
    ----------
    data
        A pair of tensors (or trees of them), a list of such pairs (batches, which may be padded to lengths of their
        own), a ``Dataset`` or a ``DataLoader``. A batch may be a dict with its targets under ``labels``.
    batch_size
        Examples a batch; default: what a DataLoader says, else all.
    device, inputs, targets
        Where, the precisions that inputs may have, the preferred first, and the precision of targets.

    Raises
    ------
    ValueError
        If the data are empty, are no pairs of inputs and targets, or differ between two readings: then the loss is no
        function of theta alone.
    """

    def __init__(
        self,
        data: Any,
        batch_size: int | None,
        device: torch.device,
        inputs: tuple[torch.dtype, ...],
        targets: torch.dtype,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"expected batch_size of at least 1, got {batch_size}")
        self._device, self._inputs, self._targets = device, inputs, targets
        self._source, self.batch_size = _source(data, batch_size)
        self._held: list[tuple[Any, Any]] | None = None
        if not isinstance(self._source, DataLoader):
            self._held = [self._move(pair) for pair in self._source]
        elif _bytes(self._source) <= HOLD_BYTES:
            self._held = list(self._read())
            _check_same(self._held, self._read())
        if self._held is not None:
            self._held = _joined(self._held)
        self.num_examples = sum(num_examples(part) for part in self.loaded())
        if not self.num_examples:
            raise ValueError("the data are empty: expected at least one example")

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for part in self.loaded():
            n = num_examples(part)
            step = n if self._held is None else self.batch_size or n
            for start in range(0, n, step):
                stop = min(start + step, n)
                yield tree_map(lambda leaf, a=start, b=stop: leaf[a:b], part)

    @property
    def held(self) -> bool:
        """Whether the whole data set is in memory."""
        return self._held is not None

    def loaded(self) -> Iterator[tuple[Any, Any]]:
        """Yield the data in the largest parts that are there: all at once if held in memory, else batch by batch."""
        yield from self._read() if self._held is None else self._held

    def to(self, inputs: torch.dtype, targets: torch.dtype) -> "Batches":
        """Return the same data with floating-point numbers in other precisions."""
        other = copy.copy(self)
        other._inputs, other._targets = (inputs,), targets
        if other._held is not None:
            other._held = [other._move(part) for part in other._held]
        return other

    def holding(self, part: tuple[Any, Any]) -> "Batches":
        """Return one batch of these data as data of their own."""
        other = copy.copy(self)
        other._held, other.batch_size, other.num_examples = [part], None, num_examples(part)
        return other

    def _read(self) -> Iterator[tuple[Any, Any]]:
        """Read a loader once, and leave the random states as they were."""
        own = getattr(self._source, "generator", None)
        state = own.get_state() if own is not None else None
        try:
            with preserve_rng():
                for batch in self._source:
                    yield self._move(_pair(batch))
        finally:
            if own is not None:
                own.set_state(state)

    def _move(self, pair: tuple[Any, Any]) -> tuple[Any, Any]:
        def moved(leaf: Any, known: tuple[torch.dtype, ...]) -> Tensor:
            tensor = _tensor(leaf)
            keep = not tensor.is_floating_point() or tensor.dtype in known
            return tensor.to(self._device, tensor.dtype if keep else known[0])

        pair = (_array(pair[0]), _array(pair[1]))
        inputs = tuple(pair[0]) if isinstance(pair[0], list) else pair[0]
        return (
            tree_map(lambda leaf: moved(leaf, self._inputs), inputs),
            tree_map(lambda leaf: moved(leaf, (self._targets,)), pair[1]),
        )


def _source(data: Any, batch_size: int | None) -> tuple[Any, int | None]:
    """Return a list of pairs of tensors, or a DataLoader, and the batch size."""
    if isinstance(data, DataLoader):
        return data, batch_size or data.batch_size
    if isinstance(data, Dataset):
        size = batch_size or 256
        loader: DataLoader = DataLoader(data, batch_size=size, shuffle=False, collate_fn=default_collate)
        return loader, size
    several = isinstance(data, list) and bool(data) and all(isinstance(part, list | tuple | Mapping) for part in data)
    pairs = [_pair(part) for part in data] if several else [_pair(data)]
    for inputs, targets in pairs:
        num_examples((_array(inputs), _array(targets)))
    return pairs, batch_size


def _pair(batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return batch[0], batch[1]
    if isinstance(batch, Mapping):
        name = next((name for name in TARGETS if name in batch), None)
        if name is None:
            raise ValueError(f"expected a batch with its targets under {TARGETS[0]!r}, got the keys {list(batch)}")
        return {key: value for key, value in batch.items() if key != name}, batch[name]
    raise ValueError(
        "expected data as (inputs, targets), a list of such pairs, a Dataset or a DataLoader of them; got "
        f"{type(batch).__name__}" + (f" of length {len(batch)}" if isinstance(batch, list | tuple) else "")
    )


def _tensor(leaf: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(leaf)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"expected data as tensors, or tuples and dicts of them, got {type(leaf).__name__}: give the tensors that "
            "it holds as a dict (a graph's features and edges), and let forward put them together; texts are given as "
            "numbers of tokens"
        ) from error
    if not tensor.ndim:
        raise ValueError(f"expected data with a first axis of examples, got the single number {leaf!r}")
    return tensor


def _array(data: Any) -> Any:
    """Return a list of numbers, or an array, as a tensor; anything else as it is."""
    numbers = isinstance(data, list) and bool(data) and all(isinstance(one, int | float) for one in data)
    return torch.as_tensor(data) if numbers or isinstance(data, np.ndarray) else data


def _bytes(loader: DataLoader) -> float:
    """Bytes of the whole data set, from its first example; infinite where the length is unknown."""
    if isinstance(loader.dataset, IterableDataset):
        return float("inf")
    n = len(loader.dataset)  # type: ignore[arg-type]
    if n == 0:
        return 0.0
    with preserve_rng():
        leaves = [leaf for leaf in tree_leaves(loader.dataset[0]) if not isinstance(leaf, str)]
    return float(sum(torch.as_tensor(leaf).nbytes for leaf in leaves) * n)


def _joined(parts: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Join batches into one; batches that are padded to lengths of their own stay apart."""
    if not parts:
        raise ValueError("the data are empty: expected at least one example")
    shapes = {tuple(leaf.shape[1:] for leaf in tree_leaves(part)) for part in parts}
    return parts if len(shapes) > 1 else [tree_map(lambda *leaves: torch.cat(leaves), *parts)]


def _check_same(first: list[tuple[Any, Any]], second: Iterator[tuple[Any, Any]]) -> None:
    """Refuse data of which two readings differ in more than the order of the examples."""
    with preserve_rng():
        torch.rand(1), np.random.random(), random.random()  # noqa: NPY002 - the next reading draws other numbers
        one, two = Counter(_digests(first)), Counter(_digests(second))
    changed = (one - two).total()
    if changed or one != two:
        raise ValueError(
            f"two readings of the data differ: {changed} of {one.total()} examples are not the same (then "
            f"{two.total()}). Expected the same examples every time: turn off random augmentation, sampling, and "
            "shuffle with drop_last; or give one draw of them as tensors"
        )


def _digests(parts: Any) -> Iterator[int]:
    """Yield a hash of each example, padding included."""
    for part in parts:
        rows = [leaf.detach().cpu().contiguous().reshape(len(leaf), -1) for leaf in tree_leaves(part)]
        arrays = [row.view(torch.uint8).numpy() if row.numel() else np.zeros((len(row), 0)) for row in rows]
        yield from (hash(tuple(array[i].tobytes() for array in arrays)) for i in range(num_examples(part)))
