"""Axes of tensors as products of factors, and the unification that finds which of their units move together.

An axis is a tuple of factors, the slowest first: its index runs through their product. A factor is

- an *atom*: units in any order, unless it is ``fixed``;
- a product of ``parts``, once an operation has split it (768 units into 12 heads of 64);
- a concatenation of ``pieces``, once an operation has cut it (queries, keys and values written by one weight);
- a *family*: another factor for each piece of ``over``, a concatenation on another axis of the same tensors.

The permutations that an axis allows form the automorphisms of this tree: wreath products for split units (the heads,
and inside each head units of its own), direct products for concatenations.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import count, pairwise
from math import prod

from torch import Tensor

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


class Factors:
    """Unifies, splits and cuts axes, and keeps what could not be done: ``held`` units with the reason."""

    def __init__(self) -> None:
        self.held: list[tuple[Axis, str, list[Axis]]] = []
        self.where = ""
        self.settled = False  # once every operation has been seen, units depend on what they must depend on alone

    def hold(self, axis: Iterable[Factor], reason: str, sizes: Sequence[int] = ()) -> list[Axis]:
        """Note that an operation leaves no known freedom to these units, and return axes for its result.

        They are still where the units are; where the units could move, it is an error in the end (see `check`).
        """
        axis = tuple(axis)
        if all(factor.atom and factor.fixed for factor in leaves(axis)):
            return [still(size) for size in sizes]
        results = [loose(size) for size in sizes]
        self.held.append((axis, f"{self.where}: {reason}", results))
        return results

    def check(self, free: Container[Factor]) -> None:
        """Raise if units that are free in the end were held by an operation.

        Raises
        ------
        ValueError
            With the operation and its layer, the reason, and the layer of the units.
        """
        for axis, reason, _ in self.held:
            for factor in (factor for _, flat in self.blocks([axis]) for factor in flat if factor in free):
                raise ValueError(
                    f"cannot derive the permutations of the {factor.size} units of layer {factor.name!r} through "
                    f"{reason}; if you know what the operation does to the axes of its tensors, say so by rules="
                )

    def _still_held(self) -> None:
        """Fix the results of operations on units that cannot move anyway."""
        count = -1
        while count != (
            count := sum(factor.fixed for *_, axes in self.held for axis in axes for factor in leaves(axis))
        ):
            for axis, _, results in self.held:
                if all(factor.fixed for _, flat in self.blocks([axis]) for factor in flat):
                    for result in results:
                        self.pin(result)

    # --- joining

    def unify(self, first: Iterable[Factor], second: Iterable[Factor]) -> None:
        """Let two axes of the same length move together."""
        a, b = list(first), list(second)
        while (x := _next(a)) and (y := _next(b)):
            if x is y:
                continue
            if x.size == y.size:
                self._merge(x, y)
                continue
            (large, queue), small = max(((x, a), (y, b)), key=lambda pair: pair[0].size), min(x.size, y.size)
            if large.size % small:
                self.hold((x, y, *a, *b), f"it joins {x.size} units with {y.size}")
                return
            queue[:0] = self._split(large, small)
            (b if queue is a else a).insert(0, y if large is x else x)

    def pin(self, axis: Iterable[Factor]) -> None:
        """Keep the units of an axis in their places."""
        for factor in leaves(axis):
            if factor.atom:
                factor.fixed = True
            for piece in factor.pieces or ():
                self.pin(piece)
            self.pin(factor.members)

    def _merge(self, x: Factor, y: Factor) -> None:
        if x.atom and y.atom:
            x, y = sorted((x, y), key=lambda factor: factor.order)  # the first name stays
            y.alias, x.fixed, x.name = x, x.fixed or y.fixed, x.name or y.name
            x.declared += y.declared
        elif x.atom or y.atom:
            atom, other = (x, y) if x.atom else (y, x)
            if _holds(other, atom):
                self.collapse(other)
                return
            atom.alias = other
            self._impose(other, atom.declared)
            if atom.fixed:
                self.pin((other,))
        elif x.pieces is not None and y.pieces is not None:
            self._merge_pieces(x.pieces, y.pieces)
            y.alias = x
        elif x.over is not None and y.over is not None and root(x.over) is root(y.over):
            for one, other in zip(x.members, y.members, strict=True):
                self.unify((one,), (other,))
            y.alias = x
        else:
            for factor in (x, y):
                if factor.over is not None:
                    self.collapse(factor)
            self.unify((x,), (y,))

    def _merge_pieces(self, first: list[Axis], second: list[Axis]) -> None:
        a, b = list(first), list(second)
        while a and b:
            heads = [a.pop(0), b.pop(0)]
            size = min(map(length, heads))
            for k, queue in enumerate((a, b)):
                axis = heads[k]
                if length(axis) > size:
                    heads[k] = self.cut(axis, 0, size)[0]
                    queue.insert(0, self.cut(axis, size, length(axis))[0])
            self.unify(*heads)

    def _impose(self, factor: Factor, declared: list[frozenset[Factor]]) -> None:
        """Let what an atom may depend on hold for the factors that it turned out to be made of."""
        factor.declared += declared
        for piece in factor.pieces or ():
            own = leaves(piece)
            for part in own:
                self._impose(part, [one | frozenset(own) - {part} for one in declared])
        for k, member in enumerate(factor.members):
            mapped = [self._restricted(one, factor.over, k) for one in declared]
            for part in leaves((member,)):
                self._impose(part, mapped)

    def _restricted(self, declared: frozenset[Factor], over: "Factor | None", index: int) -> frozenset[Factor]:
        """Return on one piece of ``over`` what a set of factors becomes there."""
        if over is None:
            return declared
        over = root(over)
        others = {self.member(other, over, index) for other in declared if root(other) is not over}
        return frozenset(others | set(leaves((over.pieces or [])[index])))

    def collapse(self, family: Factor) -> None:
        """Let the members of a family be one and the same."""
        family.alias = family.members[0]
        for member in family.members[1:]:
            self.unify((family.members[0],), (member,))

    # --- splitting

    def regroup(self, axis: Iterable[Factor], sizes: Sequence[int]) -> list[Axis]:
        """Split a product into consecutive axes of given lengths."""
        queue, result = list(axis), list[Axis]()
        for want in sizes:
            taken: list[Factor] = []
            have = 1
            while have < want:
                factor = _next(queue)
                if factor is None:
                    raise AssertionError("the lengths of a view do not multiply to those of its source")
                missing = want // have
                if missing % factor.size == 0:
                    taken.append(factor)
                    have *= factor.size
                elif factor.size % missing == 0:
                    queue[:0] = self._split(factor, missing)
                else:
                    reason = f"its shapes tear {factor.size} units apart"
                    return result + self.hold((*taken, factor, *queue), reason, sizes[len(result) :])
            result.append(tuple(taken))
        return result

    def _split(self, factor: Factor, major: int) -> Axis:
        """Split a factor in two, the first of a given size; the second may depend on the first."""
        minor = factor.size // major
        if factor.atom:
            a, b = (factor.part(n, k) for k, n in enumerate((major, minor)))
            if not _is_still(factor):
                a.declared = factor.declared or [frozenset()]
                b.declared = [one | {a} for one in a.declared]
        elif factor.over is not None:
            halves = [self.regroup((member,), (major, minor)) for member in factor.members]
            a, b = (
                Factor(n, factor.name, over=factor.over, members=[wrap(half[k]) for half in halves])
                for k, n in enumerate((major, minor))
            )
        else:
            pieces = [(piece, length(leaves(piece))) for piece in factor.pieces or ()]
            if any(size % minor for _, size in pieces):
                major_axis, minor_axis = self.hold(
                    (factor,), f"its shapes tear {factor.size} units apart", (major, minor)
                )
                return (*major_axis, *minor_axis)
            halves = [self.regroup(piece, (size // minor, minor)) for piece, size in pieces]
            a = Factor(major, factor.name, pieces=[half[0] for half in halves])
            b = Factor(minor, factor.name, over=a, members=[wrap(half[1]) for half in halves])
        factor.parts, factor.pieces, factor.over = (a, b), None, None
        return a, b

    # --- cutting

    def cut(self, axis: Iterable[Factor], start: int, stop: int) -> tuple[Axis, Restrict]:
        """Return the places from start to stop of an axis, and what the cut makes of the tensor's other factors."""
        factors = leaves(axis)
        if (start, stop) == (0, length(factors)):
            return tuple(factors), lambda factor: (factor,)
        first, rest = factors[0], factors[1:]
        stride = length(rest)
        if start % stride or stop % stride:
            reason = f"it cuts {length(factors)} units at {start if start % stride else stop}"
            return self.hold(factors, reason, (stop - start,))[0], lambda factor: (factor,)
        piece, restrict = self._cut(first, start // stride, stop // stride)
        return (*piece, *(part for factor in rest for part in restrict(factor))), restrict

    def _cut(self, factor: Factor, start: int, stop: int) -> tuple[Axis, Restrict]:
        if (start, stop) == (0, factor.size):
            return (factor,), lambda other: (other,)
        if factor.over is not None:
            self.collapse(factor)
            return self.cut((factor,), start, stop)
        if _is_still(factor):
            return still(stop - start), lambda other: (other,)
        if factor.pieces is None:
            bounds = sorted({0, start, stop, factor.size})
            pieces = [factor.part(b - a, k) for k, (a, b) in enumerate(pairwise(bounds))]
            for piece in pieces:
                piece.declared = list(factor.declared)
            factor.pieces = [() if piece.size == 1 else (piece,) for piece in pieces]
        found, offset = [], 0
        for index, axis in enumerate(factor.pieces):
            size = length(leaves(axis))
            low, high = max(start - offset, 0), min(stop - offset, size)
            if low < high:
                found.append((index, *self.cut(axis, low, high)))
            offset += size
        if len(found) == 1:
            k, first, inner = found[0]
            return first, lambda other: tuple(y for x in leaves((self.member(other, factor, k),)) for y in inner(x))
        whole = Factor(stop - start, factor.name, pieces=[piece for _, piece, _ in found])
        return (whole,), lambda other: self._span(other, factor, whole, found)

    def _span(self, other: Factor, factor: Factor, whole: Factor, found: list[tuple[int, Axis, Restrict]]) -> Axis:
        """Restrict another factor to several pieces at once."""
        members = [
            wrap(tuple(y for x in leaves((self.member(other, factor, index),)) for y in inner(x)))
            for index, _, inner in found
        ]
        if all(root(member) is root(members[0]) for member in members):
            return (members[0],)
        return (Factor(other.size, other.name, over=whole, members=members),)

    def member(self, factor: Factor, over: Factor, index: int) -> Factor:
        """Return what a factor is on one piece of a concatenation that lies on another axis of the same tensor."""
        factor = root(factor)
        if factor is over or not depends(factor, over):
            return factor
        if factor.over is not None and root(factor.over) is over:
            return factor.members[index]
        if self.settled and factor.atom and not factor.declared:
            return factor
        if (over, index) not in factor.memo:
            factor.memo[over, index] = self._member(factor, over, index)
        return factor.memo[over, index]

    def _member(self, factor: Factor, over: Factor, index: int) -> Factor:
        if factor.parts is not None:
            return wrap(tuple(self.member(part, over, index) for part in factor.parts))
        if factor.pieces is not None:
            pieces = [tuple(self.member(part, over, index) for part in leaves(piece)) for piece in factor.pieces]
            same = all(map(_equal, pieces, factor.pieces))
            return factor if same else Factor(factor.size, factor.name, pieces=pieces)
        if factor.over is not None:
            members = [self.member(member, over, index) for member in factor.members]
            same = _equal(members, factor.members)
            return factor if same else Factor(factor.size, factor.name, over=factor.over, members=members)
        if factor.fixed:
            return factor
        factor.over = over
        for k in range(len(over.pieces or ())):
            member = factor.part(factor.size, k)
            member.declared = [self._restricted(one, over, k) for one in factor.declared]
            factor.members.append(member)
        return factor.members[index]

    # --- resolving

    def blocks(self, axes: Sequence[Iterable[Factor]], tensor: Tensor | None = None) -> "Iterator[Block]":
        """Take a tensor apart into blocks (views) with one dim for each atom; without a tensor, only their atoms."""
        flat = [factor for axis in axes for factor in leaves(axis)]
        if tensor is not None:
            tensor = tensor.view([factor.size for factor in flat])
        yield from self._resolve(flat, tensor)

    def _resolve(self, flat: list[Factor], tensor: Tensor | None) -> "Iterator[Block]":
        for k, factor in enumerate(flat):
            offset = 0
            for index, piece in enumerate(factor.pieces or ()):
                own = leaves(piece)
                before, after = (
                    leaves([self.member(f, factor, index) for f in part]) for part in (flat[:k], flat[k + 1 :])
                )
                new, view = [*before, *own, *after], tensor
                if tensor is not None:
                    view = tensor.narrow(k, offset, length(own)).view([f.size for f in new])
                yield from self._resolve(new, view)
                offset += length(own)
            if factor.pieces is not None:
                return
        yield tensor, flat

    def settle(self, tensors: Iterable[Sequence[Axis]]) -> dict[Factor, list[Factor]]:
        """Return the free atoms of tensors, each with the free atoms on which the order of its units may depend.

        An order can depend on another factor only where every tensor that has the first has the second too.
        """
        tensors, self.settled = list(tensors), True
        while True:
            self._still_held()
            present: dict[Factor, set[Factor]] = {}
            families: list[Factor] = []
            for _, flat in (block for axes in tensors for block in self.blocks(axes)):
                families += [factor for factor in flat if factor.over is not None]
                for factor in flat:
                    present[factor] = present.get(factor, set(flat)) & set(flat)
            for family in families:
                if family.alias is None:
                    self.collapse(family)
            if families:
                continue
            parents = {factor: self._parents(factor, among) for factor, among in present.items() if not factor.fixed}
            rigid = {parent for found in parents.values() for parent in found if parent.fixed}
            for factor in rigid:  # each of its places has units of its own
                factor.pieces = [()] * factor.size
            if not rigid:
                return parents

    def _parents(self, factor: Factor, among: set[Factor]) -> list[Factor]:
        for one in factor.declared:
            among = among & set(leaves(one))
        return sorted(among - {factor}, key=lambda other: other.order) if factor.declared else []


Block = tuple[Tensor | None, list[Factor]]


def depends(factor: Factor, other: Factor) -> bool:
    """Whether the order of a factor's units may differ from place to place on another factor."""
    if not factor.declared:
        return not any(factor in leaves(one) for one in other.declared)
    return all(other in leaves(one) for one in factor.declared)


def _holds(factor: Factor, atom: Factor) -> bool:
    """Whether an atom is one of the members of a family, or of their parts."""
    below = [*factor.members, *(part for piece in factor.pieces or () for part in piece)]
    return any(part is atom or _holds(part, atom) for part in leaves(below))


def _is_still(factor: Factor) -> bool:
    """Whether a factor has been fixed from the start, as the axes of the inputs are."""
    return factor.atom and factor.fixed and not factor.declared and not factor.name


def _next(queue: list[Factor]) -> Factor | None:
    """Take the first leaf off a product."""
    while queue:
        queue[:1] = leaves(queue[:1])
        if queue:
            return queue.pop(0)
    return None


def wrap(axis: Axis) -> Factor:
    """Return an axis as one factor."""
    return axis[0] if len(axis) == 1 else Factor(length(axis), parts=axis)


def _equal(first: Iterable[Factor], second: Iterable[Factor]) -> bool:
    return [root(f) for f in first] == [root(f) for f in second]
