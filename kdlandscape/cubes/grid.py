"""The grid of a study: which axes a cube has, which cells a run fills, and which are left out on purpose."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

VERSION = 1  #: of ``spec.yaml`` in a study's folder


@dataclass(frozen=True)
class Grid:
    """The axes of a study.

    Attributes
    ----------
    values
        Values along each axis, the slowest first.
    vectorize
        Axes that every run covers as a whole; the others hold one value a run.
    zip
        Groups of axes of equal length that advance together; the first of a group is the dim, the others are
        coordinates along it.
    exclude
        Cells that no run fills: value, or list of values, of some of the axes.
    """

    values: Mapping[str, list]
    vectorize: list[str] = field(default_factory=list)
    zip: list[list[str]] = field(default_factory=list)
    exclude: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> "Grid":
        """Return the grid of a spec's content."""
        rest = {name: spec.get(name) or [] for name in ("vectorize", "zip", "exclude")}
        return cls(spec["grid"], **rest)

    @cached_property
    def along(self) -> dict[str, str]:
        """The axes that are no dims: name -> the dim they lie along."""
        return {name: group[0] for group in self.zip for name in group[1:]}

    @cached_property
    def dims(self) -> list[str]:
        """The axes that are dims of the cube."""
        return [name for name in self.values if name not in self.along]

    @cached_property
    def outer(self) -> list[str]:
        """The dims along which the runs lie."""
        return [name for name in self.dims if name not in self.vectorize]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The number of places along each outer dim."""
        return tuple(len(self.values[name]) for name in self.outer)

    @cached_property
    def positions(self) -> dict[str, dict[Any, int]]:
        """The place of each value along each outer dim."""
        return {name: {value: i for i, value in enumerate(self.values[name])} for name in self.outer}

    def cells(self) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
        """Yield the index and the coordinates of every cell that a run fills; the first axis varies slowest."""
        outer, along, values = self.outer, self.along, self.values
        axis = {name: outer.index(along.get(name, name)) for name in values if name not in self.vectorize}
        rules = [
            {name: set(value) if isinstance(value, list) else {value} for name, value in rule.items()}
            for rule in self.exclude
        ]
        for index in product(*(range(size) for size in self.shape)):
            coords = {name: values[name][index[place]] for name, place in axis.items()}
            if not any(all(coords[name] in left_out for name, left_out in rule.items()) for rule in rules):
                yield index, coords

    def planned(self) -> np.ndarray:
        """Return which cells a run fills."""
        planned = np.zeros(self.shape, bool)
        for index, _ in self.cells():
            planned[index] = True
        return planned
