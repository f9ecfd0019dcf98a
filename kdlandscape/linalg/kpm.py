"""The kernel polynomial method: densities from Chebyshev moments damped by Jackson's kernel."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ChebyshevMoments:
    """Chebyshev moments v' T_p(Â) v of b unit vectors, Â = A mapped from ``bounds`` to [−1, 1].

    Attributes
    ----------
    values : Tensor (b, M)
        Moments p = 0 … M − 1; the first is 1.
    bounds : tuple of float
        The interval that was mapped.
    num_matvecs : int
        Products of A with one vector.
    """

    values: Tensor
    bounds: tuple[float, float]
    num_matvecs: int


@dataclass(frozen=True)
class Density:
    """A density on a grid: its mean over draws and the standard error (NaN for one draw).

    Attributes
    ----------
    value, sem : Tensor (G,)
        Mean and standard error.
    draws : Tensor (b, G)
        One density a draw.
    """

    value: Tensor
    sem: Tensor
    draws: Tensor


def chebyshev_moments(
    matvec: Callable[[Tensor], Tensor], start: Tensor, num_moments: int, bounds: tuple[float, float]
) -> ChebyshevMoments:
    """Take Chebyshev moments of the spectral measures of the start rows, two for each product.

    t_0 = v, t_1 = Â v, t_{j+1} = 2 Â t_j − t_{j−1}; μ_{2j} = 2 t_j' t_j − μ_0 and μ_{2j+1} = 2 t_{j+1}' t_j − μ_1.
    Costs ⌈(num_moments − 1) / 2⌉ products a row, and holds three blocks whatever the order.

    Parameters
    ----------
    matvec : callable
        The symmetric operator: rows (b, n) to rows (b, n).
    start : Tensor (b, n)
        Start rows, none zero; their lengths do not matter.
    num_moments : int
        At least 2.
    bounds : tuple of float
        An interval that holds the whole spectrum: Lanczos extremes widened by their errors.

    Raises
    ------
    ValueError
        A bad start, num_moments or interval; an interval that the spectrum leaves (then a moment exceeds 1).

    References
    ----------
    Weisse, Wellein, Alvermann and Fehske, The kernel polynomial method, Rev. Mod. Phys. 2006, section II.
    """
    low, high = bounds
    if not low < high or num_moments < 2:
        raise ValueError(f"expected low < high and num_moments >= 2, got bounds {bounds} and {num_moments}")
    if start.ndim != 2 or not bool((start.norm(dim=1) > 0).all()):
        raise ValueError(f"start must be a (b, n) block of rows that are not zero, got {tuple(start.shape)}")
    center, half = (high + low) / 2, (high - low) / 2
    before = start / start.norm(dim=1, keepdim=True)
    now = (matvec(before) - center * before) / half
    found, products = [(before * before).sum(dim=1), (before * now).sum(dim=1)], 1
    while len(found) < num_moments:
        found.append(2 * (now * now).sum(dim=1) - found[0])
        if len(found) < num_moments:
            before, now = now, 2 * (matvec(now) - center * now) / half - before
            products += 1
            found.append(2 * (now * before).sum(dim=1) - found[1])
    values = torch.stack(found, dim=1)
    largest = float(values.abs().max())
    if not largest <= 1 + 1e3 * num_moments**2 * torch.finfo(start.dtype).eps:
        raise ValueError(f"the spectrum must lie in the bounds {bounds}, got a moment of {largest:.3g} > 1: widen them")
    return ChebyshevMoments(values, bounds, products * len(start))


def jackson(num_moments: int) -> Tensor:
    """Give Jackson's damping factors (num_moments,), float64: the density stays positive, of width about π / M.

    g_p = [(M − p + 1) cos(π p / (M + 1)) + sin(π p / (M + 1)) cot(π / (M + 1))] / (M + 1), Weisse et al. (2006) eq. 71.
    """
    p, m = torch.arange(num_moments, dtype=torch.float64), num_moments + 1
    angle = math.pi / m
    return ((m - p) * torch.cos(angle * p) + torch.sin(angle * p) / math.tan(angle)) / m


def kpm_grid(bounds: tuple[float, float], num_points: int, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Give num_points Chebyshev points inside the bounds, ascending, and quadrature weights for functions on them.

    With these weights a KPM density of M <= num_points moments integrates to 1 to rounding.

    Parameters
    ----------
    bounds : tuple of float
        The interval.
    num_points : int
        How many.
    like : Tensor
        Gives dtype and device.

    Returns
    -------
    grid, weights : Tensor (num_points,)
    """
    low, high = bounds
    angle = math.pi * (torch.arange(num_points, dtype=torch.float64).flip(0) + 0.5) / num_points
    grid = (high + low) / 2 + (high - low) / 2 * torch.cos(angle)
    weights = (high - low) / 2 * torch.sin(angle) * math.pi / num_points
    return grid.to(like), weights.to(like)


def kpm_density(moments: ChebyshevMoments, grid: Tensor) -> Density:
    """Evaluate the Jackson-damped Chebyshev series on a grid; zero outside the bounds.

    ρ(x) = 2 / ((high − low) π √(1 − x̂²)) · [g_0 μ_0 + 2 Σ_p g_p μ_p T_p(x̂)]; no product is taken.

    Parameters
    ----------
    moments : ChebyshevMoments
        From :func:`chebyshev_moments`.
    grid : Tensor (G,)
        Where to evaluate.

    Returns
    -------
    Density
    """
    low, high = moments.bounds
    x = (2 * grid.double() - (high + low)) / (high - low)
    inside = x.abs() < 1
    angle = torch.arccos(torch.where(inside, x, 0))
    order = torch.arange(moments.values.shape[1], dtype=torch.float64, device=grid.device)
    series = torch.cos(order[:, None] * angle) * torch.where(order > 0, 2.0, 1.0)[:, None]
    draws = (moments.values.double() * jackson(len(order)).to(order)) @ series
    draws = torch.where(inside, draws * 2 / ((high - low) * math.pi * torch.sin(angle)), 0).to(grid.dtype)
    count = len(draws)
    spread = draws.std(dim=0) if count > 1 else torch.full_like(grid, torch.nan)
    return Density(draws.mean(dim=0), spread / count**0.5, draws)
