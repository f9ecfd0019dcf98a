"""Trace and diagonal of an operator from products with random vectors, with honest errors and stopping on them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Matvec = Callable[[Tensor], Tensor]
COLUMNS = 2**18  # of a block that are taken to float64 at a time


@dataclass(frozen=True)
class Estimate:
    """An estimate with its standard error.

    Attributes
    ----------
    value, sem : Tensor
        Estimate and standard error: a scalar for a trace, (n,) for a diagonal; sem is 0 where the space was spanned.
    num_matvecs, num_draws : int
        Products of A with one vector; random vectors that the error rests on.
    converged : bool
        The standard error asked for was reached, or is 0.
    """

    value: Tensor
    sem: Tensor
    num_matvecs: int
    num_draws: int
    converged: bool


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
    _check(like, max_matvecs, 2, block_size)
    forms = torch.zeros(0, dtype=torch.float64)
    while True:
        draw = _signs(min(block_size, max_matvecs - len(forms)), like, generator)
        forms = torch.cat([forms, _dots(draw, _multiply(matvec, draw))])
        value, sem = _mean(forms)
        if len(forms) > 1:
            reached = len(forms) >= 10 and _small(sem, value + offset, rtol, atol)
            if reached or len(forms) >= max_matvecs:
                return Estimate(value.to(like), sem.to(like), len(forms), len(forms), reached)


def hutchpp(
    matvec: Matvec,
    like: Tensor,
    max_matvecs: int,
    *,
    generator: torch.Generator,
    rtol: float = 0.0,
    atol: float = 0.0,
    offset: float = 0.0,
    block_size: int = 4,
) -> Estimate:
    """Estimate tr A by Hutch++: exactly on a sketched range Q of A, by Hutchinson on its complement.

    tr A ≈ tr Q' A Q + mean of ω' (I − Q Q') A (I − Q Q') ω, with a third of the products each for A S (Q spans it), A Q
    and A ω.  S is independent of the ω, so the standard error of the second part is that of the estimate.  Blocks
    of all three are added, until a tolerance is met; the old ω are projected anew at no product.  Two thirds as many
    vectors as products are held, Q and the ω, and five blocks more; all else is scalars, added up in float64.

    Parameters, stopping and errors are those of :func:`hutchinson`; at least 6 products.

    References
    ----------
    Meyer, Musco, Musco and Woodruff, Hutch++: optimal stochastic trace estimation, SOSA 2021, algorithm 1.
    """
    _check(like, max_matvecs, 6, block_size)
    basis, samples, known, sketched = _Rows(), _Rows(), _Forms(), 0
    while True:
        left = (max_matvecs - sketched - len(basis) - len(samples)) // 3
        more = min(block_size, left)
        fresh = _extend(basis, _multiply(matvec, _signs(more, like, generator)))
        basis.append(fresh)
        known.add_directions(_multiply(matvec, fresh), fresh, basis, samples)
        sketched += more
        draw = _signs(more, like, generator)
        samples.append(draw)
        known.add_samples(draw, _multiply(matvec, draw), basis)
        spent = sketched + len(basis) + len(samples)
        if len(basis) == len(like):
            exact = known.core.trace().to(like)
            return Estimate(exact, torch.zeros_like(exact), spent, len(samples), True)
        value, sem = _mean(known.core.trace() + known.energies(known.inner))
        reached = len(samples) >= 10 and _small(sem, value + offset, rtol, atol)
        if reached or max_matvecs - spent < 3:
            return Estimate(value.to(like), sem.to(like), spent, len(samples), reached or bool(sem == 0))


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
    _check(like, max_matvecs, 4, block_size)
    n = len(like)
    basis, samples, known = _Rows(), _Rows(), _Forms()
    while True:
        left = (max_matvecs - len(samples) - len(basis)) // 2
        more = min(block_size, left)
        draw = torch.randn(more, n, generator=generator, device=generator.device, dtype=like.dtype).to(like.device)
        images = _multiply(matvec, draw)
        fresh = _extend(basis, images)
        basis.append(fresh)
        known.add_directions(_multiply(matvec, fresh), fresh, basis, samples)
        samples.append(draw)
        known.add_samples(draw, images, basis)
        spent = len(samples) + len(basis)
        if len(basis) == n:
            exact = known.core.trace().to(like)
            return Estimate(exact, torch.zeros_like(exact), spent, len(samples), True)
        value, sem = (part.to(like) for part in _leave_one_out(known, n))
        reached = len(samples) >= 10 and _small(sem, value + offset, rtol, atol)
        if len(samples) > 1 and (reached or max_matvecs - spent < 2):
            return Estimate(value, sem, spent, len(samples), reached or bool(sem == 0))


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
    _check(like, max_matvecs, 3, block_size)
    n = len(like)
    omegas, images = _Rows(), _Rows()
    while True:
        left = min(max_matvecs, n) - len(omegas)
        more = min(block_size, left)
        draw = torch.randn(more, n, generator=generator, device=generator.device, dtype=like.dtype).to(like.device)
        omegas.append(draw)
        images.append(_multiply(matvec, draw))
        count = len(omegas)
        if count == n:
            exact = torch.linalg.solve(*(torch.cat(rows.blocks).double() for rows in (omegas, images))).trace().to(like)
            return Estimate(exact, torch.zeros_like(exact), count, count, True)
        if count < 3:
            continue
        value, sem = (part.to(like) for part in _leave_one_out_of_nystrom(omegas, images, n))
        reached = count >= 10 and _small(sem, value + offset, rtol, atol)
        if reached or count >= max_matvecs:
            return Estimate(value, sem, count, count, reached or bool(sem == 0))


def _leave_one_out_of_nystrom(omegas: "_Rows", images: "_Rows", n: int) -> tuple[Tensor, Tensor]:
    """Return the mean of the t_i and its standard error.

    With H = Ω' Y and G = Ω' Ω, leaving column i out takes Y H⁻¹ e_i e_i' H⁻¹ Y' / (H⁻¹)_ii from Y H⁻¹ Y', the residual
    form is the Schur complement 1 / (H⁻¹)_ii, and ‖(I − P_i) ω_i‖² = 1 / (G⁻¹)_ii; leaving a pair out likewise takes
    the inverse of a 2 × 2 block.
    """
    count = len(omegas)
    shift, factor, gram = _shifted_factor(omegas, images, n)
    spread = torch.zeros_like(gram)
    for omega, image in _columns(omegas, images):
        part = torch.linalg.solve_triangular(factor, image + shift * omega, upper=False)
        spread += part @ part.T
    root = torch.linalg.solve_triangular(factor, torch.eye(count).to(factor), upper=False)
    h, m, g = root.T @ root, root.T @ spread @ root, torch.cholesky_inverse(torch.linalg.cholesky(gram))
    total, (a, d, e) = spread.trace() - n * shift, (x.diagonal() for x in (h, m, g))
    ones = total - d / a + (n - count + 1) * e / a
    value, sem = _mean(ones)
    determinant = (a[:, None] * a - h.square()).fill_diagonal_(1.0)  # a pair has two members
    other = (e[:, None] * e - g.square()).fill_diagonal_(1.0)
    removed = (a * d[:, None] - 2 * h * m + a[:, None] * d) / determinant
    pairs = total - removed + (n - count + 2) * (a / determinant) / (e / other)
    change = (ones[:, None] - pairs).fill_diagonal_(0.0)
    covariance = (change * change.T).sum() / (count * (count - 1))
    return value, (sem**2 + covariance.clamp(min=0.0)).sqrt()


def _shifted_factor(omegas: "_Rows", images: "_Rows", n: int) -> tuple[float, Tensor, Tensor]:
    """Return ν, the lower Cholesky factor of Ω' (A + ν I) Ω in float64, and Ω' Ω."""
    gram = core = torch.zeros((), dtype=torch.float64)
    square = 0.0
    for omega, image in _columns(omegas, images):
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


def _leave_one_out(known: "_Forms", n: int) -> tuple[Tensor, Tensor]:
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
    value, sem = _mean(ones)
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
    _check(like, max_matvecs, 2, block_size)
    count, mean, spread = 0, torch.zeros_like(like), torch.zeros_like(like)
    while True:
        draw = _signs(min(block_size, max_matvecs - count), like, generator)
        values = _multiply(matvec, draw).mul_(draw)
        new = count + len(draw)
        shift = values.mean(dim=0) - mean  # the spread of two groups merged (Chan, Golub and LeVeque 1983)
        spread += values.var(dim=0, correction=0) * len(draw) + shift**2 * (count * len(draw) / new)
        mean, count = mean + shift * (len(draw) / new), new
        if count > 1:
            sem = (spread / (count * (count - 1))).sqrt()
            reached = count >= 10 and _small(sem.norm(), mean.norm(), rtol, atol)
            if reached or count >= max_matvecs:
                return Estimate(mean, sem, count, count, reached)


def _check(like: Tensor, max_matvecs: int, least: int, block_size: int) -> None:
    if like.ndim != 1 or not like.is_floating_point() or not len(like):
        raise ValueError(f"like must be a floating vector (n,), got {like.dtype} {tuple(like.shape)}")
    if max_matvecs < least or block_size < 1:
        raise ValueError(f"expected max_matvecs >= {least} and block_size >= 1, got {max_matvecs} and {block_size}")


class _Rows:
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
        return torch.cat([torch.zeros(len(rows), 0, dtype=torch.float64), *(_inner(rows, b) for b in self.blocks)], 1)


class _Forms:
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

    def add_directions(self, images: Tensor, fresh: Tensor, basis: _Rows, samples: _Rows) -> None:
        """Take in the products of new rows of Q, which the basis already holds."""
        border = basis.against(images)
        old = border.shape[1] - len(fresh)
        corner = (border[:, old:] + border[:, old:].T) / 2
        upper = torch.cat([self.core, border[:, :old].T], dim=1)
        self.core = torch.cat([upper, torch.cat([border[:, :old], corner], dim=1)])
        self.inner = torch.cat([self.inner, samples.against(fresh).T], dim=1)
        self.images_in = torch.cat([self.images_in, samples.against(images).T], dim=1)  # q' A ω = (A q)' ω

    def add_samples(self, draw: Tensor, images: Tensor, basis: _Rows) -> None:
        """Take in new random vectors and their products."""
        self.inner = torch.cat([self.inner, basis.against(draw)])
        self.images_in = torch.cat([self.images_in, basis.against(images)])
        self.forms = torch.cat([self.forms, _dots(draw, images)])
        self.squares = torch.cat([self.squares, _dots(draw, draw)])

    def energies(self, inside: Tensor) -> Tensor:
        """Return u' A u (k,) of u = ω less its part in Q with the coordinates ``inside`` (k, r)."""
        quadratic = (inside @ self.core * inside).sum(dim=1)
        return self.forms - 2 * (inside * self.images_in).sum(dim=1) + quadratic


