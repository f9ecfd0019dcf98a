"""Groups of units under construction: joined where a network ties them together, pinned where they may not move."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import fx


class Slot(NamedTuple):
    """An axis of a parameter or buffer that a group permutes.

    With ``size`` units, index = (outer * size + unit) * inner + offset, 0 <= offset < inner; outer follows from the
    length of the axis (a flattened axis can repeat the units).
    """

    name: str
    axis: int
    inner: int = 1


class Site(NamedTuple):
    """A node of the graph whose value carries the units of a group on one of its axes, as a `Slot` does."""

    node: str
    axis: int
    inner: int = 1


@dataclass(frozen=True)
class Group:
    """Units that can only be permuted together: ``size`` of them, everywhere they appear.

    ``slots`` are the axes of parameters and buffers, ``reads`` the inputs of the layers that read the units,
    ``writes`` the layers (linear, convolution, embedding) that produce them.
    """

    size: int
    slots: tuple[Slot, ...]
    reads: tuple[Site, ...]
    writes: tuple[Site, ...]


class Feature(NamedTuple):
    """Where a value carries units: on ``axis``, those of a group, in blocks of ``inner``."""

    axis: int
    group: int
    inner: int


class Groups:
    """A union-find over groups, and every axis and value on which their units lie."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self.parents: list[int] = []
        self.sizes: list[int] = []
        self.names: list[str] = []
        self.pinned: set[int] = set()
        self.slots: dict[tuple[str, int], tuple[int | None, int]] = {}
        self.reads: list[tuple[int, Site]] = []
        self.writes: list[tuple[int, Site]] = []
        first: dict[int, str] = {}
        tensors = [*graph.named_parameters(remove_duplicate=False), *graph.named_buffers(remove_duplicate=False)]
        # A tied weight goes by its first name.
        self.canonical = {name: first.setdefault(id(tensor), name) for name, tensor in tensors}
        self.frozen = {name for name, p in graph.named_parameters() if not p.requires_grad}

    def new(self, name: str, size: int) -> int:
        """Open a group and return its number."""
        self.parents.append(len(self.parents))
        self.sizes.append(size)
        self.names.append(name)
        return len(self.parents) - 1

    def root(self, group: int) -> int:
        """Return the first of the groups that a group was joined with."""
        while self.parents[group] != group:
            group = self.parents[group]
        return group

    def size(self, group: int) -> int:
        """Return how many units a group has."""
        return self.sizes[group]

    def join(self, a: int, b: int) -> None:
        """Let two groups move together from now on."""
        a, b = sorted((self.root(a), self.root(b)))
        if self.sizes[a] != self.sizes[b]:
            raise ValueError(f"it joins {self.sizes[a]} units with {self.sizes[b]}")
        self.parents[b] = a
        if self.pinned & {a, b}:
            self.pinned |= {a, b}

    def pin(self, feature: Feature | None) -> None:
        """Keep the units of a feature in their places."""
        if feature is not None:
            self.pinned.add(self.root(feature.group))

    def slot(self, name: str, axis: int, feature: Feature | None, inner: int | None = None) -> None:
        """Note that an axis of a parameter or buffer follows a feature; with no feature it stays in place."""
        name = self.canonical[name]
        new = (None, 1) if feature is None else (feature.group, feature.inner if inner is None else inner)
        old = self.slots.setdefault((name, axis), new)
        if name in self.frozen:
            self.pin(feature)
        if old == new:
            return
        groups = [group for group, _ in (old, new) if group is not None]
        if len(groups) == 1 or old[1] != new[1] or self.sizes[groups[0]] != self.sizes[groups[1]]:
            self.pinned |= {self.root(group) for group in groups}  # one of its uses stays in place, so all do
        else:
            self.join(*groups)

    def free(self) -> dict[str, Group]:
        """Return the groups that are free to permute, in the order in which they are written."""
        parts: dict[int, tuple[list[Slot], list[Site], list[Site]]] = {}
        pinned = {self.root(group) for group in self.pinned}
        for (name, axis), (group, inner) in self.slots.items():
            if group is not None and self.root(group) not in pinned:
                parts.setdefault(self.root(group), ([], [], []))[0].append(Slot(name, axis, inner))
        for group, site in self.reads:
            if self.root(group) in parts:
                parts[self.root(group)][1].append(site)
        for group, site in self.writes:
            if self.root(group) in parts:
                parts[self.root(group)][2].append(site)
        return {
            self.names[root]: Group(self.sizes[root], tuple(slots), tuple(reads), tuple(writes))
            for root, (slots, reads, writes) in sorted(parts.items())
        }
