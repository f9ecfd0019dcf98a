"""Draws from a density over weights: Hamiltonian Monte Carlo, many chains as one batched program."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from kdlandscape.landscape.draws import normal
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.replay import traced

#: Weights (C, P) -> energies (C,), minus the logarithm of the density up to a constant, and their gradients (C, P).
Energy = Callable[[Tensor], tuple[Tensor, Tensor]]
#: Weights (P,) -> the logarithm of the prior density up to a constant, a differentiable scalar.
Prior = Callable[[Tensor], Tensor]

LARGEST_ERROR = 1000.0  # of the energy along a trajectory: beyond it the step has left the region of stability
LEAST_ACCEPTANCE = 0.1
# Dual averaging of the step size, with the constants of Hoffman and Gelman 2014, section 3.2.1.
_GAMMA, _DELAY, _KAPPA = 0.05, 10.0, 0.75


class Chains(NamedTuple):
    """Draws of C chains.

    ``thetas`` (D, C, P) and ``energies`` (D, C) of the kept draws; for each chain (C,) its ``acceptance`` (mean
    probability after the warm-up), its ``step_size``, and how many of its moves were ``divergent``.
    """

    thetas: Tensor
    energies: Tensor
    acceptance: Tensor
    step_size: Tensor
    divergent: Tensor


def gaussian_prior(precision: float | Tensor, center: float | Tensor = 0.0) -> Prior:
    r"""Return :math:`\log p(\theta) = -\frac12 \sum_i a_i (\theta_i - c_i)^2`, with one precision or one a weight."""
    if not bool((torch.as_tensor(precision) > 0).all()):
        raise ValueError(f"expected a positive prior precision, got {precision}: without it there is no posterior")
    return lambda theta: -(precision * (theta - center) ** 2).sum() / 2


def posterior_energy(
    objective: MeanLoss, prior: Prior | None, *, num_examples: float | None = None, temperature: float = 1.0
) -> Energy:
    r"""Return :math:`U(\theta) = n L(\theta) / T - \log p(\theta)`, minus the log posterior, for many θ at once.

    Parameters
    ----------
    objective
        Its loss has to be a negative log likelihood: the mean over n examples, in nats.
    prior
        The logarithm of the prior density; see `gaussian_prior`.
    num_examples
        n; default: those of the objective.
    temperature
        T of the likelihood; 1 is the posterior.

    Raises
    ------
    ValueError
        No prior, or a loss that is not in nats.
    """
    if prior is None:
        raise ValueError(
            "expected a prior, got None: a likelihood alone is no density over weights, for a network's has no finite "
            "integral; give gaussian_prior(precision), or a function of theta (P,)"
        )
    refuse_other_losses(objective)
    count = objective.num_examples if num_examples is None else num_examples
    batches = list(objective.stream())

    def one(theta: Tensor) -> Tensor:
        sums = [objective.reduced(theta, batch) for batch in batches]
        mean = sum(part.total for part in sums) / sum(part.weight for part in sums)
        return count / temperature * mean - prior(theta)

    program = traced(vmap(grad_and_value(one)))

    def energy(thetas: Tensor) -> tuple[Tensor, Tensor]:
        slopes, values = program(thetas)
        return values, slopes

    return energy


def refuse_other_losses(objective: MeanLoss) -> None:
    """Raise ValueError for a loss that is not in nats: a posterior of it means nothing."""
    if objective.units != "nat":
        raise ValueError(
            f"expected a loss in nats, a negative log likelihood, got unit {objective.units!r}: a posterior of another "
            "loss means nothing; give Objective(..., units='nat') if it is one"
        )


def hmc(
    energy: Energy,
    starts: Tensor,
    *,
    num_draws: int,
    num_warmup: int,
    num_steps: int = 10,
    acceptance: float = 0.8,
    thin: int = 1,
    generator: torch.Generator,
) -> Chains:
    r"""Draw from :math:`e^{-U(\theta)}` by Hamiltonian Monte Carlo with a Metropolis step; all chains at once.

    Each move draws a momentum and follows about ``num_steps`` leapfrog steps (drawn between half and one and a half of
    it, so that no orbit closes). Each chain finds its own step size during the warm-up by dual averaging towards the
    mean ``acceptance``. With ``num_steps=1`` these are Langevin chains (MALA), exact where SGLD has a bias of its step.

    Parameters
    ----------
    energy
        Energies and gradients of many θ; see `posterior_energy`.
    starts
        (C, P); far apart, so that the chains can show that they have forgotten them.
    num_draws, num_warmup, thin
        Kept draws a chain; moves before them; moves between two kept draws, 1: each is kept.
    num_steps, acceptance
        As above.
    generator
        Draws momenta, lengths and acceptances.

    Returns
    -------
    Chains
        Costs (num_warmup + thin num_draws) num_steps gradients a chain.

    Raises
    ------
    ValueError
        Starts that are no (C, P), or whose energy is not finite.
    RuntimeError
        Chains that diverge: the first chain that accepts less than a tenth of its moves.

    References
    ----------
    Neal, MCMC using Hamiltonian dynamics, 2011; Hoffman and Gelman, The No-U-Turn Sampler, 2014, algorithms 4 and 5.
    """
    if starts.ndim != 2 or min(num_draws, num_warmup, num_steps, thin) < 1:
        raise ValueError(f"expected starts (C, P) and counts of at least 1, got starts {tuple(starts.shape)}")
    point = _State(starts, *energy(starts))
    if not bool(torch.isfinite(point.energy).all()):
        raise ValueError(f"expected starts of finite energy, got {point.energy.tolist()}: start elsewhere")
    step = _first_step(energy, point, generator)
    adapted = _DualAveraging(step, acceptance)
    kept, energies = [], []
    accepted, divergent = torch.zeros_like(step), torch.zeros_like(step)
    for move in range(num_warmup + thin * num_draws):
        length = 1 + int(num_steps * (torch.rand((), generator=generator, device=generator.device) + 0.5) - 0.5)
        point, probability, broken = _move(energy, point, adapted.step, length if num_steps > 1 else 1, generator)
        if move < num_warmup:
            adapted.learn(probability, last=move == num_warmup - 1)
            continue
        accepted, divergent = accepted + probability, divergent + broken
        if (move - num_warmup + 1) % thin == 0:
            kept.append(point.theta)
            energies.append(point.energy)
    accepted = accepted / (thin * num_draws)
    _refuse(accepted, divergent, thin * num_draws)
    return Chains(torch.stack(kept), torch.stack(energies), accepted, adapted.step, divergent.long())


class _State(NamedTuple):
    """Where the chains are: weights (C, P), energies (C,), gradients (C, P)."""

    theta: Tensor
    energy: Tensor
    slope: Tensor


class _DualAveraging:
    """The step size of each chain, which follows the acceptance of its moves."""

    def __init__(self, step: Tensor, acceptance: float) -> None:
        self.step, self._acceptance = step, acceptance
        self._goal = (10 * step).log()
        self._mean, self._excess, self._count = torch.zeros_like(step), torch.zeros_like(step), 0

    def learn(self, probability: Tensor, *, last: bool) -> None:
        """Take in the acceptance probability (C,) of one move; the last one leaves the averaged step."""
        self._count += 1
        share = 1 / (self._count + _DELAY)
        self._excess = (1 - share) * self._excess + share * (self._acceptance - probability)
        log = self._goal - math.sqrt(self._count) / _GAMMA * self._excess
        weight = self._count**-_KAPPA
        self._mean = weight * log + (1 - weight) * self._mean
        self.step = (self._mean if last else log).exp()


def _move(
    energy: Energy, at: _State, step: Tensor, length: int, generator: torch.Generator
) -> tuple[_State, Tensor, Tensor]:
    """Follow one trajectory and accept or reject it: the new state, acceptance (C,), and whether it diverged (C,)."""
    momentum = normal(len(at.theta), at.theta[0], generator)
    end, momentum_end = _leapfrog(energy, at, momentum, step, length)
    error = end.energy + momentum_end.square().sum(1) / 2 - at.energy - momentum.square().sum(1) / 2
    broken = ~(error < LARGEST_ERROR)  # NaN counts as broken too
    probability = torch.where(broken, torch.zeros_like(error), (-error).clamp(max=0.0).exp())
    draw = torch.rand(len(error), generator=generator, device=generator.device, dtype=error.dtype).to(error.device)
    taken = draw < probability
    parts = zip(at, end, strict=True)
    return _State(*(torch.where(taken.view(-1, *[1] * (a.ndim - 1)), b, a) for a, b in parts)), probability, broken


def _leapfrog(energy: Energy, at: _State, momentum: Tensor, step: Tensor, length: int) -> tuple[_State, Tensor]:
    size = step[:, None]
    theta, momentum = at.theta, momentum - size / 2 * at.slope
    for i in range(length):
        theta = theta + size * momentum
        value, slope = energy(theta)
        momentum = momentum - (size if i < length - 1 else size / 2) * slope
    return _State(theta, value, slope), momentum


def _first_step(energy: Energy, at: _State, generator: torch.Generator) -> Tensor:
    """Double or halve each chain's step until a leapfrog step's acceptance crosses one half."""
    step = torch.full_like(at.energy, 0.1)
    momentum = normal(len(at.theta), at.theta[0], generator)
    direction = None
    for _ in range(60):
        end, after = _leapfrog(energy, at, momentum, step, 1)
        gain = at.energy + momentum.square().sum(1) / 2 - end.energy - after.square().sum(1) / 2
        above = gain > math.log(0.5)  # NaN is not above
        direction = torch.where(above, 1.0, -1.0).to(step) if direction is None else direction
        going = above == (direction > 0)
        if not bool(going.any()):
            break
        step = torch.where(going, step * 2.0**direction, step)
    return step


def _refuse(accepted: Tensor, divergent: Tensor, moves: int) -> None:
    bad = (~(accepted >= LEAST_ACCEPTANCE)).nonzero().flatten().tolist()
    if bad:
        chain = bad[0]
        raise RuntimeError(
            f"chain {chain} of {len(accepted)} diverges: it accepts {float(accepted[chain]):.1%} of its moves and "
            f"{int(divergent[chain])} of {moves} leave the region where the energy is finite; give a longer warm-up, a "
            "stronger prior, or a start nearer to where the density is"
        )
