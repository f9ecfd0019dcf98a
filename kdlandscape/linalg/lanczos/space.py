"""A Krylov space that grows by products, is restarted by Ritz vectors, and is probed by random ones."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdlandscape.linalg.lanczos.ritz import Ritz

Matvec = Callable[[Tensor], Tensor]
COLUMNS = 2**20  # of a block that are rotated at a time


class Space:
    """An orthonormal basis V, and A V = H V + C F with the frontier F not yet in V."""

    def __init__(self, start: Tensor, size: int, generator: torch.Generator | None, known: Ritz | None) -> None:
        self.vectors = start.new_empty(min(size + len(start), start.shape[1]), start.shape[1])
        self.generator = generator or torch.Generator().manual_seed(0x9E3779B9)
        self.dim = self.num_matvecs = 0
        self.low, self.high, self.dropped = torch.inf, -torch.inf, 0.0  # dropped: couplings cut off by probes
        self.chain: int | None = None  # where the probing chain begins in the basis
        if known is not None:
            self._resume(known)
            return
        norms = start.norm(dim=1)
        if not bool(torch.isfinite(norms).all()) or not bool((norms > 0).any()):
            raise ValueError(f"start must be finite with a row that is not zero, got rows of norm {norms.tolist()}")
        self.frontier = self._orthonormalize(start[norms > 0] / norms[norms > 0, None], 1.0)[0]
        self.projected = torch.zeros(0, 0, dtype=torch.float64)
        self.coupling = torch.zeros(0, len(self.frontier), dtype=torch.float64)

    def _resume(self, known: Ritz) -> None:
        self.dim = len(known.values)
        self.vectors[: self.dim] = known.vectors
        self.projected = torch.diag(known.values)
        self.frontier, self.coupling = known.frontier, known.coupling
        self.low, self.high = known.ends
        self.theta, self.coordinates = torch.linalg.eigh(self.projected)
        if not len(self.frontier):
            self.probe(None)

    def expand(self, matvec: Matvec) -> None:
        """Multiply the frontier, take it into the basis, and find the next one."""
        old, new = self.dim, self.dim + len(self.frontier)
        product = matvec(self.frontier)
        if product.shape != self.frontier.shape:
            raise ValueError(f"matvec must keep the shape {tuple(self.frontier.shape)}, got {tuple(product.shape)}")
        self.vectors[old:new] = self.frontier
        self.dim, self.num_matvecs = new, self.num_matvecs + new - old
        coefficients = product @ self.vectors[:new].T
        border = coefficients.to("cpu", torch.float64)
        if not bool(torch.isfinite(border).all()):
            raise ValueError("matvec must give finite values, got inf or nan: check the operator at this point")
        self._project(border, old)
        self.theta, self.coordinates = torch.linalg.eigh(self.projected)
        self.low, self.high = min(self.low, float(self.theta[0])), max(self.high, float(self.theta[-1]))
        self.scale = max(-self.low, self.high)
        self.frontier, factor = self._orthonormalize(product, self.scale, coefficients)
        self.coupling = torch.cat([torch.zeros(old, factor.shape[1], dtype=torch.float64), factor])

    def _project(self, border: Tensor, old: int) -> None:
        gap, corner = float((border[:, :old] - self.coupling.T).norm()), border[:, old:]
        upper = torch.cat([self.projected, self.coupling], dim=1)
        self.projected = torch.cat([upper, torch.cat([self.coupling.T, (corner + corner.T) / 2], dim=1)])
        gap, scale = max(gap, float((corner - corner.T).norm())), float(self.projected.norm())
        if gap > torch.finfo(self.vectors.dtype).eps ** 0.25 * scale + self.dropped:
            raise ValueError(f"matvec must be symmetric, got u'Av and v'Au that differ by {gap:.1e} of {scale:.1e}")

    def _orthonormalize(self, block: Tensor, scale: float, coefficients: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return rows orthonormal to the basis and each other, and the factor: remainder = factor @ rows.

        ``coefficients`` are those of the block in the basis, where they are known. A single row is projected twice,
        and once more only where the second time took most of it (Giraud, Langou and Rozložník, 2005).
        """
        basis = self.vectors[: self.dim]
        block = block - (block @ basis.T if coefficients is None else coefficients) @ basis
        sizes = block.norm(dim=1)
        block = block - (block @ basis.T) @ basis
        steady = len(block) == 1 and bool(block.norm() >= sizes[0] / 2)
        if len(block) == 1:  # what the decompositions below give, at a tenth of their time
            singular = block.norm(dim=1)
            rows, left = (
                block / singular.clamp_min(torch.finfo(block.dtype).tiny)[:, None],
                torch.ones_like(block[:, :1]),
            )
        else:
            columns, triangle = torch.linalg.qr(block.T)
            right, singular, left = torch.linalg.svd(triangle, full_matrices=False)
            rows, left = (columns @ right).T, left.T
        floor = torch.finfo(block.dtype).eps * scale * block.shape[1] ** 0.5
        keep = (singular > floor).nonzero()[: block.shape[1] - self.dim, 0]
        rows = rows[keep]
        if len(rows) and self.dim and not steady:
            rows = rows - (rows @ basis.T) @ basis
            rows = rows / rows.norm(dim=1, keepdim=True)
        return rows, (left * singular)[:, keep].to("cpu", torch.float64)

    def restart(self, coordinates: Tensor) -> None:
        """Keep the Ritz vectors with these coordinates; the frontier stays."""
        kept = coordinates.shape[1]
        self.rotate(coordinates)
        self.projected = coordinates.T @ self.projected @ coordinates
        self.coupling = coordinates.T @ self.coupling
        self.chain = kept if self.chain == self.dim else None
        self.dim = kept

    def rotate(self, coordinates: Tensor) -> None:
        """Overwrite the first rows by the Ritz vectors with these coordinates, a part of the columns at a time."""
        rotation = coordinates.T.to(self.vectors)
        for part in self.vectors.split(COLUMNS, dim=1):
            part[: len(rotation)] = rotation @ part[: self.dim]

    def probe(self, coordinates: Tensor | None) -> None:
        """Open a chain with a random row orthogonal to the Ritz vectors of these coordinates (None: to the basis)."""
        if coordinates is not None:
            self.restart(coordinates)
            self.dropped += 2 * float(self.coupling.norm())
        n, generator = self.vectors.shape[1], self.generator
        draw = torch.randn(1, n, generator=generator, device=generator.device, dtype=self.vectors.dtype)
        self.frontier = self._orthonormalize(draw.to(self.vectors.device) / draw.norm().item(), 0.0)[0]
        self.coupling = torch.zeros(self.dim, 1, dtype=torch.float64)
        self.chain = self.dim
