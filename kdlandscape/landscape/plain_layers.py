"""Layers by their plain formula where a fused kernel lacks a derivative or a batching rule: attention, recurrence."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode


class Instead(TorchFunctionMode):
    """Calls other functions in the place of some of torch's.

    Parameters
    ----------
    others
        What to call instead, by the function that is meant.
    """

    def __init__(self, others: Mapping[Any, Callable[..., Any]]) -> None:
        super().__init__()
        self._others = others

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._others.get(function, function)(*args, **(kwargs or {}))


@contextmanager
def plain_layers() -> Iterator[None]:
    """Compute attention by its plain formula, and on a GPU recurrent layers too.

    The fused kernels of attention lack second or forward-mode derivatives. Those of recurrent layers on a GPU lack
    both, and a batching rule; cuDNN's cannot be differentiated in eval mode at all.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), plain_recurrence() if torch.cuda.is_available() else nullcontext():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def plain_recurrence() -> Instead:
    """Compute LSTM, GRU and Elman layers and their cells step by step, from products, sums and pointwise functions."""
    return Instead(_recurrent())


@cache
def _recurrent() -> dict[Any, Callable[..., Any]]:
    names = ("lstm", "gru", "rnn_tanh", "rnn_relu")
    layers = {getattr(torch, name): partial(_layer, getattr(torch.ops.aten, name)) for name in names}
    elman = {
        torch.rnn_tanh_cell: partial(_elman_cell, torch.tanh),
        torch.rnn_relu_cell: partial(_elman_cell, torch.relu),
    }
    return {**layers, **elman, torch.lstm_cell: _lstm_cell, torch.gru_cell: _gru_cell}


def _layer(operation: Any, *args: Any) -> Any:
    packed = not isinstance(args[3], bool)  # where the weights stand, one place later than for padded sequences
    meant = operation.data if packed else operation.input
    return get_decompositions([meant])[meant](*args)


def _elman_cell(
    bend: Callable[[Tensor], Tensor],
    x: Tensor,
    h: Tensor,
    w: Tensor,
    u: Tensor,
    b: Tensor | None = None,
    c: Tensor | None = None,
) -> Tensor:
    return bend(linear(x, w, b) + linear(h, u, c))


def _lstm_cell(
    x: Tensor, state: tuple[Tensor, Tensor], w: Tensor, u: Tensor, b: Tensor | None = None, c: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    i, f, g, o = (linear(x, w, b) + linear(state[0], u, c)).chunk(4, -1)
    cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def _gru_cell(x: Tensor, h: Tensor, w: Tensor, u: Tensor, b: Tensor | None = None, c: Tensor | None = None) -> Tensor:
    given, own = linear(x, w, b).chunk(3, -1), linear(h, u, c).chunk(3, -1)
    reset, keep = (given[0] + own[0]).sigmoid(), (given[1] + own[1]).sigmoid()
    new = (given[2] + reset * own[2]).tanh()
    return new + keep * (h - new)
