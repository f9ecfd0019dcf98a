"""Whether the derivatives that torch records are those of the loss: a graph may be cut without a word."""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from kdlandscape.landscape.batches import preserve_rng
from kdlandscape.landscape.curvature.layers import UNSUPPORTED, Call, gradient, innermost
from kdlandscape.landscape.curvature.outputs import between
from kdlandscape.landscape.curvature.products import Piece, Rows, linearize
from kdlandscape.landscape.draws import normal
from kdlandscape.landscape.loss import MeanLoss

EXAMPLES = 8
DOUBLE = 10**7  # parameters up to which the check takes a copy of the network in float64


class Precision(NamedTuple):
    """What can be resolved: steps h relative to theta's length, relative differences that count, and rounding."""

    steps: tuple[float, ...]
    tolerance: float
    floor: float


PRECISIONS = {
    torch.float64: Precision((1e-5, 1e-6, 1e-4, 1e-3), 1e-3, 1e-6),
    torch.float32: Precision((1e-2, 1e-3, 3e-2), 3e-2, 3e-3),
}


class Slopes(NamedTuple):
    """The first derivatives of a function at a point, the product that its recorded graph gives, and their blocks.

    Attributes
    ----------
    point
        Where (P,).
    quotient
        Direction and step h -> what first derivatives and a central difference say of the product.
    product
        Rows (b, P) -> the same by the recorded graph.
    sizes
        Lengths of the parts that are compared each on its own scale.
    """

    point: Tensor
    quotient: Callable[[Tensor, float], Tensor]
    product: Rows
    sizes: list[int]


def refuse_cut_graphs(objective: MeanLoss, point: Tensor, kind: str, mode: str) -> str:
    r"""Refuse a network or loss whose curvature products are not the derivatives that they should be.

    On up to 8 examples, near theta: :math:`u^T A v` is compared with :math:`v^T A u`, and :math:`A v` with what first
    derivatives and a central difference give: :math:`(g(\theta + h v) - g(\theta - h v)) / 2h` for the Hessian,
    :math:`J^T C\, (z(\theta + h v) - z(\theta - h v)) / 2h` for the others, parameter by parameter. For the Hessian,
    :math:`g^T v` is compared with the slope of the loss. A difference counts where the quotients of h and 2h agree with
    each other and not with the product, in two directions: rounding, and a kink of a ReLU between the points, make the
    quotients disagree, and another step is tried. The point is theta shifted by a hundredth, off the kinks on which
    initial zeros lie; a difference has to show at two such points. In float64 for up to 10 million parameters, where
    the loss can be taken in it.

    Costs 2 products and 5 gradients on those examples, seldom more, and at its peak about 20 vectors like theta.

    Returns
    -------
    str
        ``agree``, or ``not resolved`` where no two quotients agreed with each other.

    Raises
    ------
    ValueError
        They differ; the message names the innermost layer in which they do.
    """
    loss, point, piece = _small(objective, point)
    with preserve_rng():
        worst = None
        for seed in range(2):  # a cut is at every point; a kink nearer to a point than any step is not at the next
            error = _compare(_of_loss(loss, _shifted(loss, point, seed), piece, kind, mode))
            if error == 0:
                return "agree"
            if error is None and worst is None:
                return "not resolved"
            worst = error or worst
        assert worst is not None
        where = innermost(loss, piece, _is_cut)
    raise ValueError(
        f"the recorded graph of {where} is cut: products of the {kind} differ by {100 * worst:.2g} % from differences "
        "of first derivatives. Expected differentiable torch operations throughout, got something that hides a "
        "derivative: a detach, no_grad or numpy inside forward, a function marked once_differentiable or with a "
        "backward that is wrong or not differentiable itself, a straight-through estimator, a checkpoint that "
        "reenters autograd, or an embedding whose padding row counts (mask the padding, or number the tokens anew)"
    )


def _small(objective: MeanLoss, point: Tensor) -> tuple[MeanLoss, Tensor, Piece]:
    """Return the loss on a few examples, in float64 where that is possible and not too large."""
    few = tree_map(lambda leaf: leaf[:EXAMPLES], next(iter(objective.stream())))
    loss = objective.on(few)
    if len(point) <= DOUBLE and objective.device.type != "mps":
        with suppress(ValueError, RuntimeError, TypeError):  # a network or loss that insists on another precision
            loss = loss.to(torch.float64)
    return loss, point.to(loss.dtype), next(iter(loss.stream()))


def _shifted(loss: MeanLoss, point: Tensor, seed: int) -> Tensor:
    sizes = [shape.numel() for shape in loss.shapes.values()]
    spread = float(point.square().mean().sqrt()) or 1.0
    scales = [float(part.square().mean().sqrt()) or spread for part in point.split(sizes)]
    noise = normal(1, point, torch.Generator().manual_seed(seed))[0]
    parts = zip(point.split(sizes), scales, noise.split(sizes), strict=True)
    return torch.cat([part + 1e-2 * scale * draw for part, scale, draw in parts])


