"""Gaussians in place of a posterior, against posteriors that are Gaussian and sums written out."""

import numpy as np
import pytest
import torch
from torch import nn

import kdlandscape as kdl
from kdlandscape.distillation import linearized_logits
from kdlandscape.landscape import GaussianPosterior, gaussian_prior, hmc, laplace, posterior_energy, swag
from tests.landscape.test_sampling import regression, seeded


def test_the_laplace_approximation_of_a_gaussian_posterior_is_that_posterior():
    objective, x, y = regression()
    precision = x.T @ x + 2 * torch.eye(4, dtype=torch.float64)
    mode = torch.linalg.solve(precision, x.T @ y)
    found = laplace(objective, mode, 2.0)
    assert torch.equal(found.mean, mode)
    np.testing.assert_allclose(found.root @ found.root.T, torch.linalg.inv(precision), rtol=1e-9, atol=1e-12)
    assert not found.variance.any()


def test_a_well_determined_network_has_the_laplace_approximation_that_chains_find():
    """Logistic regression with many examples, whose posterior is nearly Gaussian around its maximum."""
    x = torch.randn(300, 2, generator=seeded(), dtype=torch.float64)
    y = (x[:, 0] + torch.randn(300, generator=seeded(1), dtype=torch.float64) > 0).long()
    objective = kdl.Objective(nn.Linear(2, 2, bias=False).double(), nn.CrossEntropyLoss(), (x, y))
    theta = torch.zeros(4, dtype=torch.float64)
    for _ in range(20):  # Newton
        curvature = 300 * (kdl.hessian(objective, theta) @ torch.eye(4, dtype=torch.float64)) + torch.eye(4)
        theta = theta - torch.linalg.solve(curvature, 300 * objective.grad(theta) + theta)
    found = laplace(objective, theta, 1.0)
    energy = posterior_energy(objective, gaussian_prior(1.0))
    chains = hmc(energy, theta.expand(32, -1).clone(), num_draws=100, num_warmup=60, num_steps=6, generator=seeded(2))
    covariance = found.root @ found.root.T
    scale = covariance.diagonal().sqrt()
    error = (chains.thetas.reshape(-1, 4).T.cov() - covariance) / scale / scale[:, None]
    assert float(error.abs().max()) < 0.15


def test_swag_is_the_mean_with_half_the_diagonal_and_half_the_low_rank_covariance():
    iterates = torch.randn(12, 3, generator=seeded(), dtype=torch.float64)
    found = swag(iterates, rank=5)
    own = iterates.numpy()
    last = own[-5:] - own.mean(0)
    expected = np.diag((own**2).mean(0) - own.mean(0) ** 2) / 2 + last.T @ last / (2 * 4)
    covariance = found.root @ found.root.T + found.variance.diag()
    np.testing.assert_allclose(found.mean, own.mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance, expected, rtol=1e-10)
    draws = found.draw(20000, seeded(1))
    np.testing.assert_allclose(draws.T.cov(), expected, atol=0.05)
    np.testing.assert_allclose(draws.mean(0), found.mean, atol=0.03)


def test_draws_repeat_themselves_by_their_generator():
    gaussian = GaussianPosterior(torch.zeros(3), torch.eye(3)[:, :2], torch.ones(3))
    assert torch.equal(gaussian.draw(4, seeded()), gaussian.draw(4, seeded()))


def test_linearized_outputs_are_the_value_plus_the_jacobian_times_the_move():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(5, 3, generator=seeded(), dtype=torch.float64)
    objective = kdl.Objective(model, nn.CrossEntropyLoss(), (x, torch.zeros(5, dtype=torch.long)))
    theta, moves = objective.theta, torch.randn(2, objective.dim, generator=seeded(1), dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda at: objective.outputs(at, x))(theta)
    expected = objective.predict(theta) + torch.einsum("ncp,kp->knc", jacobian, moves)
    np.testing.assert_allclose(linearized_logits(model, theta, theta + moves, x), expected, rtol=1e-10, atol=1e-12)


def test_what_has_no_such_gaussian_is_refused():
    objective, x, y = regression()
    with pytest.raises(ValueError, match="positive prior precision, got 0"):
        laplace(objective, objective.theta, 0.0)
    squared = kdl.Objective(objective.model, lambda z, t: (z[:, 0] - t) ** 2, (x, y))
    with pytest.raises(ValueError, match="negative log likelihood, got unit '1'"):
        laplace(squared, objective.theta, 1.0)
    wide = kdl.Objective(nn.Linear(64, 64), nn.MSELoss(), (torch.zeros(2, 64), torch.zeros(2, 64)), units="nat")
    with pytest.raises(ValueError, match="at most 4000 parameters, got 4160"):
        laplace(wide, wide.theta, 1.0)
    with pytest.raises(ValueError, match=r"rank between 2 and S, got \(4, 3\) and rank 5"):
        swag(torch.zeros(4, 3), rank=5)
