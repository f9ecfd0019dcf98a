"""Chains against densities that are known, and against another sampler."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import kdlandscape as kdl
from kdlandscape.cubes import convergence
from kdlandscape.landscape import gaussian_prior, hmc, posterior_energy


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def regression(n=30, p=4):
    """Return a linear regression with unit noise, and its data; with a Gaussian prior its posterior is Gaussian."""
    x = torch.randn(n, p, generator=seeded(), dtype=torch.float64)
    y = x @ torch.linspace(-1, 1, p, dtype=torch.float64) + torch.randn(n, generator=seeded(1), dtype=torch.float64)
    model = nn.Linear(p, 1, bias=False).double()
    return kdl.Objective(model, lambda z, t: (z[:, 0] - t) ** 2 / 2, (x, y), units="nat"), x, y


def chain_dims(values):
    return xr.Variable(("draw", "chain", *(f"d{i}" for i in range(values.ndim - 2))), values)


def test_the_chains_of_a_gaussian_posterior_have_its_mean_and_covariance():
    objective, x, y = regression()
    precision = x.T @ x + 2 * torch.eye(4, dtype=torch.float64)
    mean, covariance = torch.linalg.solve(precision, x.T @ y), torch.linalg.inv(precision)
    energy = posterior_energy(objective, gaussian_prior(2.0))
    starts = 3 * torch.randn(16, 4, generator=seeded(2), dtype=torch.float64)
    chains = hmc(energy, starts, num_draws=150, num_warmup=100, num_steps=5, generator=seeded(3))
    told = convergence(chain_dims(chains.thetas.numpy()))
    assert float(told["r_hat"].max()) < 1.02
    draws = chains.thetas.reshape(-1, 4)
    sem = draws.std(0) / torch.as_tensor(told["ess"].values).sqrt()
    assert ((draws.mean(0) - mean).abs() < 4 * sem).all()
    np.testing.assert_allclose(draws.T.cov(), covariance, atol=0.1 * float(covariance.max()))
    assert (chains.acceptance - 0.8).abs().max() < 0.15
    assert int(chains.divergent.sum()) == 0


def test_energies_are_those_of_the_draws_and_each_chain_is_a_pure_function_of_its_generator():
    objective, *_ = regression()
    energy = posterior_energy(objective, gaussian_prior(1.0))
    settings = {"num_draws": 30, "num_warmup": 30, "num_steps": 3, "thin": 2}
    first, second = (hmc(energy, torch.zeros(2, 4).double(), generator=seeded(5), **settings) for _ in range(2))
    assert torch.equal(first.thetas, second.thetas)
    theta = first.thetas[7, 1]
    expected = 30 * objective.value(theta) + theta.square().sum() / 2
    assert float(first.energies[7, 1]) == pytest.approx(float(expected), rel=1e-12)


def test_a_network_has_the_posterior_that_the_no_u_turn_sampler_of_pyro_finds():
    """Function values of a small network, by another sampler with its own gradients."""
    from pyro.infer.mcmc import MCMC, NUTS

    x = torch.linspace(-2, 2, 12, dtype=torch.float64)[:, None]
    y = (x[:, 0] > 0.3).long()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    objective = kdl.Objective(model, nn.CrossEntropyLoss(), (x, y))
    starts = torch.randn(16, objective.dim, generator=seeded(0), dtype=torch.float64)
    energy = posterior_energy(objective, gaussian_prior(1.0))
    ours = hmc(energy, starts, num_draws=150, num_warmup=100, num_steps=8, generator=seeded(1)).thetas

    def potential(parameters):
        w = parameters["w"]
        hidden = torch.tanh(x @ w[:3].view(3, 1).T + w[3:6])
        z = hidden @ w[6:12].view(2, 3).T + w[12:]
        return nn.functional.cross_entropy(z, y, reduction="sum") + w.square().sum() / 2

    with torch.random.fork_rng():
        torch.manual_seed(0)
        kernel = NUTS(potential_fn=potential)
        sampler = MCMC(kernel, 300, 100, initial_params={"w": starts[0]}, disable_progbar=True)
        sampler.run()
    theirs = sampler.get_samples()["w"]

    def chances(thetas):
        return torch.stack([objective.predict(theta).softmax(-1)[:, 1] for theta in thetas])

    a, b = chances(ours[::3].reshape(-1, objective.dim)), chances(theirs)
    told = convergence(chain_dims(a.view(50, 16, 12).numpy()))
    assert float(told["r_hat"].max()) < 1.05
    sem = (a.var(0) / torch.as_tensor(told["ess"].values) + b.var(0) / 60).sqrt()
    assert ((a.mean(0) - b.mean(0)).abs() < 4 * sem).all()
    assert float((a.mean(0) - b.mean(0)).abs().max()) < 0.06


def test_the_error_by_effective_draws_covers_the_mean_as_often_as_it_says():
    """A Gaussian whose scales differ by 5, over 50 seeds: two standard errors hold in about 95 %."""
    scale = torch.tensor([1.0, 5.0], dtype=torch.float64)

    def energy(thetas):
        return (thetas / scale).square().sum(1) / 2, thetas / scale**2

    inside = []
    for seed in range(50):
        chains = hmc(
            energy, torch.zeros(8, 2).double(), num_draws=80, num_warmup=50, num_steps=2, generator=seeded(seed)
        )
        told = convergence(chain_dims(chains.thetas.numpy()))
        draws = chains.thetas.reshape(-1, 2)
        sem = draws.std(0) / torch.as_tensor(told["ess"].values).sqrt()
        inside.append(draws.mean(0).abs() < 2 * sem)
    assert 0.86 <= float(torch.stack(inside).double().mean()) <= 1.0


def test_chains_in_two_wells_that_do_not_meet_have_a_large_r_hat():
    def energy(thetas):
        x = thetas[:, 0]
        return 50 * (x**2 - 1) ** 2, (200 * x * (x**2 - 1))[:, None]

    starts = torch.tensor([[-1.0], [1.0], [-1.0], [1.0]], dtype=torch.float64)
    chains = hmc(energy, starts, num_draws=100, num_warmup=100, num_steps=3, generator=seeded())
    assert float(convergence(chain_dims(chains.thetas.numpy()))["r_hat"][0]) > 1.5


def test_convergence_keeps_further_dims_and_says_what_is_missing_or_constant():
    values = np.random.default_rng(0).standard_normal((3, 2, 50))
    values[1] = 7.0
    values[2, 0, 0] = np.nan
    told = convergence(xr.DataArray(values, {"place": ["a", "b", "c"]}, ("place", "chain", "draw")))
    assert told["r_hat"].dims == ("place",)
    assert abs(float(told["r_hat"].sel(place="a")) - 1) < 0.05
    assert float(told["r_hat"].sel(place="b")) == 1.0
    assert np.isnan(told["ess"].sel(place="c"))
    with pytest.raises(ValueError, match="at least 2 chains and 4 draws"):
        convergence(xr.Variable(("chain", "draw"), np.zeros((1, 50))))


def test_without_a_prior_or_a_likelihood_there_is_no_posterior():
    objective, x, y = regression()
    with pytest.raises(ValueError, match="expected a prior, got None"):
        posterior_energy(objective, None)
    with pytest.raises(ValueError, match="positive prior precision, got 0"):
        gaussian_prior(0.0)
    squared = kdl.Objective(objective.model, lambda z, t: (z[:, 0] - t) ** 2, (x, y))
    with pytest.raises(ValueError, match="negative log likelihood, got unit '1'"):
        posterior_energy(squared, gaussian_prior(1.0))


def test_chains_that_diverge_are_refused_by_number():
    def cliff(thetas):  # finite nowhere but at the start
        return torch.where(thetas[:, 0] == 0, 0.0, torch.inf).double(), torch.ones_like(thetas)

    with pytest.raises(RuntimeError, match=r"chain 0 of 2 diverges: it accepts 0.0% of its moves"):
        hmc(cliff, torch.zeros(2, 1).double(), num_draws=5, num_warmup=5, generator=seeded())
    with pytest.raises(ValueError, match="starts of finite energy"):
        hmc(cliff, torch.ones(2, 1).double(), num_draws=5, num_warmup=5, generator=seeded())
    with pytest.raises(ValueError, match=r"starts \(C, P\)"):
        hmc(cliff, torch.zeros(1).double(), num_draws=5, num_warmup=5, generator=seeded())
