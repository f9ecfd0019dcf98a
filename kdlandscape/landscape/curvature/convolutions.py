"""Convolutions whose second derivatives are convolutions like themselves."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from kdlandscape.landscape.plain_layers import Instead

Sizes = int | Sequence[int]


class How(NamedTuple):
    """All that ``torch.convolution`` takes beside tensors, in its order."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]
    groups: int


def twice_differentiable() -> Instead:
    r"""Let convolutions, transposed ones too, have second derivatives by six convolutions of their own kind.

    With :math:`y = x * w`, cotangents u of y, and those a of :math:`\bar x` and b of :math:`\bar w`: u gets
    :math:`a * w + x * b`, x the pullback of u by b, and w that of u by a. Where torch differentiates a convolution's
    backward pass it takes the last as a convolution whose kernel is as large as the image and whose channels are the
    examples, for which a GPU has no fast kernel.

    For reverse mode; forward-mode derivatives of these are not defined.
    """
    dims = (1, 2, 3)
    others = {getattr(torch, f"conv{d}d"): (_how, d) for d in dims}
    others |= {getattr(torch, f"conv_transpose{d}d"): (_how_transposed, d) for d in dims}
    return Instead({plain: partial(_call, plain, *how) for plain, how in others.items()})


def _call(
    plain: Callable[..., Tensor],
    read: Callable[..., How | None],
    dims: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    how = read(dims, weight, *args, **kwargs)
    other = how is None or input.ndim != dims + 2 or input.is_complex()
    if other or torch.is_autocast_enabled(input.device.type):
        return plain(input, weight, bias, *args, **kwargs)
    result: Tensor = _Convolution.apply(input, weight, bias, how)
    return result


def _how(
    dims: int, weight: Tensor, stride: Sizes = 1, padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1
) -> How | None:
    steps = _each(dilation, dims)
    if isinstance(padding, str):
        whole = [step * (size - 1) for step, size in zip(steps, weight.shape[2:], strict=True)]
        if padding != "valid" and any(one % 2 for one in whole):
            return None  # more on one side than on the other
        padding = 0 if padding == "valid" else [one // 2 for one in whole]
    return How(_each(stride, dims), _each(padding, dims), steps, False, [0] * dims, groups)


def _how_transposed(
    dims: int,
    weight: Tensor,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> How:
    more = _each(output_padding, dims)
    return How(_each(stride, dims), _each(padding, dims), _each(dilation, dims), True, more, groups)


def _each(sizes: Sizes, dims: int) -> list[int]:
    given = [sizes] if isinstance(sizes, int) else list(sizes)
    return given * dims if len(given) == 1 else given


def _pull(u: Tensor, x: Tensor, w: Tensor, how: How, wanted: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
    of_x, of_w, _ = torch.ops.aten.convolution_backward(u, x, w, None, *how, [*wanted, False])
    return of_x, of_w


class _Convolution(Function):
    """The convolution, whose backward pass is the function below."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, w: Tensor, bias: Tensor | None, how: How) -> Tensor:
        return torch.convolution(x, w, bias, *how)

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
        moved = [
            torch.convolution(a, b, None, *ctx.how)
            for a, b in ((of_x, w), (x, of_w))
            if a is not None and b is not None
        ]
        return (
            sum(moved[1:], moved[0]) if to_u and moved else None,
            _pull(u, x, of_w, ctx.how, (True, False))[0] if to_x and of_w is not None else None,
            _pull(u, of_x, w, ctx.how, (False, True))[1] if to_w and of_x is not None else None,
            None,
            None,
        )
