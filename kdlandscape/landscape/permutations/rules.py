"""How each kind of operation passes on, reads and writes units.

Most operations need no rule of their own: elementwise functions and reductions are known by torch's tags, softmax and
the norms fall apart into them, and any other operation is tried: does it commute with a permutation of an axis?
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, decomposition_table
from torch.utils._pytree import tree_leaves

from kdlandscape.landscape.permutations.factors import Axis, Factor, leaves, length, loose, still, wrap

if TYPE_CHECKING:
    from kdlandscape.landscape.permutations.walk import Walk

Axes = list[Axis]
FILLS = {"zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided"}
LIKE = {"zeros_like", "ones_like", "full_like", "empty_like", *FILLS}
ELEMENTWISE = {"clone", "_to_copy", "to", "detach", "alias", "copy", "lift_fresh", "contiguous", "_conj", "dropout"}
RESHAPES = {"view", "_unsafe_view", "squeeze", "unsqueeze", "reshape", "_reshape_alias", "flatten"}
ORDERS = {"permute", "t", "transpose", "movedim", "numpy_T"}
PARTS = {"split_with_sizes", "tensor_split", "split", "unsafe_split", "unsafe_split_with_sizes", "chunk"}
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

    def __init__(self, walk: "Walk | None", func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.func, self.args, self.kwargs = func, args, kwargs
        self.walk: Any = walk
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
        return list(self.walk.axes_of(self.given[name]))

    def dim(self, name: str = "self") -> int:
        """Return the argument ``dim``, counted from 0."""
        return int(self.given.get("dim", 0)) % max(self.given[name].ndim, 1)

    def rule(self) -> "Callable[[Call, Any], list[Axes]] | None":
        """Return the rule for this operation, or None."""
        if self.walk is not None and {self.full, self.name, f"{self.func.namespace}::{self.full}"} & set(
            self.walk.hand
        ):
            return by_hand
        if self.name in RULES and self.func.namespace == "aten":
            return RULES[self.name]
        if torch.Tag.pointwise in self.func.tags:
            return elementwise
        return None


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


# --- elementwise, and shapes


def elementwise(call: Call, result: Any) -> list[Axes]:
    """Unify the axes of all operands, as broadcasting aligns them."""
    return [broadcast(call, call.tensors, tensor.shape) for tensor in tree_leaves(result)]


def broadcast(call: Call, tensors: Sequence[Tensor], shape: Sequence[int]) -> Axes:
    """Return the axes of a result of some shape after unifying those of the tensors that broadcast to it."""
    axes: Axes = [() for _ in shape]
    for own in map(call.walk.axes_of, tensors):
        for k, axis in enumerate(own, start=len(shape) - len(own)):
            if not axis or k < 0:
                continue
            if axes[k]:
                call.walk.factors.unify(axes[k], axis)
            axes[k] = axes[k] or axis
    return axes


def constant(call: Call, result: Tensor) -> list[Axes]:
    """Label what is filled with one number."""
    return [[loose(size) for size in result.shape]]


def reshape(call: Call, result: Tensor) -> list[Axes]:
    """Split and merge axes so that the elements keep their order."""
    return [call.walk.factors.regroup([factor for axis in call.axes("self") for factor in axis], result.shape)]


def reorder(call: Call, result: Tensor) -> list[Axes]:
    """Move axes: a tensor without elements and with all lengths different shows where."""
    axes = call.axes("self")
    shape = call.func(torch.empty(*range(len(axes)), device="meta"), *call.args[1:], **call.kwargs).shape
    return [[axes[k] for k in shape]]


def expand(call: Call, result: Tensor) -> list[Axes]:
    """Repeat a tensor along loose axes."""
    own = call.axes("self")
    axes = [() for _ in range(result.ndim - len(own))] + own
    return [[axis or loose(size) for axis, size in zip(axes, result.shape, strict=True)]]


# --- cutting and joining


def narrow(call: Call, axes: Axes, dim: int, start: int, stop: int) -> Axes:
    """Cut an axis; the other axes may have units of their own there."""
    piece, restrict = call.walk.factors.cut(axes[dim], start, stop)
    cut = [tuple(part for factor in leaves(axis) for part in restrict(factor)) for axis in axes]
    return [*cut[:dim], piece, *cut[dim + 1 :]]


def select(call: Call, result: Tensor) -> list[Axes]:
    """Take one place of an axis."""
    dim, size = call.dim(), call["self"].ndim
    index = int(call["index"]) % call["self"].shape[dim]
    axes = narrow(call, call.axes("self"), dim, index, index + 1)
    return [[axes[k] for k in range(size) if k != dim]]


def part(call: Call, result: Tensor) -> list[Axes]:
    """Take a range of an axis."""
    dim, size = call.dim(), call["self"].shape[call.dim()]
    if (call["step"] or 1) != 1:
        return observe(call, result)
    start = min(max((call["start"] or 0) + size * ((call["start"] or 0) < 0), 0), size)
    return [narrow(call, call.axes("self"), dim, start, start + result.shape[dim])]


def split(call: Call, result: Sequence[Tensor]) -> list[Axes]:
    """Take consecutive ranges of an axis."""
    dim, start, found = call.dim(), 0, []
    for tensor in result:
        found.append(narrow(call, call.axes("self"), dim, start, start + tensor.shape[dim]))
        start += tensor.shape[dim]
    return found


def concatenate(call: Call, result: Tensor) -> list[Axes]:
    """Put tensors one after the other along an axis."""
    tensors = [tensor for tensor in call["tensors"] if tensor.numel()]
    dim = int(call["dim"] or 0) % result.ndim
    every = [list(call.walk.axes_of(tensor)) for tensor in tensors]
    axes = every[0]
    for other in every[1:]:
        for k, (one, two) in enumerate(zip(axes, other, strict=True)):
            if k != dim:
                call.walk.factors.unify(one, two)
    axes[dim] = joined([(own[dim], tensor.shape[dim]) for own, tensor in zip(every, tensors, strict=True)])
    return [axes]


def stack(call: Call, result: Tensor) -> list[Axes]:
    """Put tensors side by side on a new axis; each may have units of its own (the last states of two layers)."""
    every = [call.walk.axes_of(tensor) for tensor in call["tensors"]]
    places = still(1) if len(every) == 1 else (Factor(len(every), pieces=[()] * len(every)),)
    same = [all(leaves(one) == leaves(own[0]) for one in own) for own in zip(*every, strict=True)]
    axes = [
        own[0] if alike else (family(own, *places),) for own, alike in zip(zip(*every, strict=True), same, strict=True)
    ]
    axes.insert(int(call["dim"] or 0) % result.ndim, places)
    return [axes]


def family(members: Sequence[Axis], over: Factor) -> Factor:
    """Return a factor that is another one at each place of ``over``."""
    return Factor(length(leaves(members[0])), over=over, members=[wrap(axis) for axis in members])


def joined(pieces: Sequence[tuple[Axis, int]]) -> Axis:
    """Return the concatenation of axes of given lengths."""
    pieces = [(axis, size) for axis, size in pieces if size]
    if len(pieces) == 1:
        return pieces[0][0]
    if all(factor.atom and factor.fixed for axis, _ in pieces for factor in leaves(axis)):
        return still(sum(size for _, size in pieces))
    return (Factor(sum(size for _, size in pieces), pieces=[axis for axis, _ in pieces]),)


def pad(call: Call, result: Tensor) -> list[Axes]:
    """Cut what is padded by less than nothing; put loose units around the rest."""
    axes, widths = call.axes("self"), list(call["pad"])
    for k in range(len(widths) // 2):
        dim, (before, after) = len(axes) - 1 - k, widths[2 * k : 2 * k + 2]
        size = call["self"].shape[dim]
        start, stop = max(0, -before), size - max(0, -after)
        axes = narrow(call, axes, dim, start, stop)
        around = [(loose(n), n) if (n := max(0, width)) else ((), 0) for width in (before, after)]
        axes[dim] = joined([around[0], (axes[dim], stop - start), around[1]])
    return [axes]


def index(call: Call, result: Tensor) -> list[Axes]:
    """Look up places of an axis, which may not move; the index's own axes take its place."""
    name = "weight" if call.name == "embedding" else "self"
    axes, given = call.axes(name), call["indices"]
    given = [given] if isinstance(given, Tensor) else list(given)
    given += [None] * (len(axes) - len(given))
    used = [k for k, one in enumerate(given) if one is not None]
    if any(one is not None and one.dtype == torch.bool for one in given):
        return observe(call, result)
    if len(used) == 1 and (start := _run_of(call, given[used[0]], call[name].shape[used[0]])) is not None:
        return [narrow(call, axes, used[0], start, start + len(given[used[0]]))]
    for k in used:
        if call.walk.live(given[k]) or not call.walk.live(call[name]):
            call.walk.factors.pin(axes[k])
        else:
            call.walk.factors.hold(axes[k], "it takes units by their places")
    shape = torch.broadcast_shapes(*(given[k].shape for k in used))
    looked_up = broadcast(call, [given[k] for k in used], shape)
    together = used == list(range(used[0], used[-1] + 1))
    at = used[0] if together else 0
    kept = [axis for k, axis in enumerate(axes) if k not in used]
    return [[*kept[:at], *looked_up, *kept[at:]]]


