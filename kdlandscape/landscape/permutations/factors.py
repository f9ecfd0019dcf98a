"""Axes of tensors as products of factors, and the unification that finds which of their units move together.

An axis is a tuple of factors, the slowest first: its index runs through their product. A factor is

- an *atom*: units in any order, unless it is ``fixed``;
- a product of ``parts``, once an operation has split it (768 units into 12 heads of 64);
- a concatenation of ``pieces``, once an operation has cut it (queries, keys and values written by one weight);
- a *family*: another factor for each piece of ``over``, a concatenation on another axis of the same tensors.

The permutations that an axis allows form the automorphisms of this tree: wreath products for split units (the heads,
and inside each head units of its own), direct products for concatenations.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from math import prod
from typing import Any

_ORDERS = count()


class Factor:
    """Units on a part of an axis; see the module. ``declared`` holds sets of factors on which its order may depend."""

    def __init__(
        self,
        size: int,
        name: str = "",
        *,
        fixed: bool = False,
        order: tuple[int, ...] = (),
        parts: "Axis | None" = None,
        pieces: "list[Axis] | None" = None,
        over: "Factor | None" = None,
        members: "Sequence[Factor]" = (),
    ) -> None:
        self.size, self.name, self.fixed = size, name, fixed
        self.order = order or (next(_ORDERS),)
        self.alias: Factor | None = None
        self.parts, self.pieces, self.over, self.members = parts, pieces, over, list(members)
        self.declared: list[frozenset[Factor]] = []
        self.memo: dict[tuple[Factor, int], Factor] = {}

    @property
    def atom(self) -> bool:
        """Whether no operation has split or cut it so far."""
        return self.parts is None and self.pieces is None and self.over is None

    def part(self, size: int, place: int) -> "Factor":
        """Return an atom that takes the place of a part of this factor."""
        return Factor(size, self.name, fixed=self.fixed, order=(*self.order, place))


Axis = tuple[Factor, ...]
Restrict = Callable[[Factor], Axis]


def root(factor: Factor) -> Factor:
    """Return what a factor has been unified with."""
    while factor.alias is not None:
        factor = factor.alias
    return factor


def leaves(axis: Iterable[Factor]) -> list[Factor]:
    """Return the factors of an axis with all products written out."""
    result: list[Factor] = []
    for factor in map(root, axis):
        result += [factor] if factor.parts is None else leaves(factor.parts)
    return result


def length(axis: Iterable[Factor]) -> int:
    """Return how many places an axis has."""
    return prod(factor.size for factor in axis)


def still(size: int) -> Axis:
    """Return an axis whose places may not move."""
    return () if size == 1 else (Factor(size, fixed=True),)


def loose(size: int, name: str = "") -> Axis:
    """Return an axis whose units may move in any order."""
    return () if size == 1 else (Factor(size, name),)


def depends(factor: Factor, other: Factor) -> bool:
    """Whether the order of a factor's units may differ from place to place on another factor."""
    if not factor.declared:
        return not any(factor in leaves(one) for one in other.declared)
    return all(other in leaves(one) for one in factor.declared)


def holds(factor: Factor, atom: Factor) -> bool:
    """Whether an atom is one of the members of a family, or of their parts."""
    below = [*factor.members, *(part for piece in factor.pieces or () for part in piece)]
    return any(part is atom or holds(part, atom) for part in leaves(below))


def is_still(factor: Factor) -> bool:
    """Whether a factor has been fixed from the start, as the axes of the inputs are."""
    return factor.atom and factor.fixed and not factor.declared and not factor.name


def rigid(axis: Iterable[Factor]) -> bool:
    """Whether no place of an axis may move."""
    return all(
        factor.fixed if factor.atom else rigid(factor.members) and all(map(rigid, factor.pieces or ()))
        for factor in leaves(axis)
    )


def homes(dims: list[Any], parents: Sequence[Any], dim: int) -> list[int]:
    """Return the dims of the parents of what lies on a dim, and that dim; of several, the one of equal rank."""
    rank, count = dims[:dim].count(dims[dim]), dims.count(dims[dim])
    places = []
    for parent in parents:
        found = [k for k, one in enumerate(dims) if one == parent]
        places.append(found[rank] if len(found) == count else min(found, key=lambda k: abs(k - dim)))
    return [*places, dim]


def take(queue: list[Factor]) -> Factor | None:
    """Take the first leaf off a product."""
    while queue:
        queue[:1] = leaves(queue[:1])
        if queue:
            return queue.pop(0)
    return None


def wrap(axis: Axis) -> Factor:
    """Return an axis as one factor."""
    return axis[0] if len(axis) == 1 else Factor(length(axis), parts=axis)


def equal(first: Iterable[Factor], second: Iterable[Factor]) -> bool:
    """Whether two products have been unified, factor by factor."""
    return [root(f) for f in first] == [root(f) for f in second]
