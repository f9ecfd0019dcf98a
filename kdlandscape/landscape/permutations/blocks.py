"""Take tensors apart into blocks with one dim for each atom, and find which atoms are free in the end."""

from collections.abc import Container, Iterable, Iterator, Sequence

from torch import Tensor

from kdlandscape.landscape.permutations.factors import Axis, Factor, homes, leaves, length, rigid
from kdlandscape.landscape.permutations.unification import Factors

Block = tuple[Tensor | None, list[Factor]]


def blocks(factors: Factors, axes: Sequence[Iterable[Factor]], tensor: Tensor | None = None) -> Iterator[Block]:
    """Take a tensor apart into blocks (views) with one dim for each atom; without a tensor, only their atoms."""
    flat = [factor for axis in axes for factor in leaves(axis)]
    if tensor is not None:
        tensor = tensor.view([factor.size for factor in flat])
    yield from _resolve(factors, flat, tensor)


def _resolve(factors: Factors, flat: list[Factor], tensor: Tensor | None) -> Iterator[Block]:
    for k, factor in enumerate(flat):
        offset = 0
        for index, piece in enumerate(factor.pieces or ()):
            own = leaves(piece)
            # Another axis with the same concatenation is taken apart by itself.
            mine = [f is not factor and homes(flat, [factor], j)[0] == k for j, f in enumerate(flat)]
            there = [factors.member(f, factor, index) if inside else f for f, inside in zip(flat, mine, strict=True)]
            before, after = leaves(there[:k]), leaves(there[k + 1 :])
            new, view = [*before, *own, *after], tensor
            if tensor is not None:
                view = tensor.narrow(k, offset, length(own)).view([f.size for f in new])
            yield from _resolve(factors, new, view)
            offset += length(own)
        if factor.pieces is not None:
            return
    yield tensor, flat


def settle(factors: Factors, tensors: Iterable[Sequence[Axis]]) -> dict[Factor, list[Factor]]:
    """Return the free atoms of tensors, each with the free atoms on which the order of its units may depend.

    An order can depend on another factor only where every tensor that has the first has the second too.
    """
    tensors, factors.settled = list(tensors), True
    while True:
        _fix_results(factors)
        present: dict[Factor, set[Factor]] = {}
        families: list[Factor] = []
        for _, flat in (block for axes in tensors for block in blocks(factors, axes)):
            families += [factor for factor in flat if factor.over is not None]
            for factor in flat:
                present[factor] = present.get(factor, set(flat)) & set(flat)
        for family in families:
            if family.alias is None:
                factors.collapse(family)
        if families:
            continue
        parents = {factor: _parents(factor, among) for factor, among in present.items() if not factor.fixed}
        rigid = {parent for found in parents.values() for parent in found if parent.fixed}
        for factor in rigid:  # each of its places has units of its own
            factor.pieces = [()] * factor.size
        if not rigid:
            return parents


def _parents(factor: Factor, among: set[Factor]) -> list[Factor]:
    for one in factor.declared:
        among = among & set(leaves(one))
    return sorted(among - {factor}, key=lambda other: other.order) if factor.declared else []


def check(factors: Factors, free: Container[Factor]) -> None:
    """Raise if units that are free in the end were held by an operation.

    Raises
    ------
    ValueError
        With the operation and its layer, the reason, and the layer of the units.
    """
    for axis, reason, _ in factors.held:
        for factor in (factor for _, flat in blocks(factors, [axis]) for factor in flat if factor in free):
            raise ValueError(
                f"cannot derive the permutations of the {factor.size} units of layer {factor.name!r} through "
                f"{reason}; if you know what the operation does to the axes of its tensors, say so by rules="
            )


def _fix_results(factors: Factors) -> None:
    """Fix the results of operations on units that cannot move anyway."""
    count = -1
    while count != (
        count := sum(factor.fixed for *_, axes in factors.held for axis in axes for factor in leaves(axis))
    ):
        for axis, _, results in factors.held:
            if rigid(axis):
                for result in results:
                    factors.pin(result)
