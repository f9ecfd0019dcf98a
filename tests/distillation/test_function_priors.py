"""Priors over functions against the closed form of wide networks, and planted agreements."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import nn

from kdlandscape.distillation import networks
from kdlandscape.distillation.function_priors import (
    mutual_agreement,
    on_sphere,
    output_correlation,
    pairs_at,
    prior_weights,
    relu_correlation,
)

COSINES = [-0.9, 0.0, 0.5, 0.95, 1.0]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_pairs_have_their_norm_and_their_cosine():
    pairs = pairs_at(draw(7, 12), COSINES)
    assert pairs.shape == (5, 2, 7, 12)
    np.testing.assert_allclose(pairs.norm(dim=-1), 12**0.5)
    np.testing.assert_allclose((pairs[:, 0] * pairs[:, 1]).sum(-1) / 12, np.repeat([COSINES], 7, 0).T, atol=1e-12)


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_the_closed_form_is_the_gaussian_integral_of_each_layer(bias):
    """E[relu(u) relu(v)] of a bivariate normal, by quadrature in polar coordinates of u and the rest of v."""

    def layer(same, across):
        rho = across / same

        def integrand(v, u):
            return max(u, 0) * max(rho * u + math.sqrt(1 - rho**2) * v, 0) * math.exp(-(u**2 + v**2) / 2)

        return (
            same
            * integrate.dblquad(integrand, 0, 8, lambda u: max(-8, -rho * u / math.sqrt(1 - rho**2)), 8)[0]
            / (2 * math.pi)
        )

    same, across = 1.5 + bias, 1.5 * 0.4 + bias
    for _ in range(2):
        across = bias + 1.5 * layer(same, across)
        same = bias + 1.5 * same / 2
    found = relu_correlation([0.4], 2, weight_variance=1.5, bias_variance=bias)
    assert float(found) == pytest.approx(across / same, rel=1e-6)


@pytest.mark.parametrize(("depth", "prior"), [(1, "gaussian"), (2, "gaussian"), (1, "laplace")])
def test_wide_relu_networks_correlate_as_the_closed_form_says(depth, prior):
    network = networks.mlp(8, 10, width=256, depth=depth)
    thetas = prior_weights(network, 100, prior=prior, bias_variance=0.1, generator=torch.Generator().manual_seed(0))
    found = output_correlation(network, thetas, pairs_at(draw(20, 8).float(), COSINES))
    np.testing.assert_allclose(found, relu_correlation(COSINES, depth, bias_variance=0.1), atol=0.04)
    assert float(found[-1]) == pytest.approx(1.0)


@pytest.mark.parametrize("prior", ["gaussian", "laplace"])
def test_weights_have_the_variance_of_their_prior_and_the_tails_of_their_kind(prior):
    network = nn.Linear(50, 40).double()
    thetas = prior_weights(
        network, 100, prior=prior, weight_variance=3.0, bias_variance=0.5, generator=torch.Generator().manual_seed(1)
    )
    weights, biases = thetas[:, :2000], thetas[:, 2000:]
    assert float(weights.var()) == pytest.approx(3 / 50, rel=0.03)
    assert float(biases.var()) == pytest.approx(0.5, rel=0.12)
    kurtosis = float(weights.pow(4).mean() / weights.var() ** 2)
    assert kurtosis == pytest.approx({"gaussian": 3.0, "laplace": 6.0}[prior], rel=0.08)


def test_functions_agree_with_themselves_and_unrelated_ones_as_often_as_chance():
    z = draw(4, 3000, 5)
    found = mutual_agreement(z, z)
    assert (found.diagonal() == 1).all()
    off = found[~torch.eye(4, dtype=torch.bool)]
    np.testing.assert_allclose(off, 0.2, atol=4 * (0.2 * 0.8 / 3000) ** 0.5)


def test_what_has_no_prior_or_no_pairs_is_refused():
    generator = torch.Generator()
    with pytest.raises(ValueError, match=r"weights of layers and biases, got '1.weight'"):
        prior_weights(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), 2, generator=generator)
    with pytest.raises(ValueError, match="a prior over weights of gaussian, laplace; got 'flat'"):
        prior_weights(nn.Linear(3, 4), 2, prior="flat", generator=generator)
    with pytest.raises(ValueError, match="weight_variance above 0"):
        prior_weights(nn.Linear(3, 4), 2, weight_variance=0.0, generator=generator)
    with pytest.raises(ValueError, match="cosines between -1 and 1"):
        pairs_at(draw(3, 4), [1.5])
    with pytest.raises(ValueError, match="not parallel to the next"):
        pairs_at(torch.ones(3, 4), [0.5])
    assert float(on_sphere(draw(3, 4)).norm(dim=1).min()) == pytest.approx(2.0)
