"""Choices by measurement: calls timed in turns, a budget for the trial, and micro-batches that stay in the caches."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.reduction import num_examples

LEAST_PAIRS = 4
SMALL = 0.1  # a difference that is not known, but not above, is known to be small
MEMORY = 2**29  # bytes that may be kept on a CPU
FEW = 8  # points or products for which a trial never pays
ACTIVATION_BYTES = {"cpu": 4 * 2**20}  # the largest activation of a micro-batch: what the caches of a core hold
OTHER_ACTIVATION_BYTES = 2**28
#: Each micro-batch moves several vectors like theta: its largest activation is no smaller than this part of one.
THETA = 16


def fastest(functions: Sequence[Callable[[], Any]], *, turns: int = 2, seconds: float = 0.0) -> list[float]:
    """Return the seconds of the fastest call of each: other programs only slow a call down.

    The functions are called in turns, so that a busy machine slows all of them alike: ``turns`` times, and on until
    all calls together have taken ``seconds``.
    """
    times: list[list[float]] = [[] for _ in functions]
    while len(times[0]) < turns or sum(map(sum, times)) < seconds:
        for function, row in zip(functions, times, strict=True):
            row.append(_timed(function))
    return [min(row) for row in times]


class Compared(NamedTuple):
    """How long one call takes over another, and whether that is known: beyond its spread, or within 10 % of 1."""

    ratio: float
    known: bool


def compared(
    one: Callable[[], Any], other: Callable[[], Any], *, units: tuple[int, int], matters: float, seconds: float
) -> Compared:
    """Return the time of ``one`` over that of ``other``, a unit of their work each, as the median of ratios in pairs.

    What slows the machine down for a while slows both calls of a pair. Pairs are taken, in changing order, until the
    median's distance from 1 is three times its standard error, or with twice that below ``matters``; at most for
    ``seconds``.
    """
    logs: list[float] = []
    end = time.perf_counter() + seconds
    while True:
        order = (one, other) if len(logs) % 2 else (other, one)
        times = dict(zip(order, (_timed(call) for call in order), strict=True))
        logs.append(math.log(times[one] / units[0]) - math.log(times[other] / units[1]))
        if len(logs) >= LEAST_PAIRS:
            middle, error = abs(statistics.median(logs)), statistics.stdev(logs) / math.sqrt(len(logs))
            if middle > 3 * error or middle + 2 * error < math.log1p(matters) or time.perf_counter() > end:
                return Compared(math.exp(statistics.median(logs)), middle > 3 * error or middle + 2 * error < SMALL)


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


class Budget:
    """Seconds that a trial may take, from now on."""

    def __init__(self, seconds: float) -> None:
        self._end = time.perf_counter() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(self._end - time.perf_counter(), 0.0)

    def allows(self, seconds: float) -> bool:
        """Whether there is time for that much more."""
        return time.perf_counter() + seconds <= self._end


def micro_batches(batch: Any, examples: int | None, channels_last: bool) -> Iterator[Any]:
    """Cut a batch into micro-batches of so many examples (None: all), images laid out channels last on request."""
    n = num_examples(batch)

    def layout(leaf: Tensor) -> Tensor:
        images = channels_last and leaf.ndim == 4 and leaf.is_floating_point()
        return leaf.contiguous(memory_format=torch.channels_last) if images else leaf

    step = examples or n
    for start in range(0, n, step):
        yield tree_map(lambda leaf, a=start: layout(leaf[a : a + step]), batch)


def room(device: torch.device) -> int:
    """Return how many bytes may be kept between points or products: half a GiB, on a GPU a quarter of what is free."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return MEMORY
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + unused) // 4


def examples_that_fit(objective: MeanLoss) -> int:
    """Return how many examples, a power of two, keep the largest activation small, or small beside theta."""
    room = max(ACTIVATION_BYTES.get(objective.device.type, OTHER_ACTIVATION_BYTES), objective.theta.nbytes // THETA)
    return 2 ** (max(room // max(activation_bytes(objective), 1), 1).bit_length() - 1)


def activation_bytes(objective: MeanLoss) -> int:
    """Return the bytes an example of the largest output of any layer, from one forward pass over up to 8 examples."""
    if "activation" not in objective.cache:
        batch = next(objective.batches.loaded())
        inputs = tree_map(lambda leaf: leaf[:8], batch[0])
        sizes = [0]

        def record(layer: nn.Module, args: Any, output: Any) -> None:
            sizes.extend(leaf.nbytes for leaf in tree_leaves(output) if isinstance(leaf, Tensor))

        hooks = [layer.register_forward_hook(record) for layer in objective.model.modules()]
        try:
            with torch.no_grad():
                objective.outputs(objective.theta, inputs)
        finally:
            for hook in hooks:
                hook.remove()
        objective.cache["activation"] = max(sizes) // num_examples(inputs)
    return objective.cache["activation"]
