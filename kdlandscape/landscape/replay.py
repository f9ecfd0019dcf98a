"""Batched programs that are recorded once and replayed: less work, and not the cost of tracing each call."""

from collections.abc import Callable
from typing import Any

from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves

from kdlandscape.landscape.cuda_graphs import captured
from kdlandscape.landscape.leaner import leaner


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Record a batched program at its first call for each shape of its arguments, and replay what it does, made leaner.

    Without the cost of ``vmap`` and ``grad`` at every step; recording costs about as much as 20 runs. It is the first
    call that records, so that a program which is begun anew, after an interruption say, gives the same bits. On a GPU
    the operations are replayed as one launch. A program that cannot be recorded runs as it is.
    """
    programs: dict[tuple, Callable[..., Any]] = {}

    def run(*arguments: Any) -> Any:
        key = tuple((leaf.shape, leaf.dtype, leaf.stride()) for leaf in tree_leaves(arguments))
        if key not in programs:
            try:
                programs[key] = captured(leaner(make_fx(lambda *inputs: function(*inputs))(*arguments)), after=1)
            except (RuntimeError, TypeError, ValueError, NotImplementedError):  # control flow on values, say
                programs[key] = function
        return programs[key](*arguments)

    return run
