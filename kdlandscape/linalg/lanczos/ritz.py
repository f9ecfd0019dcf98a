"""Ritz pairs: what is found of a spectrum, which of them are wanted, and how wrong they may be."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Which = Literal["largest", "smallest", "both", "magnitude"]
Stop = Literal["residual", "value"]


class Ritz(NamedTuple):
    """Orthonormal rows Y and the frontier F (f, n) with A Y = diag(values) Y + coupling F; f may be 0.

    ``ends`` are the least and the largest Ritz value that were met.
    """

    values: Tensor
    vectors: Tensor
    coupling: Tensor
    frontier: Tensor
    ends: tuple[float, float]


@dataclass(frozen=True)
class Eigenpairs:
    """Approximate eigenpairs of a symmetric operator, each with its error.

    Attributes
    ----------
    values : Tensor (k,)
        Ritz values θ, in the order asked for.
    vectors : Tensor (k, n)
        Orthonormal Ritz vectors y, one a row.
    residuals : Tensor (k,)
        r = ‖A y − θ y‖, formed from products that were really taken.  Some eigenvalue lies within r of θ.
    errors : Tensor (k,)
        min(r, r² / gap), the error of θ to expect (Kato and Temple), gap being the distance to the next Ritz interval.
    converged : Tensor (k,) of bool
        Within the tolerance asked for.
    num_matvecs : int
        Products of A with one vector.
    miss_probability : float
        Bound on the probability that an eigenvalue beyond the last pair, or a copy of one, was missed: 1 where it was
        not looked for, 0 where the basis fills the space or its complement was exhausted.
    space : Ritz
        What a search for more pairs goes on from: these pairs, and as many more as fit 256 MiB, up to max(k, 8).
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    errors: Tensor
    converged: Tensor
    num_matvecs: int
    miss_probability: float
    space: Ritz


def select(theta: Tensor, k: int, which: str) -> Tensor:
    """Give the indices of the (at most) k wanted values among ascending ones."""
    ascending, k = torch.arange(len(theta)), min(k, len(theta))
    if which == "smallest":
        return ascending[:k]
    if which == "magnitude":
        return theta.abs().argsort(descending=True)[:k]
    low = k // 2 if which == "both" else 0
    return torch.cat([ascending[len(theta) - (k - low) :].flip(0), ascending[:low].flip(0)])


def value_errors(theta: Tensor, residuals: Tensor) -> Tensor:
    """Bound |λ − θ| by min(r, r² / gap), gap to the nearest other interval θ ± r (r itself where they overlap)."""
    distance = (theta[:, None] - theta).abs() - residuals
    gap = distance.fill_diagonal_(torch.inf).min(dim=1).values
    return torch.where(gap > residuals, residuals * (residuals / gap), residuals)
