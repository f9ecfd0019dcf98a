"""Convolutions whose second derivatives are convolutions like themselves."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from kdlandscape.landscape.plain_layers import Instead

How = tuple[list[int], list[int], list[int], int]  # stride, padding, dilation, groups


def twice_differentiable() -> Instead:
    r"""Let ``conv1d``, ``conv2d`` and ``conv3d`` have second derivatives by six convolutions of their own kind.

    With :math:`y = x * w`, cotangents u of y, and those a of :math:`\bar x` and b of :math:`\bar w`: u gets
    :math:`a * w + x * b`, x the pullback of u by b, and w that of u by a. Where torch differentiates a convolution's
    backward pass it takes the last as a convolution whose kernel is as large as the image and whose channels are the
    examples, for which a GPU has no fast kernel.

    For reverse mode; forward-mode derivatives of these are not defined.
    """
    return Instead({one: partial(_call, one, dims) for one, dims in _CONVOLUTIONS.items()})


_CONVOLUTIONS: dict[Callable[..., Tensor], int] = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}


def _call(
    plain: Callable[..., Tensor],
    dims: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    if isinstance(padding, str) or input.ndim != dims + 2 or torch.is_autocast_enabled(input.device.type):
        return plain(input, weight, bias, stride, padding, dilation, groups)
    strides, pads, steps = ([one] * dims if isinstance(one, int) else list(one) for one in (stride, padding, dilation))
    pads, strides, steps = (one * dims if len(one) == 1 else one for one in (pads, strides, steps))
    result: Tensor = _Convolution.apply(input, weight, bias, (strides, pads, steps, groups))
    return result


def _convolve(x: Tensor, w: Tensor, bias: Tensor | None, how: How) -> Tensor:
    stride, padding, dilation, groups = how
    return torch.convolution(x, w, bias, stride, padding, dilation, False, [0] * len(stride), groups)


def _pull(u: Tensor, x: Tensor, w: Tensor, how: How, wanted: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
    stride, padding, dilation, groups = how
    back = torch.ops.aten.convolution_backward
    of_x, of_w, _ = back(u, x, w, None, stride, padding, dilation, False, [0] * len(stride), groups, [*wanted, False])
    return of_x, of_w


class _Convolution(Function):
    """The convolution, whose backward pass is the function below."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, w: Tensor, bias: Tensor | None, how: How) -> Tensor:
        return _convolve(x, w, bias, how)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, w, _, ctx.how = inputs
        ctx.save_for_backward(x, w)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        of_x, of_w = _Pullback.apply(u, x, w, ctx.how, tuple(wanted[:2])) if any(wanted[:2]) else (None, None)
        of_bias = u.sum([0, *range(2, u.ndim)]) if wanted[2] else None
        return of_x, of_w, of_bias, None


class _Pullback(Function):
    """The cotangents of input and weight, from that of the result."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, x: Tensor, w: Tensor, how: How, wanted: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
        return _pull(u, x, w, how, wanted)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        u, x, w, ctx.how, _ = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(u, x, w)

    @staticmethod
    def backward(ctx: Any, of_x: Tensor | None, of_w: Tensor | None) -> tuple[Tensor | None, ...]:
        u, x, w = ctx.saved_tensors
        to_u, to_x, to_w, *_ = ctx.needs_input_grad
        moved = [_convolve(a, b, None, ctx.how) for a, b in ((of_x, w), (x, of_w)) if a is not None and b is not None]
        return (
            sum(moved[1:], moved[0]) if to_u and moved else None,
            _pull(u, x, of_w, ctx.how, (True, False))[0] if to_x and of_w is not None else None,
            _pull(u, of_x, w, ctx.how, (False, True))[1] if to_w and of_x is not None else None,
            None,
            None,
        )
