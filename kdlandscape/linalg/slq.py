"""Stochastic Lanczos quadrature: nodes and weights, densities and spectral means, each with its standard error."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mean:
    """A mean over draws and its standard error.

    Attributes
    ----------
    value : Tensor (...)
        Mean over the draws.
    sem : Tensor (...)
        Standard deviation over the draws / √b; NaN for a single draw, whose error is unknown.
    draws : Tensor (b, ...)
        The draws themselves.
    """

    value: Tensor
    sem: Tensor
    draws: Tensor


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


def density_grid(
    nodes: Tensor, *, width: float = 0.01, margin: float = 6.0, num_points: int | None = None
) -> tuple[Tensor, float]:
    """Choose a grid that covers all nodes ± margin · sigma, and the kernel's standard deviation sigma.

    sigma = width · (range of the nodes); of their largest magnitude where the range is below 1e-6 of it; of 1 where all
    are zero.  So the density of c A is that of A, stretched by c.

    Parameters
    ----------
    nodes : Tensor (b, m)
        From :func:`quadrature`; NaN is skipped.
    width, margin : float
        Kernel width relative to the range, and how many of them the grid goes beyond it.
    num_points : int, optional
        By default two a sigma, which makes the trapezoid rule exact to rounding.

    Returns
    -------
    grid : Tensor (G,)
    sigma : float

    Raises
    ------
    ValueError
        A width that is not positive, or no finite node.
    """
    known = nodes[nodes.isfinite()]
    if not width > 0 or not len(known):
        raise ValueError(f"expected a positive width and finite nodes, got width {width} and {len(known)} nodes")
    low, high = float(known.min()), float(known.max())
    reach = max(abs(low), abs(high))
    sigma = width * (high - low if high - low > 1e-6 * reach else reach or 1.0)
    low, high = low - margin * sigma, high + margin * sigma
    count = num_points or math.ceil(2 * (high - low) / sigma) + 1
    return torch.linspace(low, high, count, dtype=nodes.dtype, device=nodes.device), sigma


def gaussian_density(nodes: Tensor, weights: Tensor, grid: Tensor, sigma: float) -> Mean:
    """Broaden the quadrature rules to densities: ρ(x) = Σ weights N(x; nodes, sigma²), averaged over draws.

    Nothing is renormalized: ρ integrates to 1 where the grid covers the nodes ± 5 to 6 sigma, and to less elsewhere.

    Parameters
    ----------
    nodes, weights : Tensor (b, m)
        From :func:`quadrature`.
    grid : Tensor (G,)
        Where to evaluate; :func:`density_grid` chooses.
    sigma : float
        Standard deviation of the kernel, positive.

    Returns
    -------
    Mean
        Over (G,); draws (b, G).

    Raises
    ------
    ValueError
        sigma that is not positive.
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    draws = torch.stack([_broaden(n, w, grid, sigma) for n, w in zip(nodes, weights, strict=True)])
    return _mean(draws)


def _broaden(nodes: Tensor, weights: Tensor, grid: Tensor, sigma: float) -> Tensor:
    known = weights > 0
    distance = (grid[:, None] - nodes[known]) / sigma
    return torch.exp(-(distance**2) / 2) @ weights[known] / (sigma * math.sqrt(2 * math.pi))


def spectral_function(nodes: Tensor, weights: Tensor, function: Callable[[Tensor], Tensor]) -> Mean:
    """Estimate tr f(A) / n as the mean over draws of Σ weights f(nodes), with its standard error.

    Parameters
    ----------
    nodes, weights : Tensor (b, m)
        From :func:`quadrature` of Rademacher or Gaussian start vectors.
    function : callable
        f, elementwise.

    Returns
    -------
    Mean
        A scalar; draws (b,).
    """
    values = torch.where(weights > 0, function(torch.where(weights > 0, nodes, 0)), 0)
    return _mean((weights * values).sum(dim=1))


def moments(nodes: Tensor, weights: Tensor, num_moments: int) -> Mean:
    """Estimate tr A^p / n for p = 0 … num_moments − 1; a rule of m nodes is exact for a draw up to p = 2 m − 1.

    Parameters
    ----------
    nodes, weights : Tensor (b, m)
        From :func:`quadrature`.
    num_moments : int
        How many.

    Returns
    -------
    Mean
        Over (num_moments,); draws (b, num_moments).
    """
    known = torch.where(weights > 0, nodes, 0)
    return _mean(torch.stack([(weights * known**p).sum(dim=1) for p in range(num_moments)], dim=1))


def _mean(draws: Tensor) -> Mean:
    count = len(draws)
    spread = draws.std(dim=0) if count > 1 else torch.full_like(draws[0], torch.nan)
    return Mean(draws.mean(dim=0), spread / count**0.5, draws)
