"""CUDA graphs: what a function launches on a GPU, recorded once for each shape and replayed as one launch."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten


class _Recording(NamedTuple):
    """A graph, the tensors that it reads its arguments from, and those that it leaves its results in."""

    graph: Any
    given: list[Tensor]
    found: Any

    def replay(self, leaves: list[Tensor]) -> Any:
        torch._foreach_copy_(self.given, leaves)
        self.graph.replay()
        return tree_map(torch.clone, self.found)


def captured(function: Callable[..., Any], *, after: int = 3) -> Callable[..., Any]:
    """Replay on a GPU what a function launches there; the function itself where there is no GPU.

    A host needs microseconds for each launch, longer than a small kernel runs; a recorded graph is one launch. It is
    recorded for each shape of the arguments, at call ``after``, and kept where its results are those of the function;
    what cannot be recorded, because it asks for a value on the way or copies from the host, is called as before.

    Parameters
    ----------
    function
        From tensors to tensors, in trees of any form. It draws no random numbers, and of what it reads beside its
        arguments it keeps the tensors where they are. What it differentiates was computed inside `beside`.
    after
        The call at which to record, which costs about four calls more.
    """
    if not torch.cuda.is_available():
        return function
    recordings: dict[Any, _Recording | None] = {}
    calls: Counter[Any] = Counter()

    def run(*arguments: Any) -> Any:
        leaves, structure = tree_flatten(arguments)
        if not all(isinstance(leaf, Tensor) and leaf.is_cuda for leaf in leaves):
            return function(*arguments)
        key = (str(structure), *((leaf.shape, leaf.dtype, leaf.stride()) for leaf in leaves))
        calls[key] += 1
        if calls[key] == after and not torch.cuda.is_current_stream_capturing():
            recordings[key] = _recorded(function, leaves, structure)
        made = recordings.get(key)
        return function(*arguments) if made is None else made.replay(leaves)

    return run


@contextmanager
def beside(device: torch.device) -> Iterator[None]:
    """Work on a stream of its own, on which graphs are recorded; a backward pass runs on the stream of its forward."""
    if device.type != "cuda" or not torch.cuda.is_available():
        yield
        return
    side, main = _side(device), torch.cuda.current_stream(device)
    side.wait_stream(main)
    with torch.cuda.stream(side):
        yield
    main.wait_stream(side)


@contextmanager
def _no_waits() -> Iterator[None]:
    """Let an operation for whose result the host waits raise RuntimeError."""
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


@cache
def _side(device: torch.device) -> Any:
    return torch.cuda.Stream(device)


@cache
def _pool(device: torch.device) -> Any:
    """Return the memory that all graphs share: none runs beside another, and results are copied out at once."""
    return torch.cuda.graph_pool_handle()


def _recorded(function: Callable[..., Any], leaves: list[Tensor], structure: Any) -> _Recording | None:
    device = leaves[0].device
    given = [leaf.detach().clone() for leaf in leaves]
    expected = function(*tree_unflatten(leaves, structure))
    graph = torch.cuda.CUDAGraph()
    try:
        with beside(device), _no_waits():  # a graph that fails half way can spoil the device's context
            function(*tree_unflatten(given, structure))
        torch.cuda.synchronize(device)
        with torch.cuda.graph(graph, pool=_pool(device), stream=_side(device), capture_error_mode="thread_local"):
            found = function(*tree_unflatten(given, structure))
        found = tree_map(torch.Tensor.detach, found)
        made = _Recording(graph, given, found)
        return made if agree(made.replay(leaves), expected) else None
    except (RuntimeError, TypeError):  # a wait for a value, a copy from the host, a result that is no tensor
        return None


def agree(found: Any, expected: Any) -> bool:
    """Whether results, trees of tensors, are the same up to the order of sums."""
    for one, other in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        exact = not one.is_floating_point()
        tolerance = 0.0 if exact else torch.finfo(one.dtype).eps ** 0.5
        size = 0.0 if exact else float(other.detach().abs().nan_to_num(0, 0, 0).amax()) if other.numel() else 0.0
        if not torch.allclose(one, other.detach(), rtol=tolerance, atol=tolerance * size, equal_nan=True):
            return False
    return True
