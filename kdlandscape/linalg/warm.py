"""Start vectors for a sweep along nearby operators, from the eigenvectors already found."""

from collections.abc import Sequence

import torch
from torch import Tensor


def warm_start(
    vectors: Sequence[Tensor], points: Sequence[float], at: float, *, generator: torch.Generator, max_order: int = 3
) -> Tensor:
    """Give one start vector for Lanczos at ``at``: the sum of eigenvectors extrapolated from earlier points.

    A single vector Σ y_i keeps the Krylov space shared by all k pairs: it has the same polynomial filter as a cold
    start but begins at the size of the extrapolation error instead of 1.  A block of the k vectors spends k products on
    every degree and costs more than a cold start.  Each point's vectors are rotated onto the latest ones (Procrustes),
    then extrapolated entrywise by a polynomial whose order predicted the latest point best.  A random vector as long as
    that prediction's error is added, so that an eigenvalue that enters the wanted set is not orthogonal to the start.

    Parameters
    ----------
    vectors : sequence of Tensor (k, n)
        Orthonormal eigenvectors at each earlier point, latest last; the last max_order + 2 are used.
    points : sequence of float
        Their coordinates, all different.
    at : float
        The coordinate wanted.
    generator : torch.Generator
        Draws the random part.
    max_order : int
        Largest order of the polynomial.

    Returns
    -------
    Tensor (1, n)

    Raises
    ------
    ValueError
        No point, or another number of points than of vectors.

    Notes
    -----
    Costs no product.  k pairs need at least k products, so the saving is bounded by the ratio of k to a cold start.
    """
    if not vectors or len(vectors) != len(points):
        raise ValueError(f"expected one point for each set of vectors, got {len(points)} and {len(vectors)}")
    latest = vectors[-1]
    kept = [_onto(rows, latest) for rows in vectors[-(max_order + 2) :]]
    where = list(points)[-len(kept) :]
    order, error = _best_order(kept, where, max_order)
    total = _extrapolate(kept, where, at, order).sum(dim=0, keepdim=True)
    draw = torch.randn(total.shape, generator=generator, device=generator.device, dtype=total.dtype).to(total.device)
    return total / total.norm() + error * draw / draw.norm()


def _onto(rows: Tensor, target: Tensor) -> Tensor:
    """Rotate orthonormal rows within their span to be nearest to the target rows."""
    left, _, right = torch.linalg.svd(target @ rows.T)
    return (left @ right) @ rows


def _extrapolate(vectors: list[Tensor], points: list[float], at: float, order: int) -> Tensor:
    vectors, points = vectors[-(order + 1) :], points[-(order + 1) :]
    total = torch.zeros_like(vectors[0])
    for here, rows in zip(points, vectors, strict=True):
        weight = 1.0
        for other in points:
            if other != here:
                weight *= (at - other) / (here - other)
        total = total + weight * rows
    return total


def _best_order(vectors: list[Tensor], points: list[float], max_order: int) -> tuple[int, float]:
    """Return the order that predicts the latest vectors best from those before, and its error there."""
    if len(vectors) == 1:
        return 0, 1e-3
    *known, latest = vectors
    errors = [
        float((_extrapolate(known, points[:-1], points[-1], order) - latest).norm() / latest.norm())
        for order in range(min(max_order, len(known) - 1) + 1)
    ]
    best = min(range(len(errors)), key=errors.__getitem__)
    if best == len(errors) - 1 and best < max_order and len(errors) > 1:
        best += 1  # one more point has come in since
    return best, max(min(min(errors), 1e-3), torch.finfo(latest.dtype).eps)
