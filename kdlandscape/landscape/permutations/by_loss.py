"""Permute the units of one network so that the loss half way to another is low."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from kdlandscape.landscape.evaluation.points import gradient, value
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Ravel, Theta
from kdlandscape.landscape.permutations.alignment import (
    Alignment,
    Pair,
    best_descent,
    matching_of_weights,
)
from kdlandscape.landscape.permutations.forward import as_double
from kdlandscape.landscape.permutations.sinkhorn import Soft
from kdlandscape.nearest import did_you_mean

#: The gradient of the loss half way between the reference and a state of the other network.
Slope = Callable[[dict[str, Tensor]], Tensor]


def align_by_loss(
    objective: MeanLoss,
    reference: Theta,
    other: Theta,
    *,
    method: str = "straight_through",
    steps: int = 50,
    lr: float = 0.05,
    generator: torch.Generator | None = None,
) -> Alignment:
    r"""Permute ``other`` onto ``reference`` so that the loss half way between them is low; its function stays the same.

    `align` by weights maximizes a similarity and never sees the loss. Two relaxations let the gradient of the loss
    choose among permutations, of which there is no gradient:

    ``straight_through``
        A vector :math:`\hat\theta`, at first the reference, is what units are matched to: :math:`\pi = \arg\max_\pi
        \langle\hat\theta, \pi(\theta)\rangle`. The gradient g of the loss at
        :math:`(\theta_{ref} + \pi(\theta))/2` moves it, as if the matching were the identity:
        :math:`\hat\theta \leftarrow \hat\theta - \eta\, \|\theta_{ref}\|\, g / \|g\|`.
    ``sinkhorn``
        Every group of n units has a matrix X, and :math:`P = S(X)`, doubly stochastic, mixes its units; S divides the
        rows and columns of :math:`e^X` by their sums in turns. Adam moves X by the gradient of the loss at
        :math:`(\theta_{ref} + P(\theta))/2`, with steps of :math:`\eta \log n`; at first half of each unit lies where
        `align` by weights has it. The matching is :math:`\arg\max_\pi \langle X, \pi\rangle`.

    Parameters
    ----------
    objective
        The loss; its whole data are read.
    reference, other
        Two networks of its architecture: theta (P,), module or state dict. Running statistics are the objective's.
    method
        The relaxation.
    steps
        How often the gradient is followed.
    lr
        :math:`\eta`.
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
        For an unknown method, ``steps`` below 1, or an ``lr`` that is not above 0.
    SpaceError
        If a network does not belong to the architecture, naming the first difference.
    RuntimeError
        If the permuted network computes another function.

    Notes
    -----
    Straight through: Ainsworth et al. 2023 (Git Re-Basin), section 3.3. Their gradient steps are those of Adam; a step
    of given length needs no rate that fits the size of a network's weights. Sinkhorn: Peña et al. 2023
    (Re-basin via implicit Sinkhorn differentiation), section 3, with the loss at the midpoint; here the rounds of S are
    differentiated one by one.
    """
    if method not in RELAXATIONS:
        known = ", ".join(RELAXATIONS)
        raise ValueError(f"expected method to be one of {known}; got {method!r}.{did_you_mean(method, RELAXATIONS)}")
    if steps < 1:
        raise ValueError(f"expected at least 1 step, got {steps}")
    if not lr > 0:
        raise ValueError(f"expected lr above 0, got {lr}")
    generator = generator or torch.Generator().manual_seed(0)
    pair = Pair.of(objective, reference, other)
    space, fixed = Ravel.of(pair.network), objective.ravel(reference)

    def half_way(state: dict[str, Tensor]) -> Tensor:
        return (fixed + space.ravel(state).to(fixed)) / 2

    def slope(state: dict[str, Tensor]) -> Tensor:
        return gradient(objective, half_way(state)).double().cpu()

    start, sweeps = best_descent(pair.symmetry, pair.matching, pair.scale, generator, restarts=1)
    best, least = start, torch.inf
    for permutations, more in RELAXATIONS[method](pair, space, start, slope, steps, lr, generator):
        sweeps += more
        loss = float(value(objective, half_way(pair.symmetry.permute(pair.other, permutations))))
        if loss < least:
            best, least = permutations, loss
    return pair.aligned(best, sweeps)


def _straight_through(
    pair: Pair,
    space: Ravel,
    permutations: dict[str, Tensor],
    slope: Slope,
    steps: int,
    lr: float,
    generator: torch.Generator,
) -> Iterator[tuple[dict[str, Tensor], int]]:
    """Yield the matching at the start and after each step, and the sweeps that it took."""
    yield permutations, 0
    target = space.ravel(pair.to)
    length = lr * float(target.norm())
    for _ in range(steps):
        g = slope(pair.symmetry.permute(pair.other, permutations))
        target = target - length * g / g.norm().clamp_min(torch.finfo(torch.float64).tiny)
        towards = {name: as_double(tensor) for name, tensor in space.unravel(target).items()}
        matching = matching_of_weights(pair.symmetry, {**pair.to, **towards}, pair.moving)
        permutations, sweeps = matching.descend(permutations, generator, pair.scale)
        yield permutations, sweeps


def _sinkhorn(
    pair: Pair,
    space: Ravel,
    permutations: dict[str, Tensor],
    slope: Slope,
    steps: int,
    lr: float,
    generator: torch.Generator,  # nothing is drawn
) -> Iterator[tuple[dict[str, Tensor], int]]:
    """Yield the matching at the start and after each step, and the sweeps that it took, none."""
    yield permutations, 0
    soft = Soft(pair.symmetry, permutations, lr)
    for _ in range(steps):
        g = slope(soft.mixed(pair.moving))
        by_name = {name: as_double(tensor) for name, tensor in space.unravel(g).items()}
        soft.follow(matching_of_weights(pair.symmetry, {**pair.to, **by_name}, pair.moving).blocks)
        yield soft.nearest(), 0


RELAXATIONS = {"straight_through": _straight_through, "sinkhorn": _sinkhorn}
