"""Capacity measures from the weights and the outputs: path norm, Fisher–Rao norm, margins."""

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from kdlandscape.landscape.curvature.curvatures import empirical_fisher
from kdlandscape.landscape.loss import MeanLoss

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase, nn.RMSNorm, nn.LocalResponseNorm)


def path_norm(objective: MeanLoss, point: Tensor) -> float:
    r"""Return :math:`\sqrt{\sum_o f_o(1;\, \theta^2)}`: the root of the sum over paths of products of squared weights.

    One forward pass of the network with squared weights (frozen ones too) on an input of ones. Unchanged by rescaling a
    ReLU unit's incoming weights by c and its outgoing ones by 1/c. Neyshabur, Tomioka and Srebro 2015; Jiang et al.
    2020, measure 43.

    Raises
    ------
    ValueError
        Where it is undefined: a network that, without biases, is not positively homogeneous of degree 1 in its
        inputs (normalization, tanh, softmax), or whose inputs are not floating point.
    """
    inputs, _ = next(objective.stream())
    leaves = tree_leaves(inputs)
    if not all(leaf.is_floating_point() for leaf in leaves):
        raise ValueError("path_norm feeds ones to the network: expected floating-point inputs, got integers")
    ones = tree_map(lambda leaf: torch.ones_like(leaf[:1]), inputs)
    squared = {name: tensor.square() for name, tensor in objective.unravel(point).items()}
    constants = {name: tensor.square() for name, tensor in objective.constants.items() if tensor.is_floating_point()}
    _refuse_inhomogeneous(objective, squared, constants, ones)
    with torch.no_grad():
        total = objective.outputs(_flat(objective, squared), ones, constants).sum()
    return float(total.sqrt())


def _refuse_inhomogeneous(
    objective: MeanLoss, squared: dict[str, Tensor], constants: dict[str, Tensor], ones: Tensor
) -> None:
    """Without biases, twice the input must give twice the output, as for paths of products."""
    for name, layer in objective.model.named_modules():
        if isinstance(layer, NORMS):
            raise ValueError(
                f"path_norm is undefined with layer {name!r} ({type(layer).__name__}): a normalization is no sum over "
                "paths; expected a network of linear, convolution, pooling and ReLU layers. Use another measure"
            )
    bare = {name: torch.zeros_like(x) if name.endswith("bias") else x for name, x in squared.items()}
    fixed = {name: torch.zeros_like(x) if name.endswith("bias") else x for name, x in constants.items()}
    theta = _flat(objective, bare)
    generator = torch.Generator().manual_seed(0)
    some = tree_map(lambda leaf: torch.rand(leaf.shape, generator=generator, dtype=torch.float64).to(leaf), ones)
    with torch.no_grad():
        once = objective.outputs(theta, some, fixed)
        twice = objective.outputs(theta, tree_map(lambda leaf: 2 * leaf, some), fixed)
    if not torch.allclose(twice, 2 * once, rtol=1e-4, atol=0.0):
        raise ValueError(
            "path_norm is undefined for this network: expected twice the input to give twice the output (linear, "
            "convolution, pooling and ReLU layers), got another ratio. Use another measure"
        )


def _flat(objective: MeanLoss, named: dict[str, Tensor]) -> Tensor:
    return torch.cat([named[name].reshape(-1) for name in objective.shapes])


def fisher_rao(objective: MeanLoss, point: Tensor) -> float:
    r"""Return :math:`\theta^T \hat F \theta = \sum_i w_i (g_i^T \theta)^2 / W`, with the empirical Fisher matrix.

    For a network of L + 1 bias-free layers with ReLU this is :math:`(L+1)^2\, \mathbb{E}[\langle \nabla_z \ell,
    z \rangle^2]` (Liang, Poggio, Rakhlin and Stokes 2019, theorem 3.1). Unchanged by any reparametrization of a
    homogeneous network that keeps its function. One product.
    """
    product = empirical_fisher(objective, point, num_matvecs=1) @ point
    return float(point @ product)


def margins(objective: MeanLoss, point: Tensor) -> Tensor:
    r"""Return :math:`z_y - \max_{j \neq y} z_j` for every example (n,), in the units of the outputs.

    Raises
    ------
    ValueError
        Outputs that are not logits (n, C), or targets that are not class numbers (n,).
    """
    rows = []
    with torch.no_grad():
        for inputs, targets in objective.stream():
            z = objective.outputs(point, inputs)
            good = isinstance(targets, Tensor) and not targets.is_floating_point() and targets.ndim == 1
            if not good or z.ndim != 2 or z.shape[1] < 2:
                raise ValueError("margins need logits (n, C) and class numbers (n,); got other outputs or targets")
            kept = (targets >= 0) & (targets < z.shape[1])  # an ignored example has no margin
            z, y = z[kept], targets[kept][:, None]
            rows.append((z.gather(1, y) - z.scatter(1, y, -torch.inf).amax(1, keepdim=True))[:, 0])
    return torch.cat(rows)
