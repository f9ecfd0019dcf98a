"""How each kind of operation passes on, reads and writes units.

Most operations need no rule of their own: elementwise functions and reductions are known by torch's tags, softmax and
the norms fall apart into them, and any other operation is tried: does it commute with a permutation of an axis?
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from kdlandscape.landscape.permutations.factors import Axis, Factor, leaves, length, loose, rigid, still, wrap
from kdlandscape.landscape.permutations.operations import CONTRACTIONS, Axes, Call
from kdlandscape.landscape.permutations.trials import by_hand, observe

Rule = Callable[[Call, Any], list[Axes]]
FILLS = {"zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided"}
LIKE = {"zeros_like", "ones_like", "full_like", "empty_like", *FILLS}
ELEMENTWISE = {"clone", "_to_copy", "to", "detach", "alias", "lift_fresh", "contiguous", "_conj", "dropout"}
RESHAPES = {"view", "_unsafe_view", "squeeze", "unsqueeze", "reshape", "_reshape_alias", "flatten"}
ORDERS = {"permute", "t", "transpose", "movedim", "numpy_T"}
PARTS = {"split_with_sizes", "tensor_split", "split", "unsafe_split", "unsafe_split_with_sizes", "chunk"}


def rule_of(call: Call, hand: Mapping[str, str]) -> Rule | None:
    """Return the rule for an operation: one given by hand, its own, or None."""
    for name in (f"{call.func.namespace}::{call.full}", call.full, call.name):
        if name in hand:
            return partial(by_hand, hand[name])
    if call.name in RULES and call.func.namespace == "aten":
        return RULES[call.name]
    return elementwise if torch.Tag.pointwise in call.func.tags else None


# --- elementwise, and shapes


def elementwise(call: Call, result: Any) -> list[Axes]:
    """Unify the axes of all operands, as broadcasting aligns them."""
    return [broadcast(call, call.tensors, tensor.shape) for tensor in tree_leaves(result)]


def broadcast(call: Call, tensors: Sequence[Tensor], shape: Sequence[int]) -> Axes:
    """Return the axes of a result of some shape after unifying those of the tensors that broadcast to it."""
    axes: Axes = [() for _ in shape]
    for own in map(call.labels.axes_of, tensors):
        for k, axis in enumerate(own, start=len(shape) - len(own)):
            if not axis or k < 0:
                continue
            if axes[k]:
                call.factors.unify(axes[k], axis)
            axes[k] = axes[k] or axis
    return axes


def overwrite(call: Call, result: Tensor) -> list[Axes]:
    """Unify what is written with its place; what stood there before says nothing, unless it has units."""
    tensors = [tensor for tensor in (call["self"], call["src"]) if tensor is not call["self"] or tensor in call.labels]
    return [broadcast(call, tensors, result.shape)]


def constant(call: Call, result: Tensor) -> list[Axes]:
    """Label what is filled with one number."""
    return [[loose(size) for size in result.shape]]


def reshape(call: Call, result: Tensor) -> list[Axes]:
    """Split and merge axes so that the elements keep their order."""
    return [call.factors.regroup([factor for axis in call.axes("self") for factor in axis], result.shape)]


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
    piece, restrict = call.factors.cut(axes[dim], start, stop)
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
    every = [list(call.labels.axes_of(tensor)) for tensor in tensors]
    axes = every[0]
    for other in every[1:]:
        for k, (one, two) in enumerate(zip(axes, other, strict=True)):
            if k != dim:
                call.factors.unify(one, two)
    axes[dim] = joined([(own[dim], tensor.shape[dim]) for own, tensor in zip(every, tensors, strict=True)])
    return [axes]


def stack(call: Call, result: Tensor) -> list[Axes]:
    """Put tensors side by side on a new axis; each may have units of its own (the last states of two layers)."""
    every = [call.labels.axes_of(tensor) for tensor in call["tensors"]]
    places = still(1) if len(every) == 1 else (Factor(len(every), pieces=[()] * len(every)),)
    axes = []
    for own in zip(*every, strict=True):
        if all(leaves(one) == leaves(own[0]) or rigid((*one, *own[0])) for one in own):
            axes.append(own[0])
        else:
            axes.append((family(own, *places),))
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
    if all(rigid(axis) for axis, _ in pieces):
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
        if call.labels.live(given[k]) or not call.labels.live(call[name]):
            call.factors.pin(axes[k])
        else:
            call.factors.hold(axes[k], "it takes units by their places")
    shape = torch.broadcast_shapes(*(given[k].shape for k in used))
    looked_up = broadcast(call, [given[k] for k in used], shape)
    together = used == list(range(used[0], used[-1] + 1))
    at = used[0] if together else 0
    kept = [axis for k, axis in enumerate(axes) if k not in used]
    return [[*kept[:at], *looked_up, *kept[at:]]]


def _run_of(call: Call, places: Tensor, size: int) -> int | None:
    """Return the start of a constant index of consecutive places, or None."""
    if call.labels.live(places) or places in call.labels or places.ndim != 1 or not places.numel():
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
                call.factors.unify(letters[letter], axis)
            letters[letter] = letters.get(letter) or axis
    axes = [letters[letter] for letter in equation.split("->")[1]]
    if call.name in ("addmm", "baddbmm", "addmv"):
        add(call, axes, call.axes("self"))
    return [axes]


def add(call: Call, axes: Axes, other: Axes) -> None:
    """Unify the axes of what is added with those of a result."""
    for axis, added in zip(reversed(axes), reversed(other), strict=False):
        if axis and added:
            call.factors.unify(axis, added)


def convolve(call: Call, result: Tensor) -> list[Axes]:
    """Read channels, in groups, and write new ones; places stay."""
    factors, inputs, weight = call.factors, call.axes("input"), call.axes("weight")
    for axis in (*inputs[2:], *weight[2:]):
        factors.pin(axis)
    # Axis 0 of the weight runs over all channels on one side, axis 1 over those of one group on the other side.
    groups, (every, own) = call["groups"] or 1, call["weight"].shape[:2]
    group, of_group = loose(groups), loose(own)
    factors.unify((*group, *loose(every // groups)), weight[0])
    factors.unify(of_group, weight[1])
    sides = (weight[0], (*group, *of_group))
    read, written = sides if call["transposed"] else sides[::-1]
    factors.unify(inputs[1], read)
    if call["bias"] is not None:
        factors.unify(written, call.axes("bias")[0])
    return [[inputs[0], written, *(still(size) for size in result.shape[2:])]]


REDUCTIONS = {"sum", "mean", "amax", "amin", "var", "var_mean", "std", "std_mean", "prod", "any", "all", "logsumexp"}
RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(LIKE, constant),
    "copy": overwrite,
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
