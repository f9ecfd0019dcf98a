"""Trace and diagonal as plain means over random signs."""

import torch
from torch import Tensor

from kdlandscape.linalg.trace.estimate import Estimate, Matvec, check, is_small, mean_and_sem, multiply, signs
from kdlandscape.linalg.trace.rows import dots


def hutchinson(
    matvec: Matvec,
    like: Tensor,
    max_matvecs: int,
    *,
    generator: torch.Generator,
    rtol: float = 0.0,
    atol: float = 0.0,
    offset: float = 0.0,
    block_size: int = 8,
) -> Estimate:
    """Estimate tr A as the mean of ω' A ω over Rademacher vectors ω.

    The standard error is the deviation of the draws / √m: 1 % takes hundreds to thousands of products.  Four blocks of
    vectors are held.

    Parameters
    ----------
    matvec : callable
        The symmetric operator: rows (b, n) to rows (b, n).
    like : Tensor (n,)
        Gives n, dtype and device; its values are not read.
    max_matvecs : int
        Products to spend, or at most to spend where a tolerance is given.
    generator : torch.Generator
        Draws the random vectors.
    rtol, atol : float
        Stop at a standard error <= max(atol, rtol · |value|), looked at after each block and never on fewer than 10
        draws; 0 spends all products.
    offset : float
        A part of a larger trace that is known: the tolerance is relative to the sum of both.
    block_size : int
        Random vectors a block.

    Raises
    ------
    ValueError
        Too few products for two draws, a bad ``like`` or block size, an operator of another shape or not finite.

    References
    ----------
    Hutchinson, A stochastic estimator of the trace of the influence matrix, Commun. Stat. Simul. Comput. 1990.
    """
    check(like, max_matvecs, 2, block_size)
    forms = torch.zeros(0, dtype=torch.float64)
    while True:
        draw = signs(min(block_size, max_matvecs - len(forms)), like, generator)
        forms = torch.cat([forms, dots(draw, multiply(matvec, draw))])
        value, sem = mean_and_sem(forms)
        if len(forms) > 1:
            reached = len(forms) >= 10 and is_small(sem, value + offset, rtol, atol)
            if reached or len(forms) >= max_matvecs:
                return Estimate(value.to(like), sem.to(like), len(forms), len(forms), reached)


def diagonal(
    matvec: Matvec,
    like: Tensor,
    max_matvecs: int,
    *,
    generator: torch.Generator,
    rtol: float = 0.0,
    atol: float = 0.0,
    block_size: int = 8,
) -> Estimate:
    """Estimate the diagonal of A as the mean of ω ⊙ A ω over Rademacher vectors ω, with the standard error per entry.

    Entry i has the variance Σ_{j≠i} A_ij² / m.  With a tolerance it stops at ‖sem‖ <= max(atol, rtol · ‖value‖).

    Parameters and errors are those of :func:`hutchinson`.

    References
    ----------
    Bekas, Kokiopoulou and Saad, An estimator for the diagonal of a matrix, Appl. Numer. Math. 2007.
    """
    check(like, max_matvecs, 2, block_size)
    count, mean, spread = 0, torch.zeros_like(like), torch.zeros_like(like)
    while True:
        draw = signs(min(block_size, max_matvecs - count), like, generator)
        values = multiply(matvec, draw).mul_(draw)
        new = count + len(draw)
        shift = values.mean(dim=0) - mean  # the spread of two groups merged (Chan, Golub and LeVeque 1983)
        spread += values.var(dim=0, correction=0) * len(draw) + shift**2 * (count * len(draw) / new)
        mean, count = mean + shift * (len(draw) / new), new
        if count > 1:
            sem = (spread / (count * (count - 1))).sqrt()
            reached = count >= 10 and is_small(sem.norm(), mean.norm(), rtol, atol)
            if reached or count >= max_matvecs:
                return Estimate(mean, sem, count, count, reached)
