"""A sketched range of an operator: its orthonormal basis, and what random vectors need to know of it."""

import torch
from torch import Tensor

from kdlandscape.linalg.trace.rows import Rows, dots


def extend(basis: Rows, rows: Tensor) -> Tensor:
    """Return orthonormal rows that extend the basis to the span of these rows; directions at rounding level drop."""
    size, rows = rows.norm(dim=1).max(), rows.clone()
    _project_out(basis, rows)
    _project_out(basis, rows)
    columns, triangle = torch.linalg.qr(rows.T)
    left, singular, _ = torch.linalg.svd(triangle, full_matrices=False)
    floor = torch.finfo(rows.dtype).eps * size * rows.shape[1] ** 0.5
    fresh = (columns @ left).T[singular > floor][: rows.shape[1] - len(basis)].contiguous()
    _project_out(basis, fresh)
    return fresh / fresh.norm(dim=1, keepdim=True)


def _project_out(basis: Rows, rows: Tensor) -> None:
    for block in basis.blocks:
        rows.addmm_(rows @ block.T, block, alpha=-1)


class Forms:
    """What random vectors ω and an orthonormal Q need of A: inner products, in float64 and in coordinates of Q.

    Attributes
    ----------
    inner, images_in : Tensor (k, r)
        Q ω and Q A ω of every ω.
    core : Tensor (r, r)
        Q A Q'.
    forms, squares : Tensor (k,)
        ω' A ω and ω' ω.
    """

    def __init__(self) -> None:
        self.inner = self.images_in = self.core = torch.zeros(0, 0, dtype=torch.float64)
        self.forms = self.squares = torch.zeros(0, dtype=torch.float64)

    def add_directions(self, images: Tensor, fresh: Tensor, basis: Rows, samples: Rows) -> None:
        """Take in the products of new rows of Q, which the basis already holds."""
        border = basis.against(images)
        old = border.shape[1] - len(fresh)
        corner = (border[:, old:] + border[:, old:].T) / 2
        upper = torch.cat([self.core, border[:, :old].T], dim=1)
        self.core = torch.cat([upper, torch.cat([border[:, :old], corner], dim=1)])
        self.inner = torch.cat([self.inner, samples.against(fresh).T], dim=1)
        self.images_in = torch.cat([self.images_in, samples.against(images).T], dim=1)  # q' A ω = (A q)' ω

    def add_samples(self, draw: Tensor, images: Tensor, basis: Rows) -> None:
        """Take in new random vectors and their products."""
        self.inner = torch.cat([self.inner, basis.against(draw)])
        self.images_in = torch.cat([self.images_in, basis.against(images)])
        self.forms = torch.cat([self.forms, dots(draw, images)])
        self.squares = torch.cat([self.squares, dots(draw, draw)])

    def energies(self, inside: Tensor) -> Tensor:
        """Return u' A u (k,) of u = ω less its part in Q with the coordinates ``inside`` (k, r)."""
        quadratic = (inside @ self.core * inside).sum(dim=1)
        return self.forms - 2 * (inside * self.images_in).sum(dim=1) + quadratic
