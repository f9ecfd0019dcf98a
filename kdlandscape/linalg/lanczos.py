"""Extreme eigenpairs of a real symmetric operator from products with blocks of row vectors."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

Matvec = Callable[[Tensor], Tensor]
Which = Literal["largest", "smallest", "both", "magnitude"]


Stop = Literal["residual", "value"]

BASIS_BYTES = 2**32  # what the basis takes at most, unless k pairs need more
SPARE_BYTES = 2**28  # what Ritz vectors beyond the wanted ones take at most once they are found
COLUMNS = 2**20  # of a block that are rotated at a time


class Ritz(NamedTuple):
    """Orthonormal rows Y and the frontier F (f, n) with A Y = diag(values) Y + coupling F; f may be 0.

    ``ends`` are the least and the largest Ritz value that were met.
    """

    values: Tensor
    vectors: Tensor
    coupling: Tensor
    frontier: Tensor
    ends: tuple[float, float]


@dataclass(frozen=True)
class Eigenpairs:
    """Approximate eigenpairs of a symmetric operator, each with its error.

    Attributes
    ----------
    values : Tensor (k,)
        Ritz values θ, in the order asked for.
    vectors : Tensor (k, n)
        Orthonormal Ritz vectors y, one a row.
    residuals : Tensor (k,)
        r = ‖A y − θ y‖, formed from products that were really taken.  Some eigenvalue lies within r of θ.
    errors : Tensor (k,)
        min(r, r² / gap), the error of θ to expect (Kato and Temple), gap being the distance to the next Ritz interval.
    converged : Tensor (k,) of bool
        Within the tolerance asked for.
    num_matvecs : int
        Products of A with one vector.
    miss_probability : float
        Bound on the probability that an eigenvalue beyond the last pair, or a copy of one, was missed: 1 where it was
        not looked for, 0 where the basis fills the space or its complement was exhausted.
    space : Ritz
        What a search for more pairs goes on from: these pairs, and as many more as fit 256 MiB, up to max(k, 8).
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    errors: Tensor
    converged: Tensor
    num_matvecs: int
    miss_probability: float
    space: Ritz


