"""Block Lanczos with full reorthogonalization and thick restarts."""

from typing import get_args

import torch
from torch import Tensor

from kdlandscape.linalg.lanczos.goal import Goal
from kdlandscape.linalg.lanczos.ritz import Eigenpairs, Ritz, Stop, Which, select
from kdlandscape.linalg.lanczos.space import Matvec, Space

BASIS_BYTES = 2**32  # what the basis takes at most, unless k pairs need more


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
    space = Space(start, size, generator, known)
    goal = Goal(k, which, max(tol, 8 * torch.finfo(start.dtype).eps), stop, miss_probability)
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
            space.restart(space.coordinates[:, select(space.theta, kept, which)])


def _check(start: Tensor, k: int, which: str, stop: str) -> None:
    if start.ndim != 2 or not start.is_floating_point():
        raise ValueError(f"start must be a floating (b, n) block of rows, got {start.dtype} {tuple(start.shape)}")
    if not 1 <= k <= start.shape[1]:
        raise ValueError(f"expected 1 <= k <= n = {start.shape[1]}, got k = {k}: ask for at most n eigenpairs")
    for name, got, known in (("which", which, get_args(Which)), ("stop", stop, get_args(Stop))):
        if got not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {got!r}")
