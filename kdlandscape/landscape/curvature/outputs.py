"""The curvature of the summed loss at the outputs of one batch: what a Gauss-Newton or Fisher product puts between."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from kdlandscape.landscape.loss import MeanLoss

Between = Callable[[Tensor], Tensor]


def between(objective: MeanLoss, outputs: Any, targets: Any, kind: str) -> Between:
    r"""Return :math:`u \mapsto C u` for tangents u of the outputs z (n, ...), block-diagonal over examples.

    Parameters
    ----------
    objective, outputs, targets
        The loss, and one batch of outputs with their targets.
    kind
        ``ggn``: :math:`C = \nabla_z^2 \sum_i w_i \ell_i`; ``fisher``: the same for a likelihood, where it is
        :math:`w_i \mathbb{E}_{y \sim p(y|z_i)}[\nabla \log p\, \nabla \log p^T]`; ``empirical_fisher``:
        :math:`w_i \nabla \ell_i \nabla \ell_i^T`.

    Raises
    ------
    ValueError
        Outputs that are not one tensor with a row for each example; ``fisher`` of a loss that is neither a cross
        entropy of softmax outputs nor a sum of squares.

    Notes
    -----
    Cross entropy is recognized by its curvature, :math:`s_i (\mathrm{diag}\,p_i - p_i p_i^T)` with class weights,
    soft labels, smoothing and ignored examples all in :math:`s_i`, and is then applied in closed form. Any other loss
    is differentiated twice at the outputs.
    """
    if not isinstance(outputs, Tensor) or outputs.ndim < 1:
        raise ValueError(f"{kind} needs outputs in one tensor, a row an example; got {type(outputs).__name__}")
    z = outputs.detach().requires_grad_()
    if kind == "empirical_fisher":
        return _outer(objective, z, targets)
    generic = _generic(objective, z, targets)
    scale = softmax_scale(z, generic)
    if kind == "fisher" and not _is_likelihood(objective, z, targets, scale, generic):
        raise ValueError(
            "the Fisher information needs a loss that is a negative log likelihood, cross entropy of softmax outputs "
            "or a sum of squares; got another loss: use curvature='ggn' or 'empirical_fisher'"
        )
    if scale is None:
        return generic
    p = z.detach().softmax(1)
    return lambda u: scale * (p * u - p * (p * u).sum(1, keepdim=True))


def _generic(objective: MeanLoss, z: Tensor, targets: Any) -> Between:
    with torch.enable_grad():
        total = objective.reduce(z, targets).total
        (slope,) = torch.autograd.grad(total, z, create_graph=True)
    if not slope.requires_grad:  # a loss linear in the outputs
        return torch.zeros_like
    return lambda u: torch.autograd.grad(slope, z, u, retain_graph=True)[0]


def softmax_scale(z: Tensor, generic: Between) -> Tensor | None:
    """Return s (n, 1, ...) where the curvature is s (diag p - p p') of a softmax over axis 1, else None."""
    if z.ndim < 2 or z.shape[1] < 2 or not z.numel():
        return None
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(z.shape, generator=generator, dtype=torch.float64).to(z) for _ in range(2))
    p, eps = z.detach().softmax(1), torch.finfo(z.dtype).eps

    def plain(u: Tensor) -> Tensor:
        return p * u - p * (p * u).sum(1, keepdim=True)

    a, b, square = plain(first), generic(first), plain(first).square().sum(1, keepdim=True)
    scale = torch.where(square > 0, (a * b).sum(1, keepdim=True) / square.clamp_min(torch.finfo(z.dtype).tiny), 0)
    error = (generic(second) - scale * plain(second)).abs()
    # Rounding is relative to the terms that cancel in p u - p (p'u), which are as large as p u.
    bound = 1e3 * eps * (scale.abs() * p * (1 + second.abs())).sum(1, keepdim=True) + 1e3 * eps * scale.abs().amax()
    return scale if bool((error <= bound).all()) else None


def _is_likelihood(objective: MeanLoss, z: Tensor, targets: Any, scale: Tensor | None, generic: Between) -> bool:
    """Whether the loss is cross entropy or quadratic: then its curvature holds no more of the targets than weights."""
    generator = torch.Generator().manual_seed(1)
    u, shift = (torch.randn(z.shape, generator=generator, dtype=torch.float64).to(z) for _ in range(2))
    moved = (z.detach() + shift).requires_grad_()
    there = _generic(objective, moved, targets)
    tolerance = 1e4 * torch.finfo(z.dtype).eps
    if scale is not None:
        other = softmax_scale(moved, there)
        if not bool(scale.any()):  # nothing bends: fine where nothing counts (all examples ignored), not if linear
            return not bool(torch.autograd.grad(objective.reduce(moved, targets).total, moved)[0].any())
        return other is not None and bool(((scale - other).abs() <= 0.01 * scale.abs().amax()).all())
    expected = generic(u)
    return bool(expected.any()) and torch.allclose(there(u), expected, rtol=tolerance, atol=tolerance)


def _outer(objective: MeanLoss, z: Tensor, targets: Any) -> Between:
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(objective.reduce(z, targets).total, z)
    axes = tuple(range(1, z.ndim))
    weight = example_weights(objective, z.detach(), targets).to(z).view(-1, *[1] * len(axes))
    scaled = torch.where(weight > 0, slope / weight.clamp_min(torch.finfo(z.dtype).tiny), 0)
    return lambda u: scaled * ((slope * u).sum(axes, keepdim=True) if axes else slope * u)


def example_weights(objective: MeanLoss, outputs: Tensor, targets: Any) -> Tensor:
    """Return the weight w_i of every example (n,), by giving the loss one example at a time."""

    def one(z: Tensor, y: Any) -> Tensor:
        single = tree_map(lambda leaf: leaf[None], y)
        return torch.as_tensor(objective.reduce(z[None], single).weight, dtype=z.dtype, device=z.device)

    try:
        return vmap(one)(outputs, targets)
    except (RuntimeError, ValueError):  # a loss that vmap cannot follow
        rows = range(len(outputs))
        return torch.stack([one(outputs[i], tree_map(lambda leaf, i=i: leaf[i], targets)) for i in rows])
