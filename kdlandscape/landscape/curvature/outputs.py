"""The curvature of the summed loss at the outputs of one batch: what a Gauss-Newton or Fisher product puts between."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from kdlandscape.landscape.criteria import Criteria

Between = Callable[[Tensor], Tensor]


class Family(NamedTuple):
    """Distributions by their natural parameters z: the curvature of -log p(y|z), which holds nothing of y.

    Attributes
    ----------
    apply
        Outputs z and tangents u -> the curvature times u.
    pool
        Sum over the outputs that belong to one draw of the distribution.
    """

    apply: Callable[[Tensor, Tensor], Tensor]
    pool: Callable[[Tensor], Tensor]


def categorical(axis: int) -> Family:
    """Return the softmax over one axis: diag p - p p'."""

    def apply(z: Tensor, u: Tensor) -> Tensor:
        p = z.softmax(axis)
        return p * u - p * (p * u).sum(axis, keepdim=True)

    return Family(apply, lambda x: x.sum(axis, keepdim=True))


BERNOULLI = Family(lambda z, u: torch.sigmoid(z) * torch.sigmoid(-z) * u, lambda x: x)
POISSON = Family(lambda z, u: z.exp() * u, lambda x: x)
GAUSSIAN = Family(lambda z, u: u, lambda x: x)


def between(criteria: Criteria, outputs: Any, targets: Any, kind: str) -> Between:
    r"""Return :math:`u \mapsto C u` for tangents u of the outputs z (n, ...), block-diagonal over examples.

    Parameters
    ----------
    criteria, outputs, targets
        The loss, and one batch of outputs with their targets.
    kind
        ``ggn``: :math:`C = \nabla_z^2 \sum_i w_i \ell_i`; ``fisher``: the same for a likelihood in its natural
        parameters, where it is :math:`w_i \mathbb{E}_{y \sim p(y|z_i)}[\nabla \log p\, \nabla \log p^T]`;
        ``empirical_fisher``: :math:`w_i \nabla \ell_i \nabla \ell_i^T`.

    Raises
    ------
    ValueError
        Outputs that are not one tensor with a row for each example; a loss that is linear in the outputs, so that its
        GGN is zero whatever the network; ``fisher`` of a loss that is no likelihood that is known here.

    Notes
    -----
    Cross entropy over any axis is recognized by its curvature, :math:`s (\mathrm{diag}\,p - p p^T)` with class weights,
    soft labels, smoothing and ignored examples all in s, and is then applied in closed form. Any other loss is
    differentiated twice at the outputs. A loss is taken for a likelihood if its curvature at other outputs is the one
    that the scales s found here predict: categorical, Bernoulli (with weights), Poisson of a logarithm, or quadratic
    (Gaussian); or log probabilities with ``nn.NLLLoss``; or if it says so by an attribute ``is_likelihood``.
    """
    if not isinstance(outputs, Tensor) or outputs.ndim < 1:
        raise ValueError(f"{kind} needs outputs in one tensor, a row an example; got {type(outputs).__name__}")
    z = outputs.detach().requires_grad_()
    slope, generic = _derivatives(criteria, z, targets)
    if kind == "empirical_fisher":
        return _outer(criteria, z, targets, slope.detach())
    if generic is None:
        return _of_flat_loss(criteria, z, targets, slope.detach(), kind)
    z = z.detach()
    for family in _softmaxes(z):
        scale = _scale(family, z, generic)
        if scale is not None:
            if kind == "fisher":
                _refuse_other_losses(criteria, z, targets, [(family, scale)])
            return lambda u: scale * family.apply(z, u)
    if kind == "fisher":
        known = [(family, _scale(family, z, generic)) for family in (BERNOULLI, POISSON, GAUSSIAN)]
        _refuse_other_losses(criteria, z, targets, known, generic)
    return generic


def _derivatives(criteria: Criteria, z: Tensor, targets: Any) -> tuple[Tensor, Between | None]:
    """Return the gradient of the summed loss at the outputs and its second derivative; None where that is zero."""
    with torch.enable_grad():
        total = criteria.reduce(z, targets).total
        (slope,) = torch.autograd.grad(total, z, create_graph=True)
    if not slope.requires_grad:
        return slope, None

    def generic(u: Tensor) -> Tensor:
        return torch.autograd.grad(slope, z, u, retain_graph=True)[0]

    return slope, generic if bool(generic(_draw(z, 4)).any()) else None


def _softmaxes(z: Tensor) -> Iterator[Family]:
    axes = dict.fromkeys([1, z.ndim - 1, *range(2, z.ndim)] if z.ndim > 1 and z.numel() else [])
    return (categorical(axis) for axis in axes if z.shape[axis] > 1)


