"""The local learning coefficient where it is known: monomials, regular models, deep linear networks."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import kdlandscape as kdl
from kdlandscape.cubes.schema import check

FAST = {"num_chains": 24, "num_draws": 100, "num_warmup": 100, "num_steps": 5}


class Monomial(nn.Module):
    """The output is a product of powers of the weights, whatever the input."""

    def __init__(self, powers):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(len(powers), dtype=torch.float64))
        self.powers = torch.tensor(powers)

    def forward(self, x):
        return (self.w**self.powers).prod().expand(len(x), 1)


def half_square(z, t):
    return (z - t).square().sum(-1) / 2


def monomial(powers):
    data = torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64)
    return kdl.Objective(Monomial(powers), half_square, data, units="nat")


def by_quadrature(powers, n, localization):
    """Return n/T E[L] under the localized, tempered density, on a fine grid."""
    axis = np.linspace(-8, 8, 4001 if len(powers) == 1 else 1601) / np.sqrt(localization)
    w = np.meshgrid(*[axis] * len(powers))
    scaled = n / np.log(n) * np.prod([one**power for one, power in zip(w, powers, strict=True)], 0) ** 2 / 2
    density = np.exp(-scaled - localization / 2 * np.sum(np.square(w), 0))
    return (scaled * density).sum() / density.sum()


@pytest.mark.parametrize("powers", [[1], [2], [3], [1, 1], [1, 2]])
def test_a_monomial_has_the_coefficient_of_its_density_by_quadrature(powers):
    found = kdl.learning_coefficient(monomial(powers), Monomial(powers), num_examples=1000, **FAST)
    check(found)
    expected = by_quadrature(powers, 1000, 1.0)
    assert abs(float(found["learning_coefficient"]) - expected) < 4 * float(found["learning_coefficient_sem"])
    assert bool(found["converged"])


@pytest.mark.parametrize("power", [1, 2, 3])
def test_with_many_examples_a_monomial_has_the_log_canonical_threshold(power):
    """The threshold of w^(2k) is 1 / 2k."""
    found = kdl.learning_coefficient(monomial([power]), Monomial([power]), num_examples=1e9, localization=1e-3, **FAST)
    value, sem = (float(found[name]) for name in ("learning_coefficient", "learning_coefficient_sem"))
    assert abs(value - 1 / (2 * power)) < 4 * sem
    assert sem < 0.04


def deep_linear(sizes, rank):
    """Return a linear network at weights that give a map of a rank, with noiseless data of that map."""
    layers = [nn.Linear(a, b, bias=False).double() for a, b in pairwise(sizes)]
    with torch.no_grad():
        for layer in layers:
            layer.weight.zero_()
            layer.weight.diagonal()[:rank] = 1.0
    model = nn.Sequential(*layers)
    x = torch.randn(64, sizes[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return kdl.Objective(model, half_square, (x, model(x).detach()), units="nat"), model


@pytest.mark.parametrize(
    ("sizes", "rank", "threshold"),
    [((3, 2), 2, 3.0), ((2, 1, 2), 1, 1.5), ((2, 2, 2), 0, 1.5), ((3, 3, 3), 1, 3.5)],
)
def test_a_deep_linear_network_has_the_coefficient_of_reduced_rank_regression(sizes, rank, threshold):
    """Aoyagi and Watanabe 2005, theorem 1; a single layer is regular, P / 2."""
    objective, model = deep_linear(sizes, rank)
    found = kdl.learning_coefficient(objective, model, num_examples=1e8, **FAST)
    assert float(found["learning_coefficient"]) == pytest.approx(threshold, rel=0.12)
    assert float(found["r_hat"]) < 1.1


def test_the_error_covers_the_exact_coefficient_over_seeds():
    objective, expected, inside = monomial([2]), by_quadrature([2], 100, 1.0), []
    for seed in range(50):
        found = kdl.learning_coefficient(
            objective,
            objective.theta,
            num_examples=100,
            num_chains=8,
            num_draws=40,
            num_warmup=30,
            num_steps=2,
            generator=torch.Generator().manual_seed(seed),
        )
        error = abs(float(found["learning_coefficient"]) - expected)
        inside.append(error < 2 * float(found["learning_coefficient_sem"]))
    assert np.mean(inside) >= 0.8


def test_a_coefficient_without_a_likelihood_or_with_too_few_examples_is_refused():
    objective = monomial([1])
    with pytest.raises(ValueError, match="at least 3 examples and a positive temperature, got 2 and None"):
        kdl.learning_coefficient(objective, objective.theta, num_examples=2)
    with pytest.raises(ValueError, match="positive prior precision"):
        kdl.learning_coefficient(objective, objective.theta, localization=0.0)
    plain = kdl.Objective(objective.model, half_square, next(objective.stream()))
    with pytest.raises(ValueError, match="expected a loss in nats"):
        kdl.learning_coefficient(plain, plain.theta)
