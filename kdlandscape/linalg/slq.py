"""Stochastic Lanczos quadrature: Krylov spaces of many start vectors at once, and the rules that they give."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tridiagonal:
    """One Krylov space for each of b start vectors, V A V' = T.

    Attributes
    ----------
    alpha : Tensor (b, m)
        Diagonals of T; NaN past ``length``.
    beta : Tensor (b, m - 1)
        Off-diagonals of T; NaN past ``length - 1``.
    length : Tensor (b,) of int
        Steps taken by each row before its Krylov space closed.
    basis : Tensor (b, m, n)
        Orthonormal Krylov vectors; zero past ``length``.
    num_matvecs : int
        Products of A with one vector; a row that has stopped takes no more.
    """

    alpha: Tensor
    beta: Tensor
    length: Tensor
    basis: Tensor
    num_matvecs: int


def tridiagonalize(matvec: Callable[[Tensor], Tensor], start: Tensor, num_matvecs: int) -> Tridiagonal:
    """Run min(num_matvecs, n) Lanczos steps from every row of ``start``, in lockstep and fully reorthogonalized.

    Step j of a row: w = A v_j, α_j = v_j' w, β_j v_{j+1} = w orthogonalized against all v_1 … v_j.  A row stops
    where β_j <= eps √n ‖T‖: its space is invariant and T holds every eigenvalue that the start vector sees.

    Parameters
    ----------
    matvec : callable
        The symmetric operator: rows (a, n) to rows (a, n); called once a step with the a <= b rows still running.
    start : Tensor (b, n)
        Start vectors, none zero; their lengths do not matter.
    num_matvecs : int
        Steps m asked for, at least 1; costs at most b · m products and b · m · n numbers.

    Raises
    ------
    ValueError
        A bad start or num_matvecs, or an operator of another shape or not finite.

    References
    ----------
    Golub and Meurant, Matrices, Moments and Quadrature, 2010, chapter 4; Parlett, The Symmetric Eigenvalue Problem,
    section 6.9 (twice is enough).
    """
    _check(start, num_matvecs)
    b, n = start.shape
    m = min(num_matvecs, n)
    basis = start.new_zeros(b, m, n)
    alpha, beta = start.new_full((b, m), torch.nan), start.new_full((b, m), torch.nan)
    length, scale = torch.zeros(b, dtype=torch.long), start.new_zeros(b)
    running, row, taken = torch.arange(b, device=start.device), start / start.norm(dim=1, keepdim=True), 0
    for step in range(m):
        basis[running, step] = row
        product = _multiply(matvec, row)
        taken += len(row)
        diagonal = torch.linalg.vecdot(row, product)  # not finite where the product is not
        if not bool(torch.isfinite(diagonal).all()):
            raise ValueError("matvec must give finite values, got inf or nan: check the operator at this point")
        product = torch.stack(
            [_remainder(w, basis[i, : step + 1]) for i, w in zip(running.tolist(), product, strict=True)]
        )
        norm = product.norm(dim=1)
        previous = beta[running, step - 1] if step else torch.zeros_like(norm)
        scale[running] = torch.maximum(scale[running], diagonal.abs() + previous)
        alpha[running, step], length[running.cpu()] = diagonal, step + 1
        going = norm > torch.finfo(start.dtype).eps * n**0.5 * torch.maximum(scale[running], norm)
        if not bool(going.all()):
            running, product, norm = running[going], product[going], norm[going]
        row = product / norm[:, None]
        beta[running, step] = norm
        if not len(running):
            break
    return Tridiagonal(alpha, beta[:, : m - 1], length, basis, taken)


def quadrature(alpha: Tensor, beta: Tensor, length: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Turn tridiagonal matrices into Gauss quadrature rules of the start vectors' spectral measures.

    T = U diag(nodes) U', weights = (first row of U)²: v' f(A) v / v' v ≈ Σ weights f(nodes), exactly for polynomials f
    up to degree 2 m − 1 (or every f, where the Krylov space closed).  T is decomposed in float64 by eigh; the weights
    of a row sum to 1 to rounding, and no product is taken.

    Parameters
    ----------
    alpha, beta : Tensor (b, m), (b, m - 1)
        Diagonals and off-diagonals.
    length : Tensor (b,) of int, optional
        Order of each matrix; by default the number of leading entries of alpha that are not NaN.

    Returns
    -------
    nodes, weights : Tensor (b, m)
        Ascending nodes and their weights; NaN and exactly 0 past a row's length.

    Raises
    ------
    ValueError
        Shapes that do not fit.

    References
    ----------
    Golub and Welsch, Calculation of Gauss quadrature rules, Math. Comp. 1969; Ubaru, Chen and Saad, Fast estimation of
    tr(f(A)) via stochastic Lanczos quadrature, SIAM J. Matrix Anal. 2017.
    """
    if alpha.ndim != 2 or beta.shape != (alpha.shape[0], alpha.shape[1] - 1):
        raise ValueError(f"expected alpha (b, m) and beta (b, m - 1), got {tuple(alpha.shape)}, {tuple(beta.shape)}")
    length = alpha.isfinite().sum(dim=1) if length is None else length
    nodes, weights = torch.full_like(alpha, torch.nan), torch.zeros_like(alpha)
    for m in length.unique().tolist():
        rows = (length == m).nonzero()[:, 0].to(alpha.device)
        side = beta[rows, : m - 1].double()
        matrix = torch.diag_embed(alpha[rows, :m].double()) + torch.diag_embed(side, 1) + torch.diag_embed(side, -1)
        values, vectors = torch.linalg.eigh(matrix)
        nodes[rows, :m], weights[rows, :m] = values.to(nodes.dtype), vectors[:, 0].square().to(nodes.dtype)
    return nodes, weights


def _remainder(vector: Tensor, known: Tensor) -> Tensor:
    """Orthogonalize against orthonormal rows: a row at a time, on views, four times faster than a batch.

    The last two rows first, which is all that exact arithmetic needs; then against all of them, and once more where
    that shortens the vector.
    """
    vector = _without(vector, known[-2:])
    for _ in range(2):
        before, vector = vector, _without(vector, known)
        if vector.norm() > 0.7 * before.norm():
            break
    return vector


def _without(vector: Tensor, known: Tensor) -> Tensor:
    return torch.addmv(vector, known.T, known @ vector, alpha=-1)


def _check(start: Tensor, num_matvecs: int) -> None:
    if start.ndim != 2 or not start.is_floating_point():
        raise ValueError(f"start must be a floating (b, n) block of rows, got {start.dtype} {tuple(start.shape)}")
    if num_matvecs < 1:
        raise ValueError(f"num_matvecs must be at least 1, got {num_matvecs}")
    norms = start.norm(dim=1)
    if not bool((torch.isfinite(norms) & (norms > 0)).all()):
        raise ValueError(f"every start row must be finite and not zero, got norms {norms.tolist()}")


def _multiply(matvec: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    product = matvec(rows)
    if product.shape != rows.shape:
        raise ValueError(f"matvec must keep the shape {tuple(rows.shape)}, got {tuple(product.shape)}")
    return product