def _draw(z: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)


def _scale(family: Family, z: Tensor, generic: Between) -> Tensor | None:
    """Return the s with which the curvature is s times that of the family, else None."""
    first = _draw(z, 0)
    plain = family.apply(z, first)
    square = family.pool(plain.square())
    ratio = family.pool(plain * generic(first)) / square.clamp_min(torch.finfo(z.dtype).tiny)
    scale = torch.where(square > 0, ratio, 0)
    return scale if _fits(family, z, generic, scale) else None


def _fits(family: Family, z: Tensor, generic: Between, scale: Tensor) -> bool:
    """Whether the curvature at these outputs is s times that of the family, by one more product."""
    u, eps = _draw(z, 1), torch.finfo(z.dtype).eps
    expected = scale * family.apply(z, u)
    # Rounding is relative to the terms that cancel, which are as large as the largest of one draw.
    size = family.pool((scale * family.apply(z, torch.ones_like(u))).abs() + expected.abs())
    bound = 1e3 * eps * (size + (scale.abs() * (1 + u.abs())).amax())
    return bool(((generic(u) - expected).abs() <= bound).all())


def _refuse_other_losses(
    criteria: Criteria,
    z: Tensor,
    targets: Any,
    families: list[tuple[Family, Tensor | None]],
    generic: Between | None = None,
) -> None:
    """Refuse a loss whose curvature at other outputs is not the one that a family and its scales predict."""
    if criteria.is_likelihood:
        return
    moved = (z + _draw(z, 2)).requires_grad_()
    slope, there = _derivatives(criteria, moved, targets)
    if not slope.any():  # nothing counts: all examples are ignored
        return
    for family, scale in families:
        if scale is not None and there is not None and _fits(family, moved.detach(), there, scale):
            return
    if generic is not None and there is not None:
        u = _draw(z, 3)
        expected, tolerance = generic(u), 1e4 * torch.finfo(z.dtype).eps
        if bool(expected.any()) and torch.allclose(there(u), expected, rtol=tolerance, atol=tolerance):
            return
    raise ValueError(
        "the Fisher information needs a negative log likelihood: expected a cross entropy of softmax or sigmoid "
        "outputs, a Poisson loss of a logarithm or a sum of squares; got another loss. Use ggn or empirical_fisher; "
        "or, for a likelihood in its natural parameters, set loss.is_likelihood = True"
    )


def _of_flat_loss(criteria: Criteria, z: Tensor, targets: Any, slope: Tensor, kind: str) -> Between:
    """Return zero where nothing bends, s diag p for the Fisher of log probabilities; refuse a loss that is linear."""
    moved = (z.detach() + _draw(z, 2)).requires_grad_()
    there = _derivatives(criteria, moved, targets)[0].detach()
    if not slope.any() or (kind == "ggn" and not torch.equal(there, slope)):  # ignored examples, or kinks alone
        return torch.zeros_like
    p = z.detach().exp()
    for axis in range(1, z.ndim):
        if kind == "fisher" and torch.allclose(p.sum(axis), torch.ones_like(p.sum(axis)), rtol=1e-3):
            return lambda u: -slope.sum(axis, keepdim=True) * p * u
    raise ValueError(
        f"the {kind} is zero, since the loss is linear in the outputs: expected logits with nn.CrossEntropyLoss, got "
        "perhaps log probabilities with nn.NLLLoss; take off the log_softmax, or use fisher or hessian"
    )


def _outer(criteria: Criteria, z: Tensor, targets: Any, slope: Tensor) -> Between:
    axes = tuple(range(1, z.ndim))
    weight = _example_weights(criteria, z.detach(), targets).to(z).view(-1, *[1] * len(axes))
    scaled = torch.where(weight > 0, slope / weight.clamp_min(torch.finfo(z.dtype).tiny), 0)
    return lambda u: scaled * ((slope * u).sum(axes, keepdim=True) if axes else slope * u)


def _example_weights(criteria: Criteria, outputs: Tensor, targets: Any) -> Tensor:
    """Return the weight w_i of every example (n,), by giving the loss one example at a time."""

    def one(z: Tensor, y: Any) -> Tensor:
        single = tree_map(lambda leaf: leaf[None], y)
        return torch.as_tensor(criteria.reduce(z[None], single).weight, dtype=z.dtype, device=z.device)

    try:
        return vmap(one)(outputs, targets)
    except (RuntimeError, ValueError):  # a loss that vmap cannot follow
        rows = range(len(outputs))
        return torch.stack([one(outputs[i], tree_map(lambda leaf, i=i: leaf[i], targets)) for i in rows])
