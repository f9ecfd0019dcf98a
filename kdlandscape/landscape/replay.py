"""Batched programs that are recorded once and replayed: less work, and not the cost of tracing each call."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves

from kdlandscape.landscape.cuda_graphs import captured
from kdlandscape.landscape.leaner import leaner

Function = Callable[..., Any]
Content = tuple[str, dict[str, Tensor]]  # the operations, and the constants among what they take


def traced(function: Function) -> Function:
    """Record a batched program at its first call for each shape of its arguments, and replay what it does, made leaner.

    Without the cost of ``vmap`` and ``grad`` at every step; recording costs about as much as 20 runs. It is the first
    call that records, so that a program which is begun anew, after an interruption say, gives the same bits; the second
    one records again. A program that cannot be recorded, or is another one by then, since it depends on a counter or a
    schedule, runs as it is. On a GPU the operations are replayed as one launch.
    """
    programs: dict[tuple, Function] = {}
    recordings: dict[tuple, Content] = {}

    def run(*arguments: Any) -> Any:
        key = tuple((leaf.shape, leaf.dtype, leaf.stride()) for leaf in tree_leaves(arguments))
        if key not in programs:
            first = _recorded(function, arguments)
            programs[key] = function
            if first is not None:
                recordings[key] = _content(first)
                programs[key] = captured(leaner(first), after=1)
        elif key in recordings:
            again = _recorded(function, arguments)
            if again is None or not _same(recordings.pop(key), _content(again)):
                programs[key] = function
        return programs[key](*arguments)

    return run


def _recorded(function: Function, arguments: tuple) -> fx.GraphModule | None:
    try:
        return make_fx(lambda *inputs: function(*inputs))(*arguments)
    except (RuntimeError, TypeError, ValueError, NotImplementedError):  # control flow on values, say
        return None


def _content(program: fx.GraphModule) -> Content:
    return program.code, dict(program.named_buffers())


def _same(one: Content, other: Content) -> bool:
    (code, held), (other_code, now) = one, other
    return code == other_code and held.keys() == now.keys() and all(torch.equal(held[name], now[name]) for name in held)
