"""XTrace: each random vector serves the sketch of the others, and its own residual."""

import torch
from torch import Tensor

from kdlandscape.linalg.trace.estimate import Estimate, Matvec, check, is_small, mean_and_sem, multiply, normals
from kdlandscape.linalg.trace.rows import Rows
from kdlandscape.linalg.trace.sketch import Forms, extend


def xtrace(
    matvec: Matvec,
    like: Tensor,
    max_matvecs: int,
    *,
    generator: torch.Generator,
    rtol: float = 0.0,
    atol: float = 0.0,
    offset: float = 0.0,
    block_size: int = 5,
) -> Estimate:
    """Estimate tr A by XTrace: every random vector serves both the sketch and, left out of it, the residual.

    With Q_i a basis of the span of A ω_j, j ≠ i, and u_i = (I − Q_i Q_i') ω_i,
    t_i = tr Q_i' A Q_i + (n − k + 1) u_i' A u_i / ‖u_i‖²; the estimate is the mean of the k values t_i.  Half of the
    products go to A Ω, half to A Q; each t_i is then free.  As many vectors as products are held, Ω and Q, and five
    blocks more; all else is scalars, added up in float64.  The paper's error s / √k takes the t_i as uncorrelated and
    is up to √2 too small where the spectrum decays; leaving pairs out gives their covariance, which is added.

    Parameters, stopping and errors are those of :func:`hutchinson`; at least 4 products.

    References
    ----------
    Epperly, Tropp and Webber, XTrace, SIAM J. Matrix Anal. 2024, sections 2.1 to 2.3 (with normalization).
    """
    check(like, max_matvecs, 4, block_size)
    n = len(like)
    basis, samples, known = Rows(), Rows(), Forms()
    while True:
        left = (max_matvecs - len(samples) - len(basis)) // 2
        more = min(block_size, left)
        draw = normals(more, like, generator)
        images = multiply(matvec, draw)
        fresh = extend(basis, images)
        basis.append(fresh)
        known.add_directions(multiply(matvec, fresh), fresh, basis, samples)
        samples.append(draw)
        known.add_samples(draw, images, basis)
        spent = len(samples) + len(basis)
        if len(basis) == n:
            exact = known.core.trace().to(like)
            return Estimate(exact, torch.zeros_like(exact), spent, len(samples), True)
        value, sem = (part.to(like) for part in _leave_one_out(known, n))
        reached = len(samples) >= 10 and is_small(sem, value + offset, rtol, atol)
        if len(samples) > 1 and (reached or max_matvecs - spent < 2):
            return Estimate(value, sem, spent, len(samples), reached or bool(sem == 0))


def _leave_one_out(known: Forms, n: int) -> tuple[Tensor, Tensor]:
    """Return the mean of the t_i and its standard error.

    A ω_j = Q' R_j: leaving column i out removes from the span of Q the direction s_i ∝ column i of R^{-T}, so that
    Q_i Q_i' = Q Q' − Q s_i s_i' Q'.  Where the sketch has no full rank, no column is missed: s_i = 0.
    """
    inner, images_in, core = known.inner, known.images_in, known.core
    count, rank = images_in.shape
    missing, full = torch.zeros_like(images_in), rank == count
    if full:
        inverse = torch.linalg.pinv(images_in, rtol=0.0).T
        missing, rank = inverse / inverse.norm(dim=1, keepdim=True), rank - 1
    outside = inner - (missing * inner).sum(dim=1, keepdim=True) * missing
    scale = (n - rank) / (known.squares - outside.square().sum(dim=1))
    ones = core.trace() - (missing @ core * missing).sum(dim=1) + scale * known.energies(outside)
    value, sem = mean_and_sem(ones)
    if full and count > 2:
        squares = torch.stack([known.forms, known.squares])
        sem = (sem**2 + _covariance(ones, missing, inner, images_in, core, squares, n - rank + 1)).sqrt()
    return value, sem


def _covariance(
    ones: Tensor, missing: Tensor, inner: Tensor, images_in: Tensor, core: Tensor, squares: Tensor, codim: int
) -> Tensor:
    """Estimate cov(t_i, t_j), which the deviation of the t_i misses, from pairs left out: var(mean) = s² / k + cov.

    With t_i^j the estimate of sample i that leaves j out too, and d_ij = t_i − t_i^j: given the others, E d_ij = 0 over
    ω_i and E d_ji = 0 over ω_j, so only the interaction of the two survives in E d_ij d_ji, and it is the covariance.
    Pairs are taken at up to 32 cyclic distances; all arithmetic is in the k × k coordinates.
    """
    total, shifts = ones.new_zeros(()), range(1, min(len(ones) - 1, 32) + 1)
    for shift in shifts:
        second = missing.roll(-shift, dims=0)
        second = second - (second * missing).sum(dim=1, keepdim=True) * missing
        second = second / second.norm(dim=1, keepdim=True)
        trace = core.trace() - (missing @ core * missing).sum(dim=1) - (second @ core * second).sum(dim=1)
        both = []
        for turn in (0, shift):  # sample i, and sample j = i + shift, under the same pair left out
            inside = inner.roll(-turn, dims=0)
            kept = inside - (inside * missing).sum(dim=1, keepdim=True) * missing
            kept = kept - (kept * second).sum(dim=1, keepdim=True) * second
            square, norm = squares.roll(-turn, dims=1)
            energy = square - 2 * (kept * images_in.roll(-turn, dims=0)).sum(dim=1) + (kept @ core * kept).sum(dim=1)
            both.append(ones.roll(-turn) - trace - codim * energy / (norm - kept.square().sum(dim=1)))
        total = total + (both[0] * both[1]).mean()
    return (total / len(shifts)).clamp(min=0.0)
