"""Unify, split and cut the axes of tensors: which of their units move together."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from kdlandscape.landscape.permutations.factors import (
    Axis,
    Factor,
    Restrict,
    depends,
    equal,
    holds,
    is_still,
    leaves,
    length,
    loose,
    rigid,
    root,
    still,
    take,
    wrap,
)


class Factors:
    """Unifies, splits and cuts axes, and keeps what could not be done: ``held`` units with the reason."""

    def __init__(self) -> None:
        self.held: list[tuple[Axis, str, list[Axis]]] = []
        self.where = ""
        self.settled = False  # set once every operation has been seen

    def hold(self, axis: Iterable[Factor], reason: str, sizes: Sequence[int] = ()) -> list[Axis]:
        """Note that an operation leaves no known freedom to these units, and return axes for its result.

        They are still where the units are; where the units could move, it is an error in the end (see `check`).
        """
        axis = tuple(axis)
        if rigid(axis):
            return [still(size) for size in sizes]
        results = [loose(size) for size in sizes]
        self.held.append((axis, f"{self.where}: {reason}", results))
        return results

    # --- joining

    def unify(self, first: Iterable[Factor], second: Iterable[Factor]) -> None:
        """Let two axes of the same length move together."""
        a, b = list(first), list(second)
        while (x := take(a)) and (y := take(b)):
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
            if holds(other, atom):
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
                factor = take(queue)
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
            if not is_still(factor):
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
        if is_still(factor):
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
            same = all(map(equal, pieces, factor.pieces))
            return factor if same else Factor(factor.size, factor.name, pieces=pieces)
        if factor.over is not None:
            members = [self.member(member, over, index) for member in factor.members]
            same = equal(members, factor.members)
            return factor if same else Factor(factor.size, factor.name, over=factor.over, members=members)
        if factor.fixed:
            return factor
        factor.over = over
        for k in range(len(over.pieces or ())):
            member = factor.part(factor.size, k)
            member.declared = [self._restricted(one, over, k) for one in factor.declared]
            factor.members.append(member)
        return factor.members[index]
