"""Batched programs that are recorded once and replayed: less work, and not the cost of tracing each call."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdlandscape.landscape.cuda_graphs import agree, captured
from kdlandscape.landscape.leaner import leaner

aten = torch.ops.aten

Function = Callable[..., Any]
_WATCHED = 2  # calls


def traced(function: Function) -> Function:
    """Record a batched program at its first call for each shape of its arguments, and replay what it does, made leaner.

    Without the cost of ``vmap`` and ``grad`` at every step; recording costs about as much as 20 runs. It is the first
    call that records, so that a program which is begun anew, after an interruption say, gives the same bits. A program
    that cannot be recorded runs as it is. So does one that takes other operations at its second call than at its first,
    or whose recording gives other results at one of the two: it depends on a counter, a schedule or a tensor that is
    replaced. On a GPU the operations are replayed as one launch.
    """
    programs: dict[tuple, Function] = {}
    watched: dict[tuple, list[Any]] = {}  # the operations of the calls so far

    def run(*arguments: Any) -> Any:
        key = tuple((leaf.shape, leaf.dtype, leaf.stride()) for leaf in tree_leaves(arguments))
        if key not in programs:
            programs[key], watched[key] = _recorded(function, arguments), []
        if programs[key] is function or key not in watched:
            return programs[key](*arguments)
        with _Operations() as log:
            expected = function(*arguments)
        found = programs[key](*arguments)
        watched[key].append(log.calls)
        if any(calls != log.calls for calls in watched[key]) or not agree(found, expected):
            programs[key] = function
            return expected
        if len(watched[key]) == _WATCHED:
            del watched[key]
        return found

    return run


def _recorded(function: Function, arguments: tuple) -> Function:
    try:
        return captured(leaner(make_fx(lambda *inputs: function(*inputs))(*arguments)), after=1)
    except (RuntimeError, TypeError, ValueError, NotImplementedError):  # control flow on values, say
        return function


class _Operations(TorchDispatchMode):
    """The operations that are taken, with all that is no tensor in their arguments, and constants made of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs or {}))
        self.calls.append((func, [repr(leaf) for leaf in leaves if not isinstance(leaf, Tensor)]))
        if func in (aten.lift_fresh.default, aten.lift_fresh_copy.default) and args[0].device.type == "cpu":
            self.calls.append(args[0].tolist())
        return func(*args, **(kwargs or {}))