def _of_loss(loss: MeanLoss, point: Tensor, piece: Piece, kind: str, mode: str) -> Slopes:
    sizes = [shape.numel() for shape in loss.shapes.values()]
    made = linearize(loss, point, piece, kind, mode)
    if kind == "hessian":
        return _second_order(lambda theta: loss.reduced(theta, piece).total, point, made, sizes)
    theta = point.clone().requires_grad_()
    with torch.enable_grad():
        outputs = loss.outputs(theta, piece[0])
    middle = between(loss.criteria, outputs, piece[1], kind)

    def quotient(v: Tensor, h: float) -> Tensor:
        with torch.no_grad():
            ahead, behind = (loss.outputs(point.add(v, alpha=s * h), piece[0]) for s in (1, -1))
        return gradient(outputs, theta, middle((ahead - behind) / (2 * h)))

    return Slopes(point, quotient, made, sizes)


def _is_cut(call: Call) -> bool:
    """Compare the second derivatives of the sum of the sines of a layer's outputs, by its inputs and parameters."""
    function, point = call.scalar()
    theta = point.clone().requires_grad_()
    with torch.enable_grad():
        slope = gradient(function(theta), theta, create_graph=True)

    def product(rows: Tensor) -> Tensor:
        return torch.stack([gradient(slope, theta, row) for row in rows])

    try:
        return bool(_compare(_second_order(function, point, product, [len(point)])))
    except UNSUPPORTED:
        return False


def _second_order(function: Callable[[Tensor], Tensor], point: Tensor, product: Rows, sizes: list[int]) -> Slopes:
    """Put the slope along the direction, over theta's length, before the change of the gradient: the same unit."""
    length = float(point.norm()) or 1.0

    def value_and_gradient(at: Tensor) -> tuple[Tensor, Tensor]:
        theta = at.detach().requires_grad_()
        with torch.enable_grad():
            value = function(theta)
        return value.detach(), gradient(value, theta)

    def quotient(v: Tensor, h: float) -> Tensor:
        (up, ahead), (down, behind) = (value_and_gradient(point.add(v, alpha=s * h)) for s in (1, -1))
        return torch.cat([((up - down) / (2 * h * length)).reshape(1), ahead.sub_(behind).div_(2 * h)])

    slope = value_and_gradient(point)[1]

    def both(rows: Tensor) -> Tensor:
        found = rows.new_empty(len(rows), 1 + len(point))
        found[:, 0] = rows @ slope / length
        for row, place in zip(rows, found[:, 1:], strict=True):  # one product beside the result, not all
            place.copy_(product(row[None])[0].detach())
        return found

    return Slopes(point, quotient, both, [1, *sizes])


def _compare(slopes: Slopes) -> float | None:
    """Return the relative error of the product: 0 where it is right, None where nothing can be said."""
    generator, errors = torch.Generator().manual_seed(1), []
    for _ in range(2):
        rows = normal(2, slopes.point, generator)
        rows /= rows.norm(dim=1, keepdim=True)
        products = slopes.product(rows).detach()
        error: float | None = _asymmetry(rows, products[:, -rows.shape[1] :])
        rows, products = rows[:1].clone(), products[:1].clone()  # the second of each makes room
        error = error or _error(slopes, rows[0], products[0])
        if error == 0:
            return 0.0
        errors.append(error)
    known = [error for error in errors if error is not None]
    return min(known) if len(known) == len(errors) else None


def _asymmetry(rows: Tensor, products: Tensor) -> float:
    """Return |u'Av - v'Au| / |Av| where it is more than rounding, else 0."""
    both = rows @ products.T
    size = float(products.norm(dim=1).max())
    gap = abs(float(both[0, 1] - both[1, 0]))
    return gap / size if gap > 10 * torch.finfo(rows.dtype).eps ** 0.5 * size else 0.0


def _error(slopes: Slopes, direction: Tensor, product: Tensor) -> float | None:
    """Compare each part with the first quotients that agree with each other; None where none do."""
    precision = PRECISIONS[slopes.point.dtype]
    length = float(slopes.point.norm()) or 1.0
    for step in precision.steps:
        near, far = (slopes.quotient(direction, factor * step * length) for factor in (1, 2))
        size = torch.maximum(_norms(near, slopes.sizes), _norms(product, slopes.sizes))
        floor = precision.floor * size.norm()
        if not bool((_norms(far.sub_(near), slopes.sizes) <= 0.1 * precision.tolerance * size + floor).all()):
            continue
        error = _norms(near.sub_(product), slopes.sizes)
        wrong = error > precision.tolerance * size + 10 * floor
        return float((error / size)[wrong].max()) if bool(wrong.any()) else 0.0
    return None


def _norms(vector: Tensor, sizes: list[int]) -> Tensor:
    return torch.stack([part.norm() for part in vector.split(sizes)])
