"""The prior over functions that a prior over weights induces: how outputs at two inputs correlate."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlandscape.distillation.predictions import logits
from kdlandscape.landscape.params import Ravel

PRIORS = ("gaussian", "laplace")


def prior_weights(
    network: nn.Module,
    count: int,
    *,
    prior: str = "gaussian",
    weight_variance: float = 2.0,
    bias_variance: float = 0.0,
    generator: torch.Generator,
) -> Tensor:
    r"""Draw weights (K, P): those of a layer with variance :math:`\sigma_w^2 / \text{fan-in}`, biases with σ_b².

    Parameters
    ----------
    network
        The architecture.
    count
        K.
    prior
        ``gaussian``, or ``laplace`` with the same variances and heavier tails.
    weight_variance, bias_variance
        σ_w² and σ_b²; 2 and 0 keep the size of signals through ReLU layers (He et al. 2015).
    generator
        Draws the weights.

    Raises
    ------
    ValueError
        An unknown prior, variances below 0, or parameters that are neither weights of a layer nor biases, such as those
        of a normalization, for which this prior says nothing.
    """
    if prior not in PRIORS:
        raise ValueError(f"expected a prior over weights of {', '.join(PRIORS)}; got {prior!r}")
    if not weight_variance > 0 or bias_variance < 0:
        raise ValueError(f"expected weight_variance above 0 and bias_variance of at least 0, got {weight_variance} and "
                         f"{bias_variance}")  # fmt: skip
    space = Ravel.of(network)
    scales = []
    for name, shape in space.shapes.items():
        if len(shape) < 2 and not name.endswith("bias"):
            raise ValueError(f"expected weights of layers and biases, got {name!r} of shape {tuple(shape)}: this prior "
                             "says nothing of it; take a network without normalization")  # fmt: skip
        variance = bias_variance if len(shape) < 2 else weight_variance / math.prod(shape[1:])
        scales.append(torch.full((math.prod(shape),), variance**0.5))
    scale = torch.cat(scales).to(next(network.parameters()))
    draw = torch.rand(count, len(scale), generator=generator, device=generator.device, dtype=torch.float64)
    if prior == "gaussian":
        unit = torch.special.ndtri(draw.clamp(1e-15, 1 - 1e-15))
    else:
        unit = -(draw - 0.5).sign() * torch.log1p(-2 * (draw - 0.5).abs()) / 2**0.5
    return unit.to(scale) * scale


def on_sphere(inputs: Tensor) -> Tensor:
    r"""Return inputs (n, d) of the same directions and norm :math:`\sqrt d`."""
    return inputs / inputs.norm(dim=1, keepdim=True) * inputs.shape[1] ** 0.5


def pairs_at(inputs: Tensor, cosines: Sequence[float]) -> Tensor:
    r"""Return pairs of inputs (R, 2, n, d) of norm :math:`\sqrt d` and given cosines (R,).

    The first of a pair is an example, the second lies between it and the next example, or beyond.

    Raises
    ------
    ValueError
        Cosines outside [-1, 1], fewer than two examples, or one that is parallel to the next.
    """
    if not all(-1 <= one <= 1 for one in cosines) or len(inputs) < 2:
        raise ValueError(
            f"expected cosines between -1 and 1 and at least 2 examples, got {list(cosines)}, {len(inputs)}"
        )
    first = on_sphere(inputs)
    size = inputs.shape[1]
    other = first.roll(-1, 0)
    rest = other - (other * first).sum(1, keepdim=True) / size * first
    if not bool((rest.norm(dim=1) > 1e-4 * size**0.5).all()):
        raise ValueError("expected examples that are not parallel to the next one: nothing lies between them")
    across = on_sphere(rest)
    return torch.stack([torch.stack([first, c * first + math.sqrt(1 - c**2) * across]) for c in cosines])


def output_correlation(network: nn.Module, thetas: Tensor, pairs: Tensor) -> Tensor:
    r"""Return :math:`\mathbb{E}[f f'] / \sqrt{\mathbb{E}[f^2]\, \mathbb{E}[f'^2]}` (R,) over networks, pairs, outputs.

    Parameters
    ----------
    network, thetas
        The architecture and K networks (K, P).
    pairs
        (R, 2, n, d), as `pairs_at` gives them. Costs 2 R K forward passes.
    """
    found = []
    for first, second in pairs:
        a, b = (logits(network, thetas, x).double() for x in (first, second))
        a, b = (z - z.mean(-1, keepdim=True) for z in (a, b))  # a constant in all classes is no function of the class
        found.append((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt())
    return torch.stack(found)


def relu_correlation(
    cosines: Sequence[float], depth: int, *, weight_variance: float = 2.0, bias_variance: float = 0.0
) -> Tensor:
    r"""Return the correlation of outputs (R,) of infinitely wide ReLU networks at inputs of norm :math:`\sqrt d`.

    .. math:: K_{l+1}(x, x') = \sigma_b^2 + \frac{\sigma_w^2}{2\pi} \sqrt{K_l(x, x) K_l(x', x')}
              \left( \sin\theta_l + (\pi - \theta_l) \cos\theta_l \right), \quad
              \cos\theta_l = \frac{K_l(x, x')}{\sqrt{K_l(x, x) K_l(x', x')}}

    from :math:`K_0 = \sigma_b^2 + \sigma_w^2\, x \cdot x' / d`, over ``depth`` hidden layers. Cho and Saul 2009,
    equation 6; Lee et al. 2018, equation 4.
    """
    rho = torch.tensor(list(cosines), dtype=torch.float64)
    same = torch.tensor(weight_variance + bias_variance, dtype=torch.float64)
    across = weight_variance * rho + bias_variance
    for _ in range(depth):
        angle = (across / same).clamp(-1, 1).arccos()
        across = bias_variance + weight_variance / (2 * math.pi) * same * (
            angle.sin() + (math.pi - angle) * angle.cos()
        )
        same = bias_variance + weight_variance / 2 * same
    return across / same


def mutual_agreement(first: Tensor, second: Tensor) -> Tensor:
    """Return how often each of K functions and each of K others choose the same class: (K, K) of logits (K, n, C)."""
    a, b = first.argmax(-1), second.argmax(-1)
    return (a[:, None] == b[None]).double().mean(-1)