def top_eigenpairs(
    matvec: Matvec,
    start: Tensor,
    k: int,
    *,
    which: Which = "largest",
    tol: float = 1e-6,
    stop: Stop = "residual",
    max_matvecs: int | None = None,
    basis_size: int | None = None,
    miss_probability: float = 1.0,
    generator: torch.Generator | None = None,
    known: Ritz | None = None,
) -> Eigenpairs:
    """Find k extreme eigenpairs by block Lanczos with full reorthogonalization and thick restarts.

    Parameters
    ----------
    matvec : callable
        The symmetric operator: rows (b, n) to rows (b, n).
    start : Tensor (b, n)
        Start block; b = 1 takes the fewest products, from the sum of a nearby operator's eigenvectors fewer still.
    k : int
        Number of pairs, at most n.
    which : str
        ``"largest"`` (descending), ``"smallest"`` (ascending), ``"both"`` ends (⌈k/2⌉ largest and ⌊k/2⌋ smallest,
        descending) or ``"magnitude"`` (descending |θ|).
    tol : float
        A pair counts as converged at r <= max(tol, 8 eps) · max |θ|.
    stop : str
        ``"residual"`` takes r = ‖A y − θ y‖; ``"value"`` takes min(r, r² / gap), enough where only the values matter.
    max_matvecs : int, optional
        Return what there is, flagged, after about this many products (whole blocks); by default 200 + 50 k.
    basis_size : int, optional
        Rows held before a restart.  The memory is one block of (basis_size + b, n) and 6 b + k rows beside it.  By
        default max(64, 3 k + 40), but no more than 4 GiB hold, and at least k + max(k, 8).
    miss_probability : float
        Below 1: a random vector then probes the complement of the pairs until the bound in Notes is this small.
    generator : torch.Generator, optional
        Draws the random vectors of probes; it must not repeat the draw of ``start``.  By default a fixed one.
    known : Ritz, optional
        The space of pairs of the same operator: the search goes on from it, and ``start`` only gives n and dtype.

    Returns
    -------
    Eigenpairs
        With the residuals of the Lanczos relation A V = V H + C F, which holds to rounding.  After a probe, which cuts
        couplings off, they are formed from k more products.

    Raises
    ------
    ValueError
        k > n, a bad start or option, an operator of another shape, not finite, or not symmetric.

    Notes
    -----
    A Krylov space of b rows holds at most b copies of a multiple eigenvalue: without a probe, multiplicities up to b
    are sure (more may turn up by rounding).  A probe runs j Lanczos steps in the complement of the found
    pairs from a random vector and sees the extreme value ρ.  If the complement had an eigenvalue at or beyond the last
    pair's θ, this would happen with probability at most 1.648 √n exp(−√ε (2j − 1)), ε = (θ − ρ) / (θ − λ_other end).
    It typically costs 8 to 15 products.  After a breakdown (closed Krylov space) a probe to 1e-3 always runs; there it
    ends with the next closed chain that leaves the wanted values as they were.

    References
    ----------
    Wu and Simon, Thick-restart Lanczos, SIAM J. Matrix Anal. 2000.  Kuczyński and Woźniakowski, Estimating the
    largest eigenvalue by the power and Lanczos algorithms, SIAM J. Matrix Anal. 1992, Theorem 4.2 (probability).
    """
    _check(start, k, which, stop)
    n = start.shape[1]
    if basis_size is None:
        fits = BASIS_BYTES // (n * start.element_size())
        basis_size = max(min(max(64, 3 * k + 40), fits), k + max(k, 8))
    size = min(n, max(basis_size, k + 2 * len(start)))
    limit = 200 + 50 * k if max_matvecs is None else max_matvecs
    space = _Space(start, size, generator, known)
    goal = _Goal(k, which, max(tol, 8 * torch.finfo(start.dtype).eps), stop, miss_probability)
    while True:
        space.expand(matvec)
        goal.look(space)
        if goal.reached or space.num_matvecs >= limit:
            return goal.pairs(space, matvec)
        if goal.wants_probe:
            space.probe(space.coordinates[:, goal.wanted] if len(space.frontier) else None)
            goal.before = space.theta[goal.wanted]
        if space.dim + len(space.frontier) > size:
            kept = k + max((size - k) // 2 - len(space.frontier), 0)
            space.restart(space.coordinates[:, _select(space.theta, kept, which)])


def _check(start: Tensor, k: int, which: str, stop: str) -> None:
    if start.ndim != 2 or not start.is_floating_point():
        raise ValueError(f"start must be a floating (b, n) block of rows, got {start.dtype} {tuple(start.shape)}")
    if not 1 <= k <= start.shape[1]:
        raise ValueError(f"expected 1 <= k <= n = {start.shape[1]}, got k = {k}: ask for at most n eigenpairs")
    for name, got, known in (("which", which, get_args(Which)), ("stop", stop, get_args(Stop))):
        if got not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {got!r}")


def _select(theta: Tensor, k: int, which: str) -> Tensor:
    """Give the indices of the (at most) k wanted values among ascending ones."""
    ascending, k = torch.arange(len(theta)), min(k, len(theta))
    if which == "smallest":
        return ascending[:k]
    if which == "magnitude":
        return theta.abs().argsort(descending=True)[:k]
    low = k // 2 if which == "both" else 0
    return torch.cat([ascending[len(theta) - (k - low) :].flip(0), ascending[:low].flip(0)])


def _errors(theta: Tensor, residuals: Tensor) -> Tensor:
    """Bound |λ − θ| by min(r, r² / gap), gap to the nearest other interval θ ± r (r itself where they overlap)."""
    distance = (theta[:, None] - theta).abs() - residuals
    gap = distance.fill_diagonal_(torch.inf).min(dim=1).values
    return torch.where(gap > residuals, residuals * (residuals / gap), residuals)


class _Space:
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


class _Goal:
    """What is wanted of a space, how far it is, and whether a probe has shown that nothing was missed."""

    def __init__(self, k: int, which: str, tolerance: float, stop: str, target: float) -> None:
        self.k, self.which, self.tolerance, self.stop, self.target = k, which, tolerance, stop, target
        self.before = torch.zeros(0, dtype=torch.float64)  # the wanted values when the probe began
        self.missed, self.reached, self.wants_probe = 1.0, False, False

    def look(self, space: _Space) -> None:
        """Look at the Ritz values of the space and decide what comes next."""
        self.wanted = _select(space.theta, self.k, self.which)
        values, bound = space.theta[self.wanted], self.tolerance * space.scale
        residuals = (space.coupling.T @ space.coordinates).norm(dim=0)
        errors = (residuals if self.stop == "residual" else _errors(space.theta, residuals))[self.wanted]
        done, closed = len(values) == self.k and bool((errors <= bound).all()), not len(space.frontier)
        if space.dim == space.vectors.shape[1]:
            self.reached, self.missed = True, 0.0
            return
        if float(space.coupling.norm()) <= bound:  # the space is invariant: what lies outside it was never seen
            self.target = min(self.target, 1e-3)
        same, tied = (
            done and len(self.before) == self.k and bool(((values - self.before).abs() <= 2 * bound).all()),
            False,
        )
        if same:
            self.missed, tied = (0.0, False) if closed else self._miss(space, bound)
        self.reached = done and (self.missed <= self.target or tied)
        self.wants_probe = not self.reached and (closed or (done and not same))

    def _miss(self, space: _Space, bound: float) -> tuple[float, bool]:
        """Bound the probability of a miss; also say that the probe can bring no more (a tie, or a chain cut short)."""
        if space.chain is None:
            return 1.0, True
        chain = torch.linalg.eigvalsh(space.projected[space.chain :, space.chain :])
        values, split = space.theta[self.wanted], self.k - self.k // 2
        highs = {"both": values[:split], "largest": values, "magnitude": values.abs(), "smallest": values[:0]}[
            self.which
        ]
        lows = {"both": values[split:], "smallest": values, "magnitude": -values.abs(), "largest": values[:0]}[
            self.which
        ]
        gaps = [(float(highs.min() - chain[-1]), float(highs.min()) - space.low)] if len(highs) else []
        gaps += [(float(chain[0] - lows.max()), space.high - float(lows.max()))] if len(lows) else []
        epsilon = min(max(gap, 0.0) / max(reach, bound, 1e-300) for gap, reach in gaps)
        probability = 1.648 * (space.vectors.shape[1] * math.exp(-2 * epsilon**0.5 * (2 * len(chain) - 1))) ** 0.5
        return min(probability, 1.0), min(gap for gap, _ in gaps) <= bound

    def pairs(self, space: _Space, matvec: Matvec) -> Eigenpairs:
        """Form the Ritz vectors, in the place of the basis, and their residuals."""
        spare = min(space.dim - self.k, max(self.k, 8), SPARE_BYTES // space.vectors[0].nbytes)
        kept = _select(space.theta, len(self.wanted) + max(spare, 0), self.which)
        kept = torch.cat([self.wanted, kept[~torch.isin(kept, self.wanted)]])
        every = (space.coupling.T @ space.coordinates).norm(dim=0)
        values, coupling = space.theta[kept], space.coordinates[:, kept].T @ space.coupling
        space.rotate(space.coordinates[:, kept])
        rows, count = space.vectors[: len(kept)].clone(), len(self.wanted)
        if space.dropped:
            products = matvec(rows[:count])
            space.num_matvecs += count
            residuals = (products - values[:count].to(rows)[:, None] * rows[:count]).norm(dim=1)
            every[self.wanted] = residuals.to(every)
            coupling, space.frontier = coupling[:, :0], space.frontier[:0]
        residuals, errors = every[self.wanted], _errors(space.theta, every)[self.wanted]
        converged = (residuals if self.stop == "residual" else errors) <= self.tolerance * space.scale
        return Eigenpairs(
            values[:count].to(rows),
            rows[:count],
            residuals.to(rows),
            errors.to(rows),
            converged.to(rows.device),
            space.num_matvecs,
            self.missed,
            Ritz(values, rows, coupling, space.frontier, (space.low, space.high)),
        )
