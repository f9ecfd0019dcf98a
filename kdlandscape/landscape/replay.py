"""Batched programs that are recorded once and replayed: the same operations, without the cost of tracing each call."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves

from kdlandscape.landscape.cuda_graphs import captured


def traced(function: Callable[..., Any], after: int = 20) -> Callable[..., Any]:
    """Record a batched program for each shape of its arguments, once it has run a few times, and replay its operations.

    The same operations in the same order, so the same bits, without the cost of ``vmap`` and ``grad`` at every step;
    recording costs about as much as ``after`` runs. On a GPU the operations are replayed as one launch. A program that
    cannot be recorded runs as it is.
    """
    programs: dict[tuple, Callable[..., Any]] = {}
    calls: Counter[tuple] = Counter()

    def run(*arguments: Any) -> Any:
        key = tuple((leaf.shape, leaf.dtype, leaf.stride()) for leaf in tree_leaves(arguments))
        calls[key] += 1
        if calls[key] == after + 1:
            try:
                programs[key] = captured(make_fx(lambda *inputs: function(*inputs))(*arguments), after=1)
            except (RuntimeError, TypeError, ValueError, NotImplementedError):  # control flow on values, say
                programs[key] = function
        return programs.get(key, function)(*arguments)

    return run
