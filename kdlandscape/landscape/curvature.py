"""Curvature operators at one theta: a function of vectors, linearized once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vjp

from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import Theta

Operator = Callable[[Tensor], Tensor]
CURVATURES = ("hessian", "ggn")


def operator(objective: Objective, theta: Theta, *, curvature: str = "hessian", products: int = 100) -> Operator:
    r"""Return :math:`v \mapsto Av` for rows v (K, P) or one v (P,), with A taken from the *mean* loss at theta.

    Parameters
    ----------
    objective, theta
        The loss and the point; theta is copied, later changes of it have no effect.
    curvature
        ``hessian``: :math:`\nabla^2 L`; ``ggn``: :math:`\sum_i J_i^T (\nabla^2_z \ell_i) J_i / \sum_i w_i`.
    products
        How many products are expected; with more than one the Hessian keeps the graph of the gradient.

    Notes
    -----
    One Hessian product costs about two gradients (one, where the graph of the gradient is kept).
    """
    if curvature not in CURVATURES:
        raise ValueError(f"expected curvature to be one of {', '.join(CURVATURES)}; got {curvature!r}")
    point = objective.ravel(theta).clone()
    one = _hessian(objective, point, keep=products > 1) if curvature == "hessian" else _ggn(objective, point)

    def product(v: Tensor) -> Tensor:
        if v.shape[-1] != objective.dim or v.ndim > 2:
            raise ValueError(f"expected v of shape ({objective.dim},) or (K, {objective.dim}), got {tuple(v.shape)}")
        rows = v.detach().to(point)
        return one(rows) if rows.ndim == 1 else torch.stack([one(row) for row in rows])

    return product


def _hessian(objective: Objective, point: Tensor, keep: bool) -> Operator:
    """Reverse over reverse: the derivative of the gradient's graph along v."""
    point.requires_grad_()

    def gradients() -> "list[Tensor] | map[Tensor]":
        def gradient(batch: tuple) -> Tensor:
            total = objective.reduced(point, batch).total
            return torch.autograd.grad(total, point, create_graph=True)[0]

        return map(gradient, objective.stream())

    weight = _weight(objective, point)
    kept = list(gradients()) if keep else None

    def product(v: Tensor) -> Tensor:
        result = torch.zeros_like(point)
        for gradient in kept if kept is not None else gradients():
            if gradient.requires_grad:  # a loss linear in theta has a constant gradient
                (part,) = torch.autograd.grad(gradient, point, v, retain_graph=keep, allow_unused=True)
                if part is not None:
                    result += part
        return result / weight

    return product


def _ggn(objective: Objective, point: Tensor) -> Operator:
    """Forward through the network, the loss's own curvature at the outputs, and back: exact for any loss."""
    weight = _weight(objective, point)

    def product(v: Tensor) -> Tensor:
        result = torch.zeros_like(point)
        for inputs, targets in objective.stream():
            network = partial(objective.outputs, inputs=inputs)
            outputs, pull_back = vjp(network, point)  # type: ignore[misc]
            tangent = jvp(network, (point,), (v,))[1]
            result += pull_back(_curve(objective, outputs, targets, tangent))[0]
        return result / weight

    return product


def _curve(objective: Objective, outputs: Tensor, targets: Any, tangent: Tensor) -> Tensor:
    """Return the Hessian of the summed loss with respect to the outputs, times a tangent of the outputs."""
    z = outputs.detach().requires_grad_()
    (slope,) = torch.autograd.grad(objective.reduce(z, targets).total, z, create_graph=True)
    if not slope.requires_grad:  # a loss linear in the outputs
        return torch.zeros_like(outputs)
    return torch.autograd.grad(slope, z, tangent)[0]


def _weight(objective: Objective, point: Tensor) -> Tensor | float:
    with torch.no_grad():
        weights = [objective.reduced(point, batch).weight for batch in objective.stream()]
    return sum(weights[1:], start=weights[0])
