"""What an operation without a rule does to units: found by trying it, or said by the user."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from kdlandscape.landscape.permutations.factors import Axis, still
from kdlandscape.landscape.permutations.operations import Axes, Call

NOWHERE = -1


def observe(call: Call, result: Any) -> list[Axes]:
    """Try an operation: permute one axis, and see on which axis of the result the units come back.

    Where they do not, the axes of all tensors that are as long and as far from the last are permuted together: if that
    helps, their units are the same. Else they are held: an error, unless something else keeps them in place.
    """
    outputs = [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
    found: list[Any] = [[None] * tensor.ndim for tensor in outputs]
    held: Axes = []
    for tensor in call.tensors:
        for k, axis in enumerate(call.labels.axes_of(tensor)):
            places = _observed(call, [(tensor, k)]) if axis else [None]
            if places is None and (twins := _twins(call, tensor, k)):
                places = _observed(call, [(tensor, k), *twins])
                for other, at in twins if places is not None else ():
                    call.factors.unify(axis, call.labels.axes_of(other)[at])
            if places is None and any(call.labels.live(x) and not x.is_floating_point() for x in call.tensors):
                call.factors.pin(axis)  # the data say which place is taken
            elif places is None:
                held.append(axis)
            for out, place in enumerate(places or ()):
                if place == NOWHERE:
                    call.labels.add_places(outputs[out], axis)
                elif place is not None:
                    found[out][place] = axis
    rest = [(out, k) for out, axes in enumerate(found) for k, axis in enumerate(axes) if axis is None]
    sizes = [outputs[out].shape[k] for out, k in rest]
    reason = "it does not commute with a permutation of them"
    left = call.factors.hold(sum(held, ()), reason, sizes)
    for (out, k), axis in zip(rest, left, strict=True):
        found[out][k] = axis
    return found


def _twins(call: Call, tensor: Tensor, axis: int) -> list[tuple[Tensor, int]]:
    """Return the axes of other tensors that are as long as an axis and as far from the last."""
    back, size = axis - tensor.ndim, tensor.shape[axis]
    others = (x for x in call.tensors if x is not tensor and x.ndim >= -back)
    return [(x, x.ndim + back) for x in others if x.shape[back] == size]


def _observed(call: Call, moved: Sequence[tuple[Tensor, int]]) -> list[int | None] | None:
    """Return for each result the axis on which a permutation of operands' axes comes back (None: on none)."""
    generator = torch.Generator().manual_seed(0)
    tensor, axis = moved[0]
    order = torch.randperm(tensor.shape[axis], generator=generator)
    order = order.roll(1) if torch.equal(order, torch.arange(len(order))) else order
    values = {
        id(x): torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in call.tensors if x.is_floating_point()
    }
    permuted = {id(x): values.get(id(x), x).index_select(k, order) for x, k in moved}
    before, after = _run(call, values), _run(call, values | permuted)
    places: list[int | None] = []
    for one, two in zip(before, after, strict=True):
        same = [None, *(k for k, size in enumerate(one.shape) if size == len(order))]
        places.append(next((k for k in same if _close(one if k is None else one.index_select(k, order), two)), NOWHERE))
    # Integers beside values are the places at which a sort or a maximum found them.
    values_lost = [place == NOWHERE for place, one in zip(places, before, strict=True) if one.is_floating_point()]
    lost = any(values_lost) if values_lost else NOWHERE in places
    return None if lost else places


def _run(call: Call, values: Mapping[int, Tensor]) -> list[Tensor]:
    args, kwargs = tree_map(lambda x: values.get(id(x), x), (call.args, dict(call.kwargs)))
    return [x for x in tree_leaves(call.func(*args, **kwargs)) if isinstance(x, Tensor)]


def _close(one: Tensor, two: Tensor) -> bool:
    dtype = torch.complex128 if one.is_complex() else torch.float64
    return torch.allclose(one.to(dtype), two.to(dtype), rtol=1e-9, atol=1e-9, equal_nan=True)


def by_hand(written: str, call: Call, result: Any) -> list[Axes]:
    """Apply a rule such as ``"btc,c->btc"``: axes of one letter move together, ``.`` marks an axis that stays."""
    left, _, right = written.replace(" ", "").partition("->")
    outputs = [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
    letters: dict[str, Axis] = {}
    for term, tensor in zip(left.split(","), call.tensors, strict=True):
        if len(term) != tensor.ndim:
            raise ValueError(
                f"expected the rule {written!r} of {call.full!r} to have one letter for each axis of its tensors; got "
                f"{term!r} for a tensor with {tensor.ndim} axes"
            )
        for letter, axis in zip(term, call.labels.axes_of(tensor), strict=True):
            if letter == ".":
                call.factors.pin(axis)
            elif letter in letters:
                call.factors.unify(letters[letter], axis)
            letters.setdefault(letter, axis)
    return [
        [still(size) if letter == "." else letters[letter] for letter, size in zip(term, tensor.shape, strict=True)]
        for term, tensor in zip(right.split(","), outputs, strict=True)
    ]
