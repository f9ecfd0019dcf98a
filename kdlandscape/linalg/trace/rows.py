"""Many vectors in the blocks in which they came, and their inner products, added up in float64."""

from collections.abc import Iterator

import torch
from torch import Tensor

COLUMNS = 2**18  # of a block that are taken to float64 at a time


class Rows:
    """Vectors in the blocks in which they came, so that none is copied to make room for the next."""

    def __init__(self) -> None:
        self.blocks: list[Tensor] = []

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    def append(self, rows: Tensor) -> None:
        """Hold a block of rows (b, n)."""
        if len(rows):
            self.blocks.append(rows)

    def against(self, rows: Tensor) -> Tensor:
        """Return the inner products of rows (b, n) with all that are held, (b, k), in float64."""
        return torch.cat(
            [torch.zeros(len(rows), 0, dtype=torch.float64), *(inner_products(rows, b) for b in self.blocks)], 1
        )


def columns(*stacks: Rows) -> Iterator[tuple[Tensor, ...]]:
    """Yield a part of the columns of all rows at a time, in float64."""
    n = stacks[0].blocks[0].shape[1]
    for start in range(0, n, COLUMNS):
        yield tuple(torch.cat([b[:, start : start + COLUMNS].double() for b in rows.blocks]).cpu() for rows in stacks)


def inner_products(rows: Tensor, others: Tensor) -> Tensor:
    """Return rows @ others.T, added up in float64."""
    total = torch.zeros(len(rows), len(others), dtype=torch.float64)
    for a, b in zip(rows.split(COLUMNS, dim=1), others.split(COLUMNS, dim=1), strict=True):
        total += (a.double() @ b.double().T).cpu()
    return total


def dots(rows: Tensor, others: Tensor) -> Tensor:
    """Return the inner product of each row with its own partner (b,), added up in float64."""
    total = torch.zeros(len(rows), dtype=torch.float64)
    for a, b in zip(rows.split(COLUMNS, dim=1), others.split(COLUMNS, dim=1), strict=True):
        total += (a.double() * b.double()).sum(dim=1).cpu()
    return total
