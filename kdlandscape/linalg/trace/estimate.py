"""What every estimator shares: its result, its random vectors, its products, and when it stops."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Matvec = Callable[[Tensor], Tensor]


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


def check(like: Tensor, max_matvecs: int, least: int, block_size: int) -> None:
    """Raise ValueError for a bad ``like``, or too few products or rows a block."""
    if like.ndim != 1 or not like.is_floating_point() or not len(like):
        raise ValueError(f"like must be a floating vector (n,), got {like.dtype} {tuple(like.shape)}")
    if max_matvecs < least or block_size < 1:
        raise ValueError(f"expected max_matvecs >= {least} and block_size >= 1, got {max_matvecs} and {block_size}")


def signs(count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw rows (count, n) of random signs (Rademacher)."""
    bits = torch.randint(0, 2, (count, len(like)), generator=generator, device=generator.device, dtype=torch.int8)
    return (2 * bits - 1).to(like)


def normals(count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw rows (count, n) of the normal distribution."""
    draw = torch.randn(count, len(like), generator=generator, device=generator.device, dtype=like.dtype)
    return draw.to(like.device)


def multiply(matvec: Matvec, rows: Tensor) -> Tensor:
    """Return the products of rows (b, n); raise ValueError where their shape is another or they are not finite."""
    product = matvec(rows) if len(rows) else rows
    if product.shape != rows.shape:
        raise ValueError(f"matvec must keep the shape {tuple(rows.shape)}, got {tuple(product.shape)}")
    if not all(bool(row.isfinite().all()) for row in product):  # a row at a time: the test takes a copy
        raise ValueError("matvec must give finite values, got inf or nan: check the operator at this point")
    return product


def mean_and_sem(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of independent values (k,) and its standard error, NaN for one value."""
    count = len(values)
    spread = values.std() if count > 1 else values.new_full((), torch.nan)
    return values.mean(), spread / count**0.5


def is_small(sem: Tensor, value: Tensor, rtol: float, atol: float) -> bool:
    """Say whether a tolerance is given, and the standard error is within it."""
    return (rtol > 0 or atol > 0) and bool(sem <= max(atol, rtol * float(value.abs())))
