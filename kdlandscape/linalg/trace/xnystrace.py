"""XNysTrace: the same with a Nyström approximation, for operators without negative eigenvalues."""

import torch
from torch import Tensor

from kdlandscape.linalg.trace.estimate import Estimate, Matvec, check, is_small, mean_and_sem, multiply, normals
from kdlandscape.linalg.trace.rows import Rows, columns


def xnystrace(
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
    """Estimate tr A of a positive semidefinite A by XNysTrace: one product a random vector, where XTrace takes two.

    With Y = A Ω and the Nyström approximation Â_i = Y_i (Ω_i' Y_i)⁻¹ Y_i' of all columns but i,
    t_i = tr Â_i + (n − k + 1) ω_i' (A − Â_i) ω_i / ‖(I − P_i) ω_i‖², P_i onto the span of Ω_i; the estimate is the mean
    of the k values t_i, all of them from one k × k inverse.  The standard error counts their covariance, from pairs
    left out, as for :func:`xtrace`.  Two vectors a product are held.  An indefinite A is
    estimated without bias, but with a larger error than by XTrace.

    Parameters, stopping and errors are those of :func:`hutchinson`; at least 3 products.  A + ν I is approximated
    and ν n taken off, ν being at rounding level, so that a rank-deficient A has an inverse.

    Raises
    ------
    ValueError
        Ω' A Ω has a negative eigenvalue beyond rounding, and all errors of :func:`hutchinson`.

    References
    ----------
    Epperly, Tropp and Webber, XTrace, SIAM J. Matrix Anal. 2024, section 2.3 (with normalization).
    """
    check(like, max_matvecs, 3, block_size)
    n = len(like)
    omegas, images = Rows(), Rows()
    while True:
        left = min(max_matvecs, n) - len(omegas)
        more = min(block_size, left)
        draw = normals(more, like, generator)
        omegas.append(draw)
        images.append(multiply(matvec, draw))
        count = len(omegas)
        if count == n:
            exact = torch.linalg.solve(*(torch.cat(rows.blocks).double() for rows in (omegas, images))).trace().to(like)
            return Estimate(exact, torch.zeros_like(exact), count, count, True)
        if count < 3:
            continue
        value, sem = (part.to(like) for part in _leave_one_out_of_nystrom(omegas, images, n))
        reached = count >= 10 and is_small(sem, value + offset, rtol, atol)
        if reached or count >= max_matvecs:
            return Estimate(value, sem, count, count, reached or bool(sem == 0))


def _leave_one_out_of_nystrom(omegas: Rows, images: Rows, n: int) -> tuple[Tensor, Tensor]:
    """Return the mean of the t_i and its standard error.

    With H = Ω' Y and G = Ω' Ω, leaving column i out takes Y H⁻¹ e_i e_i' H⁻¹ Y' / (H⁻¹)_ii from Y H⁻¹ Y', the residual
    form is the Schur complement 1 / (H⁻¹)_ii, and ‖(I − P_i) ω_i‖² = 1 / (G⁻¹)_ii; leaving a pair out likewise takes
    the inverse of a 2 × 2 block.
    """
    count = len(omegas)
    shift, factor, gram = _shifted_factor(omegas, images, n)
    spread = torch.zeros_like(gram)
    for omega, image in columns(omegas, images):
        part = torch.linalg.solve_triangular(factor, image + shift * omega, upper=False)
        spread += part @ part.T
    root = torch.linalg.solve_triangular(factor, torch.eye(count).to(factor), upper=False)
    h, m, g = root.T @ root, root.T @ spread @ root, torch.cholesky_inverse(torch.linalg.cholesky(gram))
    total, (a, d, e) = spread.trace() - n * shift, (x.diagonal() for x in (h, m, g))
    ones = total - d / a + (n - count + 1) * e / a
    value, sem = mean_and_sem(ones)
    determinant = (a[:, None] * a - h.square()).fill_diagonal_(1.0)  # a pair has two members
    other = (e[:, None] * e - g.square()).fill_diagonal_(1.0)
    removed = (a * d[:, None] - 2 * h * m + a[:, None] * d) / determinant
    pairs = total - removed + (n - count + 2) * (a / determinant) / (e / other)
    change = (ones[:, None] - pairs).fill_diagonal_(0.0)
    covariance = (change * change.T).sum() / (count * (count - 1))
    return value, (sem**2 + covariance.clamp(min=0.0)).sqrt()


def _shifted_factor(omegas: Rows, images: Rows, n: int) -> tuple[float, Tensor, Tensor]:
    """Return ν, the lower Cholesky factor of Ω' (A + ν I) Ω in float64, and Ω' Ω."""
    gram = core = torch.zeros((), dtype=torch.float64)
    square = 0.0
    for omega, image in columns(omegas, images):
        gram, core = gram + omega @ omega.T, core + omega @ image.T
        square += float(image.square().sum())
    core = (core + core.T) / 2
    shift = torch.finfo(images.blocks[0].dtype).eps * (square / n) ** 0.5
    shift = max(shift, torch.finfo(torch.float64).tiny ** 0.5)
    for _ in range(4):
        factor, failed = torch.linalg.cholesky_ex(core + shift * gram)
        if not failed:
            return shift, factor, gram
        shift *= 10
    raise ValueError("matvec must be positive semidefinite, got negative eigenvalues: use xtrace")
