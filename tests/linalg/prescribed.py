"""Symmetric matrices with prescribed eigenvalues, so that every answer is known by construction."""

from collections.abc import Callable

import torch
from torch import Tensor

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SCALES = [2.0**-27, 1.0, 2.0**27]  # 7e-9 … 1e8; powers of two, so that no digit changes


def _linear(low: float, high: float, count: int) -> list[float]:
    return torch.linspace(low, high, count, dtype=torch.float64).tolist()


DEEP = [12.98, 11.09, 9.0, 7.5, 6.0, 5.0, 4.2, 3.5, 3.0, 2.6]
SPECTRA: dict[str, list[float]] = {
    "deep net": [*DEEP, -0.6, -0.5, -0.4, -0.3, -0.2, *[0.5 * (i / 105) ** 6 - 0.01 for i in range(105)]],
    "clustered": _linear(3.0, 3.01, 4) + _linear(-1.0, 1.0, 76),
    "rank-deficient": [4.0, 2.0, 1.0] + [0.0] * 57,
    "indefinite": _linear(-6.0, -3.0, 5) + _linear(-1.0, 1.0, 60) + _linear(3.5, 7.0, 5),
    "multiple": [5.0, 5.0, 5.0, 4.0, 3.0, -4.5, -4.5, *_linear(-1.0, 1.0, 60)],
    "projector": [1.0] * 3 + [0.0] * 37,
    "identity": [2.0] * 12,
    "zero": [0.0] * 12,
    "two": [1.0, -3.0],
    "one": [-2.0],
}


def rng(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def normal(rows: int, n: int, seed: int = 0, *, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Tensor:
    return torch.randn(rows, n, generator=rng(seed), dtype=dtype).to(device)


def symmetric(
    eigenvalues: list[float], seed: int = 0, *, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> Tensor:
    """Q diag(eigenvalues) Q' with a seeded orthogonal Q."""
    rotation = torch.linalg.qr(normal(len(eigenvalues), len(eigenvalues), seed + 1000))[0]
    full = (rotation * torch.tensor(eigenvalues, dtype=torch.float64)) @ rotation.T
    return ((full + full.T) / 2).to(device, dtype)


class Operator:
    """The matvec of a matrix; it counts its products and refuses what is not a block of rows."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix, self.products = matrix, 0

    def __call__(self, rows: Tensor) -> Tensor:
        assert rows.ndim == 2
        assert rows.dtype == self.matrix.dtype
        self.products += len(rows)
        return rows @ self.matrix


def binomial_floor(trials: int, probability: float) -> int:
    """The count that at least 99.9 % of honest runs reach."""
    from scipy.stats import binom

    return int(binom.ppf(1e-3, trials, probability))


def means(nodes: Tensor, weights: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Σ weights f(nodes) of every draw (b,)."""
    known = torch.where(weights > 0, nodes, 0)
    return torch.where(weights > 0, weights * function(known), 0).sum(dim=1)
