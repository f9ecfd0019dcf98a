"""Points of a line or plane from their coordinates, one after the other or all at once."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor


class Placement:
    """Combine origin and directions (or any values and their slopes) at given coordinates; exact at the origin."""

    def __init__(self, origin: Tensor, directions: Sequence[Tensor]) -> None:
        self.origin, self.directions = origin, list(directions)

    def walk(self, points: Iterable[Sequence[float]], into: Tensor | None = None) -> Iterator[Tensor]:
        """Combine at one point after the other; the first coordinate, which a grid varies fastest, is added last.

        What the other coordinates give is kept while they stay the same. Each is a tensor of its own, or ``into``.
        """
        first, *others = self.directions
        row: list[float] | None = None
        for point in points:
            if point[1:] != row:
                row, base = list(point[1:]), self.origin
                for coordinate, direction in zip(row, others, strict=True):
                    base = torch.add(base, direction, alpha=coordinate)
            yield torch.add(base, first, alpha=point[0], out=into)

    def all(self, points: Tensor) -> Tensor:
        """Combine at K coordinates (K, D) in one product."""
        return torch.addmm(self.origin, points.to(self.origin), torch.stack(self.directions))
