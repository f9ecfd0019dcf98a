"""Effective dimension, from eigenvalues or from quadrature rules."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class EffectiveDimension:
    """N_eff over a grid of z.

    Attributes
    ----------
    value : Tensor (Z,)
        Σ λ / (λ + z) over the eigenvalues, negative ones taken as 0.
    sem : Tensor (Z,)
        Standard error over draws: 0 from eigenvalues, NaN from a single draw.
    negative_mass : float
        Σ |λ| over the negative eigenvalues / Σ |λ| over all: how much was clipped.
    """

    value: Tensor
    sem: Tensor
    negative_mass: float


def effective_dimension(eigenvalues: Tensor, z: Tensor) -> EffectiveDimension:
    """Sum λ / (λ + z) over the given eigenvalues; those not given count as 0, so top-k values give a lower bound.

    Parameters
    ----------
    eigenvalues : Tensor (k,)
        In any order.  Negative ones are clipped to 0 and their mass is reported.
    z : Tensor (Z,)
        Positive, in the units of the eigenvalues: N_eff of c A at c z is that of A at z.

    Raises
    ------
    ValueError
        A z that is not positive.

    References
    ----------
    Maddox, Benton and Wilson, Rethinking parameter counting in deep models: effective dimensionality revisited, 2020,
    equation 2; MacKay, Bayesian interpolation, 1992.
    """
    filtered = _filter(eigenvalues, z)
    return EffectiveDimension(
        filtered.sum(dim=-2), torch.zeros_like(z), _mass(eigenvalues, torch.ones_like(eigenvalues))
    )


def effective_dimension_from_quadrature(nodes: Tensor, weights: Tensor, dim: int, z: Tensor) -> EffectiveDimension:
    """Estimate N_eff = n · Σ weights λ / (λ + z) as the mean over draws of Lanczos quadrature rules.

    Parameters
    ----------
    nodes, weights : Tensor (b, m)
        Quadrature rules of b random start vectors; weight 0 is skipped.
    dim : int
        n.
    z : Tensor (Z,)
        Positive, in the units of the nodes.

    Raises
    ------
    ValueError
        A z that is not positive.
    """
    known = torch.where(weights > 0, nodes, 0)
    draws = dim * (weights[..., None] * _filter(known, z)).sum(dim=1)
    spread = draws.std(dim=0) if len(draws) > 1 else torch.full_like(draws[0], torch.nan)
    return EffectiveDimension(draws.mean(dim=0), spread / len(draws) ** 0.5, _mass(known, weights))


def _filter(values: Tensor, z: Tensor) -> Tensor:
    if not bool((z > 0).all()):
        raise ValueError(f"every z must be positive, got {z.tolist()}")
    clipped = values.clamp(min=0)[..., None]
    return clipped / (clipped + z)


def _mass(values: Tensor, weights: Tensor) -> float:
    total = float((weights * values.abs()).sum())
    return float((weights * values.clamp(max=0).abs()).sum()) / total if total > 0 else 0.0
