"""Linear assignments of the units of one network to those of another, group by group."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from kdlandscape.landscape.permutations.factors import homes
from kdlandscape.landscape.permutations.symmetries import Dims, Group, reordered, taken

MIN_GAIN = 1e-9  # of a step of the coordinate descent, relative to the norms of both networks


class Block(NamedTuple):
    """The same part of two networks, one dim for each group (None: places that stay)."""

    dims: Dims
    reference: Tensor
    other: Tensor


@dataclass(frozen=True)
class Matching:
    r"""The similarity :math:`\sum_b \langle r_b, \pi(o_b) \rangle` of blocks as a function of the permutations.

    The groups in ``done`` are in order already.
    """

    groups: Mapping[str, Group]
    blocks: Sequence[Block]
    done: Mapping[str, Group] = field(default_factory=dict)

    def value(self, permutations: Mapping[str, Tensor], names: Collection[str] | None = None) -> float:
        """Return the similarity, or its part that depends on some groups, over blocks whose groups are all known."""
        return sum(
            float((block.reference * reordered(block.other, block.dims, permutations, self.groups)).sum())
            for block in self.blocks
            if (names is None or set(names) & set(block.dims)) and _named(block.dims) <= {*permutations, *self.done}
        )

    def greedy(self) -> dict[str, Tensor]:
        """Match group after group, each by the blocks whose other groups are already matched."""
        known: dict[str, Tensor] = {}
        while left := [name for name in self.groups if name not in known]:
            ready = [name for name in left if set(self.groups[name].parents) <= {*known, *self.done}]
            if not ready:  # the rest lies inside a group that is matched elsewhere
                break
            name = next((name for name in ready if self._evidence(name, known)), ready[0])
            known |= self.solve(name, known)
        return known

    def descend(self, start: Mapping[str, Tensor], generator: torch.Generator, scale: float) -> tuple[dict, int]:
        """Climb by coordinates: each accepted step raises the similarity by more than a threshold, so it ends."""
        names = [name for name, group in self.groups.items() if not (group.parents and self._inside(name))]
        permutations = dict(start)
        sweeps, gained = 0, True
        while gained:
            sweeps, gained = sweeps + 1, False
            for index in torch.randperm(len(names), generator=generator).tolist():
                found = self.solve(names[index], permutations)
                gain = self.value(permutations | found, found) - self.value(permutations, found)
                if gain > MIN_GAIN * scale:
                    permutations, gained = permutations | found, True
        return permutations, sweeps

    def solve(self, name: str, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the best order of a group, and of the groups inside it, with those known that lie outside."""
        children = self._inside(name)
        outside = {key: order for key, order in known.items() if key not in (name, *children)}
        blocks = [
            Block(block.dims, block.reference, reordered(block.other, block.dims, outside, self.groups))
            for block in self.blocks
            if name in block.dims
        ]
        if not children:
            return {name: self._assign(name, blocks, outside, known.get(name))}
        found = self._nested(name, children, blocks, outside)
        for child in (c for c in children if c not in found and set(self.groups[c].parents) <= {*outside, *found}):
            found |= self.solve(child, outside | found)
        return found

    def _nested(
        self, name: str, children: Sequence[str], blocks: Sequence[Block], outside: Collection[str]
    ) -> dict[str, Tensor]:
        """Match units that have units of their own: a pair is worth what the best order inside it is worth."""
        done = {**self.done, **{key: self.groups[key] for key in outside}}
        inner = {c: Group(self.groups[c].size, _without(self.groups[c].parents, name), ()) for c in children}
        size = self.groups[name].size
        worth, found = torch.zeros(size, size, dtype=torch.float64), {}
        for i in range(size):
            for j in range(size):
                pair = Matching(inner, list(_pairs(name, blocks, i, j)), done)
                found[i, j] = pair.greedy()
                worth[i, j] = pair.value(found[i, j])
        order = best_order(worth)
        result = {name: order}
        for child in found[0, 0]:
            rows = torch.stack([found[i, int(j)][child] for i, j in enumerate(order)])
            result[child] = rows.movedim(0, self.groups[child].parents.index(name))
        return result

    def _assign(self, name: str, blocks: Sequence[Block], outside: Collection[str], own: Tensor | None) -> Tensor:
        """Solve one linear assignment, or one for each unit of the group's parents."""
        group = self.groups[name]
        sizes = [{**self.groups, **self.done}[parent].size for parent in group.parents]
        costs = torch.zeros(*sizes, group.size, group.size, dtype=torch.float64)
        for block in blocks:
            if not _named(block.dims) - {name} <= {*outside, *self.done}:
                continue
            for at in (k for k, one in enumerate(block.dims) if one == name):
                other = block.other
                twins = [k for k, one in enumerate(block.dims) if one == name and k != at]
                if twins and own is None:
                    continue
                for twin in twins:
                    other = taken(other, cast(Tensor, own), homes(block.dims, group.parents, twin))
                leading = homes(block.dims, group.parents, at)
                first = list(range(len(leading)))
                a, b = (x.movedim(leading, first).reshape(*costs.shape[:-1], -1) for x in (block.reference, other))
                costs += a.double() @ b.double().mT
        orders = [best_order(cost) for cost in costs.view(-1, group.size, group.size)]
        return torch.stack(orders).view(*sizes, group.size)

    def _inside(self, name: str) -> list[str]:
        return [child for child, group in self.groups.items() if name in group.parents]

    def _evidence(self, name: str, known: Collection[str]) -> bool:
        free = {name, *self._inside(name)}
        return any(name in block.dims and _named(block.dims) - free <= {*known, *self.done} for block in self.blocks)


def _pairs(name: str, blocks: Sequence[Block], i: int, j: int) -> Iterator[Block]:
    """Yield what unit i of the reference and unit j of the other have; what lies outside is in order already."""
    for block in blocks:
        at = block.dims.index(name)
        dims = [one for k, one in enumerate(block.dims) if k != at]
        if name not in dims:
            yield Block(dims, block.reference.select(at, i), block.other.select(at, j))


def _without(names: Sequence[str], name: str) -> tuple[str, ...]:
    return tuple(one for one in names if one != name)


def _named(dims: Dims) -> set[str]:
    return {name for name in dims if name is not None}


def best_order(costs: Tensor) -> Tensor:
    """Return the permutation that maximizes the sum of ``costs[i, permutation[i]]``."""
    return torch.from_numpy(linear_sum_assignment(costs.numpy(), maximize=True)[1].copy())
