"""Operations as torch runs them: their arguments by name, and how they are written in simpler ones."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, decomposition_table
from torch.utils._pytree import tree_leaves

from kdlandscape.landscape.permutations.factors import Axis
from kdlandscape.landscape.permutations.labels import Labels

Axes = list[Axis]
COMPOSITE = ("softmax", "log_softmax", "native_", "fused_rms_norm", "batch_norm")  # core, but of simpler parts
#: name -> the operands, and which of their axes are contracted.
CONTRACTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "mm": (("self", "mat2"), "ij,jk->ik"),
    "addmm": (("mat1", "mat2"), "ij,jk->ik"),
    "bmm": (("self", "mat2"), "bij,bjk->bik"),
    "baddbmm": (("batch1", "batch2"), "bij,bjk->bik"),
    "mv": (("self", "vec"), "ij,j->i"),
    "addmv": (("mat", "vec"), "ij,j->i"),
    "dot": (("self", "tensor"), "i,i->"),
    "convolution": (("input", "weight"), ""),
    "embedding": (("weight",), ""),
}


class Call:
    """One operation with its arguments by name."""

    def __init__(self, labels: Labels, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.labels, self.factors = labels, labels.factors
        self.full = func.overloadpacket.__name__
        mutates = func._schema.is_mutable
        self.name = self.full.rstrip("_") if mutates and not self.full.startswith("__") else self.full
        names = [argument.name for argument in func._schema.arguments]
        self.given = {**dict(zip(names, args, strict=False)), **kwargs}
        self.tensors = [x for x in tree_leaves((args, dict(kwargs))) if isinstance(x, Tensor)]

    def __getitem__(self, name: str) -> Any:
        return self.given.get(name)

    def axes(self, name: str) -> Axes:
        """Return the axes of an argument."""
        return list(self.labels.axes_of(self.given[name]))

    def dim(self, name: str = "self") -> int:
        """Return the argument ``dim``, counted from 0."""
        return int(self.given.get("dim", 0)) % max(self.given[name].ndim, 1)


def decomposition(func: Any) -> Any:
    """Return an operation written in simpler ones, where torch knows how, or None."""
    name = func.overloadpacket.__name__
    if name in WRITTEN:
        return WRITTEN[name]
    return (decomposition_table if name.strip("_").startswith(COMPOSITE) else _to_core()).get(func)


@cache
def _to_core() -> Mapping[Any, Callable[..., Any]]:
    return dict(core_aten_decompositions().items())


def operands(call: Call) -> list[Tensor]:
    """Return the tensors that a contraction multiplies."""
    return [call[name] for name in CONTRACTIONS[call.name][0]]


def _trilinear(
    i1: Tensor, i2: Tensor, i3: Tensor, expand1: Any, expand2: Any, expand3: Any, sumdim: Any, unroll_dim: int = 1
) -> Tensor:
    """Compute a bilinear layer by products and a sum."""
    for dims, k in ((expand1, 0), (expand2, 1), (expand3, 2)):
        for dim in sorted(dims):
            i1, i2, i3 = (x.unsqueeze(dim) if j == k else x for j, x in enumerate((i1, i2, i3)))
    return (i1 * i2 * i3).sum(sumdim)


def _group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, n: int, c: int, places: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the norm of groups of channels by views, moments and products."""
    apart = x.reshape(n, groups, c // groups, places)
    variance, mean = torch.var_mean(apart, dim=(2, 3), correction=0, keepdim=True)
    scale = torch.rsqrt(variance + eps)
    y = ((apart - mean) * scale).reshape(x.shape)
    shape = (1, c, *[1] * (x.ndim - 2))
    y = y if weight is None else y * weight.reshape(shape)
    return (y if bias is None else y + bias.reshape(shape)), mean.reshape(n, groups), scale.reshape(n, groups)


def _repeat(x: Tensor, repeats: Sequence[int]) -> Tensor:
    """Repeat a tensor by expanding it along new axes."""
    x = x.reshape(*[1] * (len(repeats) - x.ndim), *x.shape)
    pairs = [size for pair in zip(repeats, x.shape, strict=True) for size in pair]
    ones = [size for one in x.shape for size in (1, one)]
    return x.reshape(ones).expand(pairs).reshape([n * size for n, size in zip(repeats, x.shape, strict=True)])


WRITTEN = {"_trilinear": _trilinear, "repeat": _repeat, "native_group_norm": _group_norm}
