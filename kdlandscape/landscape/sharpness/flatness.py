"""How far the weights can move: steps of steepest ascent, and the noise that the loss bears."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kdlandscape.landscape.evaluation.points import evaluate, gradient, value
from kdlandscape.landscape.loss import MeanLoss


class Climb(NamedTuple):
    """The highest point met: its rise of the loss, and where it is, ``offset`` (P,) from the point."""

    rise: float
    offset: Tensor


def ascent(
    objective: MeanLoss,
    point: Tensor,
    radius: float,
    *,
    adaptive: bool = False,
    steps: int = 1,
    start: Tensor | None = None,
) -> Climb:
    r"""Find :math:`\max_{\|T^{-1}\delta\| \leq \rho} L(\theta + \delta) - L(\theta)` to first order or by ascent.

    :math:`T = 1` (SAM, Foret et al. 2021, equation 2) or :math:`T = \mathrm{diag}(|\theta|)` (ASAM, Kwon et al. 2021,
    equation 7, element-wise). One step is :math:`\delta = \rho\, T^2 g / \|T g\|`. With more, :math:`u = T^{-1}\delta`
    moves along :math:`T g` by :math:`\rho / 2` a step and is projected onto the ball; the largest loss met is returned.
    A gradient and a forward pass a step. A point of zero gradient gives 0.

    ``start`` is where u begins, within the ball, in place of 0: a point of zero gradient is left that way.
    """
    scale = point.abs() if adaptive else torch.ones_like(point)
    base = float(value(objective, point))
    u = torch.zeros_like(point) if start is None else start
    best = Climb(0.0, torch.zeros_like(point))
    for step in range(steps):
        slope = scale * gradient(objective, point + scale * u)
        norm = slope.norm()
        if not norm > 0:
            break
        u = u + slope / norm * (radius if step == 0 and start is None else radius / 2)
        u = u * min(1.0, radius / float(u.norm()))
        rise = float(value(objective, point + scale * u)) - base
        if steps == 1:
            return Climb(rise, scale * u)
        if rise > best.rise:
            best = Climb(rise, scale * u)
    return best


@dataclass(frozen=True)
class Noise:
    """The largest noise that the loss bears.

    Attributes
    ----------
    sigma, sigma_sem
        Standard deviation of the noise, and its standard error from the spread over draws.
    increase, increase_sem
        Mean rise of the loss at sigma, at most the target.
    num_evaluations
        Forward passes over the data.
    """

    sigma: float
    sigma_sem: float
    increase: float
    increase_sem: float
    num_evaluations: int


def largest_noise(
    objective: MeanLoss,
    point: Tensor,
    *,
    target: float,
    num_draws: int,
    generator: torch.Generator,
    magnitude: bool = False,
    epsilon: float = 1e-3,
    rtol: float = 1e-2,
    metric: str = "loss",
) -> Noise:
    r"""Find the largest sigma with :math:`\mathbb{E}_u[L(\theta + u)] - L(\theta) \leq` target, below the first excess.

    :math:`u_i = \sigma \xi_i`, or with ``magnitude`` :math:`u_i \sim N(0, \sigma^2 \theta_i^2 + \epsilon^2)`, with the
    *same* draws :math:`\xi` at every sigma (common random numbers), so that the mean rise is one continuous function of
    sigma and the search cannot be misled by noise. sigma doubles from a thousandth of the weights' root mean square
    (of 1 with ``magnitude``) until the target is exceeded, or halves until it is met; then the interval is halved.

    Raises
    ------
    ValueError
        A target that is not positive, fewer than 2 draws, a loss that never rises to the target, or one that exceeds it
        at any noise.

    References
    ----------
    Jiang et al., Fantastic generalization measures and where to find them, 2020, appendix C.4 and algorithm 1.
    """
    if not target > 0 or num_draws < 2:
        raise ValueError(f"expected a positive target and at least 2 draws, got {target} and {num_draws}")
    draws = torch.randn(num_draws, len(point), generator=generator, device=generator.device, dtype=point.dtype)
    draws, start = draws.to(point.device), float(evaluate(objective, point[None])[metric][0])
    seen: dict[float, tuple[float, float]] = {}

    def rise(sigma: float) -> float:
        spread = (sigma**2 * point**2 + epsilon**2).sqrt() if magnitude else torch.full_like(point, sigma)
        values = torch.cat([evaluate(objective, point + spread * part)[metric] for part in draws.split(8)]).double()
        values = values - start
        mean = float(values.mean()) if bool(torch.isfinite(values).all()) else math.inf
        seen[sigma] = mean, float(values.std()) / num_draws**0.5
        return mean

    low, high = _bracket(rise, 1e-3 * (1.0 if magnitude else float(point.square().mean().sqrt()) or 1.0), target)
    while high > low * (1 + rtol):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if rise(middle) <= target else (low, middle)
    return _noise(seen, low, high, num_draws)


def _bracket(rise: Callable[[float], float], start: float, target: float) -> tuple[float, float]:
    sigma = start
    if rise(sigma) <= target:
        for _ in range(40):
            if rise(2 * sigma) > target:
                return sigma, 2 * sigma
            sigma *= 2
        raise ValueError(f"the loss never rises by {target}: expected it to at some noise, tried up to {sigma:.1e}")
    for _ in range(40):
        if rise(sigma / 2) <= target:
            return sigma / 2, sigma
        sigma /= 2
    raise ValueError(f"the loss rises by more than {target} at any noise, down to sigma {sigma:.1e}: is theta finite?")


def _noise(seen: dict[float, tuple[float, float]], low: float, high: float, num_draws: int) -> Noise:
    """Divide the error of the rise by its slope, which the two ends give, for that of sigma."""
    (below, sem), (above, _) = seen[low], seen[high]
    slope = (above - below) / (high - low)
    error = sem / slope if math.isfinite(slope) and slope > 0 else math.nan
    return Noise(low, error, below, sem, len(seen) * num_draws + 1)