def _columns(*stacks: _Rows) -> Iterator[tuple[Tensor, ...]]:
    """Yield a part of the columns of all rows at a time, in float64."""
    n = stacks[0].blocks[0].shape[1]
    for start in range(0, n, COLUMNS):
        yield tuple(torch.cat([b[:, start : start + COLUMNS].double() for b in rows.blocks]).cpu() for rows in stacks)


def _inner(rows: Tensor, others: Tensor) -> Tensor:
    """Return rows @ others.T, added up in float64."""
    total = torch.zeros(len(rows), len(others), dtype=torch.float64)
    for a, b in zip(rows.split(COLUMNS, dim=1), others.split(COLUMNS, dim=1), strict=True):
        total += (a.double() @ b.double().T).cpu()
    return total


def _dots(rows: Tensor, others: Tensor) -> Tensor:
    """Return the inner product of each row with its own partner (b,), added up in float64."""
    total = torch.zeros(len(rows), dtype=torch.float64)
    for a, b in zip(rows.split(COLUMNS, dim=1), others.split(COLUMNS, dim=1), strict=True):
        total += (a.double() * b.double()).sum(dim=1).cpu()
    return total


def _signs(count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    bits = torch.randint(0, 2, (count, len(like)), generator=generator, device=generator.device, dtype=torch.int8)
    return (2 * bits - 1).to(like)


def _multiply(matvec: Matvec, rows: Tensor) -> Tensor:
    product = matvec(rows) if len(rows) else rows
    if product.shape != rows.shape:
        raise ValueError(f"matvec must keep the shape {tuple(rows.shape)}, got {tuple(product.shape)}")
    if not all(bool(row.isfinite().all()) for row in product):  # a row at a time: the test takes a copy
        raise ValueError("matvec must give finite values, got inf or nan: check the operator at this point")
    return product


def _extend(basis: _Rows, rows: Tensor) -> Tensor:
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


def _project_out(basis: _Rows, rows: Tensor) -> None:
    for block in basis.blocks:
        rows.addmm_(rows @ block.T, block, alpha=-1)


def _mean(values: Tensor) -> tuple[Tensor, Tensor]:
    count = len(values)
    spread = values.std() if count > 1 else values.new_full((), torch.nan)
    return values.mean(), spread / count**0.5


def _small(sem: Tensor, value: Tensor, rtol: float, atol: float) -> bool:
    return (rtol > 0 or atol > 0) and bool(sem <= max(atol, rtol * float(value.abs())))
