"""The local learning coefficient: how the volume of low loss around theta grows, by sampling."""

import math

import torch
import xarray as xr

from kdlandscape.cubes.chains import CONVERGED, convergence
from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.draws import seeded
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta
from kdlandscape.landscape.sampling import gaussian_prior, hmc, posterior_energy


def learning_coefficient(
    objective: MeanLoss,
    theta: Theta,
    *,
    localization: float = 1.0,
    temperature: float | None = None,
    num_examples: float | None = None,
    num_chains: int = 4,
    num_draws: int = 500,
    num_warmup: int = 500,
    num_steps: int = 8,
    generator: torch.Generator | None = None,
) -> xr.Dataset:
    r"""Estimate :math:`\hat\lambda = \frac{n}{T} \left( \mathbb{E}[L(w)] - L(\theta) \right)` around a minimum theta.

    The mean is over :math:`p(w) \propto \exp(-\frac{n}{T} L(w) - \frac{\gamma}{2} \|w - \theta\|^2)`, with
    :math:`T = \log n`. For a regular model this tends to P/2; for singular ones, such as networks, to a smaller number,
    the real log canonical threshold. The chains are Metropolis-adjusted and use all data, so that no bias of a step
    size or of batches is left, as in SGLD; each finds its step size during the warm-up.

    Parameters
    ----------
    objective, theta
        A loss in nats, and a minimum of it: elsewhere the estimate can be negative.
    localization
        γ, which holds the chains near theta.
    temperature, num_examples
        T and n; default: log n, and the examples of the objective.
    num_chains, num_draws, num_warmup, num_steps
        As for `kdlandscape.landscape.sampling.hmc`; ``num_steps=1`` gives Langevin chains.
    generator
        Draws the chains; default: seed 0.

    Returns
    -------
    xarray.Dataset
        ``learning_coefficient`` and its ``_sem`` (spread over the square root of the effective number of draws),
        ``r_hat`` and ``ess`` of the loss, ``converged`` (R-hat below 1.05), ``chain_coefficient``, ``acceptance`` and
        ``step_size`` over ``chain``.

    Raises
    ------
    ValueError
        A loss that is not in nats, or n and T that do not temper (n of at least 3).
    RuntimeError
        Chains that diverge.

    References
    ----------
    Lau et al., The local learning coefficient, 2023, definition 2; Watanabe, A widely applicable Bayesian information
    criterion, 2013, theorem 4.
    """
    loss, point = objective.at(theta)
    n = float(loss.num_examples if num_examples is None else num_examples)
    if n < 3 or (temperature is not None and not temperature > 0):
        raise ValueError(f"expected at least 3 examples and a positive temperature, got {n:g} and {temperature}")
    tempered = math.log(n) if temperature is None else temperature
    prior = gaussian_prior(localization, point)
    energy = posterior_energy(loss, prior, num_examples=n, temperature=tempered)
    chains = hmc(
        energy,
        point.expand(num_chains, -1).clone(),
        num_draws=num_draws,
        num_warmup=num_warmup,
        num_steps=num_steps,
        generator=seeded(generator, loss.device),
    )
    held = localization / 2 * (chains.thetas - point).square().sum(-1)
    start = energy(point[None])[0][0]
    # U(w) - U(theta) = n/T (L(w) - L(theta)) + gamma/2 |w - theta|^2, so the loss needs no further pass
    rises = (chains.energies - start - held).double().T.cpu()
    told = convergence(variable(("chain", "draw"), rises, "rise of the loss, times n over T"))
    sem = float(rises.std()) / max(float(told["ess"]), 1.0) ** 0.5
    found: dict[str, xr.Variable | xr.DataArray] = {
        "learning_coefficient": variable((), float(rises.mean()), "local learning coefficient"),
        "learning_coefficient_sem": variable((), sem, "standard error of the local learning coefficient"),
        "converged": variable((), bool(told["r_hat"] < CONVERGED), f"whether R-hat is below {CONVERGED}"),
        "chain_coefficient": variable("chain", rises.mean(1), "local learning coefficient of each chain"),
        "acceptance": variable("chain", chains.acceptance.cpu(), "mean acceptance of the moves"),
        "step_size": variable("chain", chains.step_size.cpu(), "step size found in the warm-up"),
        **{str(name): told[name] for name in told.data_vars},
    }
    facts = {"num_examples": n, "temperature": tempered, "localization": localization}
    return dataset(found, {"chain": range(num_chains)}, num_parameters=loss.dim, **facts)
