"""Permute the units of one network so that the loss half way to another is low: the straight-through estimator."""

import torch
from torch import Tensor

from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Ravel, Theta
from kdlandscape.landscape.permutations.alignment import (
    Alignment,
    Pair,
    best_descent,
    matching_of_weights,
)
from kdlandscape.landscape.permutations.forward import as_double


def align_by_loss(
    objective: MeanLoss,
    reference: Theta,
    other: Theta,
    *,
    steps: int = 50,
    lr: float = 0.05,
    generator: torch.Generator | None = None,
) -> Alignment:
    r"""Permute ``other`` onto ``reference`` so that the loss half way between them is low; its function stays the same.

    `align` by weights maximizes a similarity and never sees the loss. Here a vector :math:`\hat\theta`, at first the
    reference, is what units are matched to: :math:`\pi = \arg\max_\pi \langle\hat\theta, \pi(\theta)\rangle`. The
    gradient of the loss at :math:`(\theta_{ref} + \pi(\theta))/2` moves it, as if the matching were the identity:

    .. math:: \hat\theta \leftarrow \hat\theta - \eta\, \|\theta_{ref}\|\, g / \|g\|.

    Parameters
    ----------
    objective
        The loss; its whole data are read.
    reference, other
        Two networks of its architecture: theta (P,), module or state dict. Running statistics are the objective's.
    steps
        How often the vector is moved.
    lr
        :math:`\eta`, the length of a step over that of the reference.
    generator
        Draws the order in which groups are visited; default: seeded with 0.

    Returns
    -------
    Alignment
        The best of all matchings seen, of which the first is that of `align` by weights: the loss half way is never
        above its. ``sweeps`` counts those of all matchings. Costs a matching, and two forward passes and a backward
        one over the data, each step.

    Raises
    ------
    ValueError
        For ``steps`` below 1, or an ``lr`` that is not above 0.
    SpaceError
        If a network does not belong to the architecture, naming the first difference.
    RuntimeError
        If the permuted network computes another function.

    Notes
    -----
    Ainsworth et al. 2023 (Git Re-Basin), section 3.3. Their gradient steps are those of Adam; a step of given length
    needs no rate that fits the size of a network's weights.
    """
    if steps < 1:
        raise ValueError(f"expected at least 1 step, got {steps}")
    if not lr > 0:
        raise ValueError(f"expected lr above 0, got {lr}")
    generator = generator or torch.Generator().manual_seed(0)
    pair = Pair.of(objective, reference, other)
    space, fixed = Ravel.of(pair.network), objective.ravel(reference)
    target = fixed.double().cpu()
    length = lr * float(target.norm())
    permutations, sweeps = best_descent(pair.symmetry, pair.matching, pair.scale, generator, restarts=1)
    best, least = permutations, torch.inf
    for step in range(steps + 1):
        permuted = space.ravel(pair.symmetry.permute(pair.other, permutations)).to(fixed)
        middle = (fixed + permuted) / 2
        if (loss := _value(objective, middle)) < least:
            best, least = permutations, loss
        if step == steps:
            break
        slope = objective.grad(middle).double().cpu()
        target = target - length * slope / slope.norm().clamp_min(torch.finfo(torch.float64).tiny)
        towards = {name: as_double(tensor) for name, tensor in space.unravel(target).items()}
        matching = matching_of_weights(pair.symmetry, {**pair.to, **towards}, pair.moving)
        permutations, more = matching.descend(permutations, generator, pair.scale)
        sweeps += more
    return pair.aligned(best, sweeps)


def _value(loss: MeanLoss, theta: Tensor) -> float:
    """Return the mean loss at theta."""
    with torch.no_grad():
        sums = [torch.stack(parts).sum(0) for parts in zip(*(loss.terms(theta, b) for b in loss.stream()), strict=True)]
        return float(loss.finish([part[None] for part in sums])["loss"][0])
