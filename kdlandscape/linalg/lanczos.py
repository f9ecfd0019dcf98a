"""Extreme eigenpairs of a real symmetric operator from products with blocks of row vectors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Matvec = Callable[[Tensor], Tensor]
Which = Literal["largest", "smallest", "both", "magnitude"]


@dataclass(frozen=True)
class Eigenpairs:
    """Approximate eigenpairs of a symmetric operator, each with its residual.

    Attributes
    ----------
    values : Tensor (k,)
        Ritz values θ, in the order asked for.
    vectors : Tensor (k, n)
        Orthonormal Ritz vectors y, one a row.
    residuals : Tensor (k,)
        ‖A y − θ y‖, formed from products that were really taken.  An eigenvalue lies within this distance of θ.
    converged : Tensor (k,) of bool
        Residual within the tolerance asked for.
    num_products : int
        Products of A with one vector.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: Tensor
    num_products: int


def top_eigenpairs(
    matvec: Matvec,
    start: Tensor,
    k: int,
    *,
    which: Which = "largest",
    tol: float = 1e-6,
    max_products: int | None = None,
    basis_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Eigenpairs:
    """Find k extreme eigenpairs by block Lanczos with full reorthogonalization and thick restarts.

    Parameters
    ----------
    matvec : callable
        The symmetric operator: rows (b, n) to rows (b, n).
    start : Tensor (b, n)
        Start block; b = 1 is plain Lanczos and takes the fewest products.  Rows that depend on others are dropped.
    k : int
        Number of pairs, at most n.
    which : str
        ``"largest"`` (descending), ``"smallest"`` (ascending), ``"both"`` ends (⌈k/2⌉ largest and ⌊k/2⌋ smallest,
        descending) or ``"magnitude"`` (descending |θ|).
    tol : float
        A pair counts as converged at ‖A y − θ y‖ ≤ max(tol, 8 eps) · max |θ|.
    max_products : int, optional
        Return what there is after this many products; by default 200 + 50 k.
    basis_size : int, optional
        Rows held before a restart; two (basis_size + b, n) buffers live, the basis and its products.
    generator : torch.Generator, optional
        Draws the fresh vector after a breakdown; by default one seeded with 0.

    Returns
    -------
    Eigenpairs
        True residuals: the products A V of the basis are kept, so they cost no further product.

    Raises
    ------
    ValueError
        k > n, a bad start, an operator of another shape, not finite, or not symmetric.

    Notes
    -----
    A Krylov space of b start rows holds at most b copies of a multiple eigenvalue.  When it closes (breakdown), fresh
    random rows orthogonal to the basis open further chains until one leaves the wanted values as they were.

    References
    ----------
    Wu and Simon, Thick-restart Lanczos method for large symmetric eigenvalue problems, SIAM J. Matrix Anal. 2000.
    """
    _check(start, k, which)
    n = start.shape[1]
    size = min(n, max(64, 3 * k + 40) if basis_size is None else max(basis_size, k + 2 * len(start)))
    limit = 200 + 50 * k if max_products is None else max_products
    tolerance = max(tol, 8 * torch.finfo(start.dtype).eps)
    space = _Space(start, size, generator)
    closed: Tensor | None = None
    while True:
        space.expand(matvec)
        theta, coordinates = torch.linalg.eigh(space.projected)
        wanted = _select(theta, k, which)
        bound = tolerance * float(theta.abs().max())
        if space.dim == n or space.num_products >= limit:
            break
        done = len(wanted) == k and bool((space.estimates(coordinates[:, wanted]) <= bound).all())
        if done and len(space.frontier):
            break
        if not len(space.frontier):
            if done and closed is not None and bool(((theta[wanted] - closed).abs() <= bound).all()):
                break
            closed = theta[wanted] if len(wanted) == k else None
            space.refresh()
        if space.dim + len(space.frontier) > size < n:
            space.restart(coordinates[:, _select(theta, k + (size - k) // 2 - len(space.frontier), which)])
    return _pairs(space, theta[wanted], coordinates[:, wanted], bound)


def _check(start: Tensor, k: int, which: str) -> None:
    if start.ndim != 2 or not start.is_floating_point():
        raise ValueError(f"start must be a floating (b, n) block of rows, got {start.dtype} {tuple(start.shape)}")
    if not 1 <= k <= start.shape[1]:
        raise ValueError(f"expected 1 <= k <= n = {start.shape[1]}, got k = {k}: ask for at most n eigenpairs")
    if which not in ("largest", "smallest", "both", "magnitude"):
        raise ValueError(f"which must be 'largest', 'smallest', 'both' or 'magnitude', got {which!r}")


def _select(theta: Tensor, k: int, which: str) -> Tensor:
    """Give the indices of the (at most) k wanted values among ascending ones."""
    count = len(theta)
    k = min(k, count)
    ascending = torch.arange(count, device=theta.device)
    if which == "smallest":
        return ascending[:k]
    if which == "magnitude":
        return theta.abs().argsort(descending=True)[:k]
    low = k // 2 if which == "both" else 0
    return torch.cat([ascending[count - (k - low) :].flip(0), ascending[:low].flip(0)])


class _Space:
    """An orthonormal basis V, its products A V, and A V = H V + C F with the frontier F not yet in V."""

    def __init__(self, start: Tensor, size: int, generator: torch.Generator | None) -> None:
        rows = min(size + len(start), start.shape[1])
        self.vectors = start.new_empty(rows, start.shape[1])
        self.products = torch.empty_like(self.vectors)
        self.generator = generator or torch.Generator().manual_seed(0)
        self.projected = torch.zeros(0, 0, dtype=torch.float64)
        self.dim = self.num_products = 0
        norms = start.norm(dim=1, keepdim=True)
        if not bool(torch.isfinite(norms).all()) or not bool((norms > 0).any()):
            raise ValueError(
                f"start must be finite with at least one row that is not zero, got norms {norms[:, 0].tolist()}"
            )
        unit = start[norms[:, 0] > 0] / norms[norms[:, 0] > 0]
        self.frontier = self._orthonormalize(unit, 1.0)[0]
        self.coupling = torch.zeros(0, len(self.frontier), dtype=torch.float64)

    def expand(self, matvec: Matvec) -> None:
        """Multiply the frontier, take it into the basis, and find the next one."""
        old, new = self.dim, self.dim + len(self.frontier)
        product = matvec(self.frontier)
        if product.shape != self.frontier.shape:
            raise ValueError(f"matvec must keep the shape {tuple(self.frontier.shape)}, got {tuple(product.shape)}")
        self.vectors[old:new], self.products[old:new] = self.frontier, product
        self.dim, self.num_products = new, self.num_products + new - old
        border = (product @ self.vectors[:new].T).to("cpu", torch.float64)
        if not bool(torch.isfinite(border).all()):
            raise ValueError("matvec gave values that are not finite: check the operator at this point")
        self._project(border, old)
        scale = float(torch.linalg.eigvalsh(self.projected).abs().max())
        self.frontier, factor = self._orthonormalize(product, scale)
        self.coupling = torch.cat([torch.zeros(old, factor.shape[1], dtype=torch.float64), factor])

    def _project(self, border: Tensor, old: int) -> None:
        corner = border[:, old:]
        self.projected = torch.cat(
            [
                torch.cat([self.projected, self.coupling], dim=1),
                torch.cat([self.coupling.T, (corner + corner.T) / 2], dim=1),
            ]
        )
        scale = float(self.projected.norm())
        gap = float((border[:, :old] - self.coupling.T).norm())
        if gap > torch.finfo(self.vectors.dtype).eps ** 0.25 * scale:
            raise ValueError(f"matvec is not symmetric: u'Av and v'Au differ by {gap:.1e} on a scale of {scale:.1e}")

    def _orthonormalize(self, block: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Return rows orthonormal to the basis and each other, and the factor: remainder = factor @ rows."""
        basis = self.vectors[: self.dim]
        for _ in range(2):
            block = block - (block @ basis.T) @ basis
        left, singular, rows = torch.linalg.svd(block, full_matrices=False)
        floor = torch.finfo(block.dtype).eps * scale * block.shape[1] ** 0.5
        keep = (singular > floor).nonzero()[: self.vectors.shape[0] - self.dim, 0]
        rows = rows[keep]
        if len(rows) and self.dim:
            rows = rows - (rows @ basis.T) @ basis
            rows = rows / rows.norm(dim=1, keepdim=True)
        return rows, (left * singular)[:, keep].to("cpu", torch.float64)

    def estimates(self, coordinates: Tensor) -> Tensor:
        """Estimate ‖A y − θ y‖ as ‖C' s‖ for Ritz vectors y = s' V, from the small factors alone."""
        return (self.coupling.T @ coordinates).norm(dim=0)

    def refresh(self) -> None:
        """Open a new chain with a random row orthogonal to the basis."""
        draw = torch.randn(
            1, self.vectors.shape[1], generator=self.generator, device=self.generator.device, dtype=self.vectors.dtype
        )
        draw = draw.to(self.vectors.device)
        self.frontier = self._orthonormalize(draw / draw.norm(), 0.0)[0]
        self.coupling = torch.zeros(self.dim, 1, dtype=torch.float64)

    def restart(self, coordinates: Tensor) -> None:
        """Keep the Ritz vectors with these coordinates; the frontier stays."""
        rotation = coordinates.T.to(self.vectors)
        kept = len(rotation)
        self.vectors[:kept] = rotation @ self.vectors[: self.dim]
        self.products[:kept] = rotation @ self.products[: self.dim]
        self.projected = coordinates.T @ self.projected @ coordinates
        self.coupling = coordinates.T @ self.coupling
        self.dim = kept


def _pairs(space: _Space, theta: Tensor, coordinates: Tensor, bound: float) -> Eigenpairs:
    rotation = coordinates.T.to(space.vectors)
    values = theta.to(space.vectors)
    vectors = rotation @ space.vectors[: space.dim]
    residuals = (rotation @ space.products[: space.dim] - values[:, None] * vectors).norm(dim=1)
    return Eigenpairs(values, vectors, residuals, residuals <= bound, space.num_products)