def _run_of(call: Call, places: Tensor, size: int) -> int | None:
    """Return the start of a constant index of consecutive places, or None."""
    if call.walk.live(places) or places in call.walk.labels or places.ndim != 1 or not places.numel():
        return None
    start = int(places[0])
    if not torch.equal(places, torch.arange(start, start + len(places))):
        return None
    return start if start >= 0 else start + size


# --- sums and products


def reduce(call: Call, result: Any) -> list[Axes]:
    """Drop the axes that a symmetric function (a sum, a maximum, a variance) runs over."""
    axes, dims = call.axes("self"), call["dim"]
    chosen = range(len(axes)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    gone = {k % max(len(axes), 1) for k in chosen}
    found = [() if k in gone else axis for k, axis in enumerate(axes)]
    if not call["keepdim"]:
        found = [axis for k, axis in enumerate(found) if k not in gone]
    return [list(found) for _ in tree_leaves(result)]


def contract(call: Call, result: Tensor) -> list[Axes]:
    """Unify the axes that a product of matrices sums over or has in common."""
    names, equation = CONTRACTIONS[call.name]
    terms, letters = equation.split("->")[0].split(","), dict[str, Axis]()
    for name, term in zip(names, terms, strict=True):
        for letter, axis in zip(term, call.axes(name), strict=True):
            if letter in letters:
                call.walk.factors.unify(letters[letter], axis)
            letters[letter] = letters.get(letter) or axis
    axes = [letters[letter] for letter in equation.split("->")[1]]
    if call.name in ("addmm", "baddbmm", "addmv"):
        add(call, axes, call.axes("self"))
    return [axes]


def add(call: Call, axes: Axes, other: Axes) -> None:
    """Unify the axes of what is added with those of a result."""
    for axis, added in zip(reversed(axes), reversed(other), strict=False):
        if axis and added:
            call.walk.factors.unify(axis, added)


def convolve(call: Call, result: Tensor) -> list[Axes]:
    """Read channels, in groups, and write new ones; places stay."""
    factors, inputs, weight = call.walk.factors, call.axes("input"), call.axes("weight")
    groups, transposed = call["groups"] or 1, call["transposed"]
    for axis in (*inputs[2:], *weight[2:]):
        factors.pin(axis)
    many, few = (call["input"].shape[1], weight[1]) if not transposed else (result.shape[1], weight[1])
    outputs = weight[1] if transposed else weight[0]
    if groups == 1:
        factors.unify(inputs[1], weight[0] if transposed else weight[1])
    else:
        group, own = loose(groups), loose(many // groups)
        if transposed:
            factors.unify(inputs[1], weight[0])
            factors.unify((*group, *loose(call["input"].shape[1] // groups)), weight[0])
            factors.unify(own, few)
            outputs = (*group, *own)
        else:
            factors.unify(inputs[1], (*group, *own))
            factors.unify((*group, *loose(result.shape[1] // groups)), weight[0])
            factors.unify(own, few)
    axes = [inputs[0], outputs, *(still(size) for size in result.shape[2:])]
    if call["bias"] is not None:
        factors.unify(outputs, call.axes("bias")[0])
    return [axes]


# --- what has no rule


def observe(call: Call, result: Any) -> list[Axes]:
    """Try an operation: permute one axis, and see on which axis of the result the units come back.

    Units that do not come back in their order are held: an error, unless something else keeps them in place.
    """
    outputs = [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
    found: list[Any] = [[None] * tensor.ndim for tensor in outputs]
    held: Axes = []
    for tensor in call.tensors:
        for k, axis in enumerate(call.walk.axes_of(tensor)):
            places = _observed(call, tensor, k) if axis else [None]
            if places is None and any(call.walk.live(x) and not x.is_floating_point() for x in call.tensors):
                call.walk.factors.pin(axis)  # the data say which place is taken
            elif places is None:
                held.append(axis)
            for out, place in enumerate(places or ()):
                if place is not None:
                    found[out][place] = axis
    rest = [(out, k) for out, axes in enumerate(found) for k, axis in enumerate(axes) if axis is None]
    sizes = [outputs[out].shape[k] for out, k in rest]
    reason = "it does not commute with a permutation of them"
    left = call.walk.factors.hold(sum(held, ()), reason, sizes)
    for (out, k), axis in zip(rest, left, strict=True):
        found[out][k] = axis
    return found


def _observed(call: Call, tensor: Tensor, axis: int) -> list[int | None] | None:
    """Return for each result the axis on which a permutation of an operand's axis comes back (None: nowhere)."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(tensor.shape[axis], generator=generator)
    order = order.roll(1) if torch.equal(order, torch.arange(len(order))) else order
    values = {
        id(x): torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in call.tensors if x.is_floating_point()
    }
    before, after = _run(call, values), _run(call, values | {id(tensor): _permuted(values, tensor, axis, order)})
    places: list[int | None] = []
    lost: list[bool] = []
    for one, two in zip(before, after, strict=True):
        same = [None, *(k for k, size in enumerate(one.shape) if size == len(order))]
        place = next((k for k in same if _close(one if k is None else one.index_select(k, order), two)), False)
        places.append(None if place is False else place)
        lost.append(place is False)
    # The places at which a sort or a maximum found its values follow no order.
    kept = [gone for gone, one in zip(lost, before, strict=True) if one.is_floating_point()] or lost
    return None if any(kept) else places


def _permuted(values: Mapping[int, Tensor], tensor: Tensor, axis: int, order: Tensor) -> Tensor:
    return values.get(id(tensor), tensor).index_select(axis, order)


def _run(call: Call, values: Mapping[int, Tensor]) -> list[Tensor]:
    from torch.utils._pytree import tree_map

    args, kwargs = tree_map(lambda x: values.get(id(x), x), (call.args, dict(call.kwargs)))
    return [x for x in tree_leaves(call.func(*args, **kwargs)) if isinstance(x, Tensor)]


def _close(one: Tensor, two: Tensor) -> bool:
    dtype = torch.complex128 if one.is_complex() else torch.float64
    return torch.allclose(one.to(dtype), two.to(dtype), rtol=1e-9, atol=1e-9, equal_nan=True)


def by_hand(call: Call, result: Any) -> list[Axes]:
    """Apply a rule such as ``"btc,c->btc"``: axes of one letter move together, ``.`` marks an axis that stays."""
    names = (call.full, call.name, f"{call.func.namespace}::{call.full}")
    written = next(call.walk.hand[name] for name in names if name in call.walk.hand)
    left, _, right = written.replace(" ", "").partition("->")
    outputs = [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
    letters: dict[str, Axis] = {}
    for term, tensor in zip(left.split(","), call.tensors, strict=True):
        if len(term) != tensor.ndim:
            raise ValueError(
                f"expected the rule {written!r} of {call.full!r} to have one letter for each axis of its tensors; got "
                f"{term!r} for a tensor with {tensor.ndim} axes"
            )
        for letter, axis in zip(term, call.walk.axes_of(tensor), strict=True):
            if letter == ".":
                call.walk.factors.pin(axis)
            elif letter in letters:
                call.walk.factors.unify(letters[letter], axis)
            letters.setdefault(letter, axis)
    return [
        [still(size) if letter == "." else letters[letter] for letter, size in zip(term, tensor.shape, strict=True)]
        for term, tensor in zip(right.split(","), outputs, strict=True)
    ]


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
REDUCTIONS = {"sum", "mean", "amax", "amin", "var", "var_mean", "std", "std_mean", "prod", "any", "all", "logsumexp"}
RULES: dict[str, Callable[[Call, Any], list[Axes]]] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(LIKE, constant),
    **dict.fromkeys(RESHAPES, reshape),
    **dict.fromkeys(ORDERS, reorder),
    **dict.fromkeys(PARTS, split),
    **dict.fromkeys((*REDUCTIONS, "linalg_vector_norm"), reduce),
    **dict.fromkeys(CONTRACTIONS, contract),
    "convolution": convolve,
    "embedding": index,
    "index": index,
    "_unsafe_index": index,
    "expand": expand,
    "select": select,
    "slice": part,
    "cat": concatenate,
    "stack": stack,
    "constant_pad_nd": pad,
}
