"""What an operator knows makes the next question cheaper, and its errors stay honest: spectra known by construction."""

import numpy as np
import pytest
import torch
from scipy import stats

from kdlandscape.landscape.curvature.deflation_plan import plan
from kdlandscape.landscape.curvature.questions import Curvature
from tests.linalg.prescribed import binomial_floor, rng, symmetric

EIGENVALUES = [*(100.0 * 0.85**i for i in range(40)), *(0.1 * 0.97**i for i in range(260)), -0.05, -0.01]
EXACT = np.array(EIGENVALUES)
Z = 0.5
SEEDS = 50


class Prescribed(Curvature):
    """The questions about a matrix with prescribed eigenvalues, in float64; it counts its products."""

    def __init__(self, eigenvalues, seed=0):
        self.matrix = symmetric(eigenvalues, seed)
        self.theta, self.found, self.num_matvecs = torch.zeros(len(eigenvalues), dtype=torch.float64), {}, 0
        self.kind, self.units, self.weight = "ggn", "nat", 1.0
        self.facts = {"num_parameters": len(eigenvalues), "total_weight": 1.0}

    def __call__(self, rows):
        self.num_matvecs += len(torch.atleast_2d(rows))
        return rows @ self.matrix


def dimension(values, z=Z):
    positive = np.clip(values, 0, None)
    return float((positive / (positive + z)).sum())


@pytest.fixture(scope="module")
def known():
    """Return an operator that holds its 20 largest eigenpairs."""
    a = Prescribed(EIGENVALUES)
    a.top_eigenpairs(20, tol=1e-3)
    return a


def covered(estimates, exact):
    """Count the intervals ±2 standard errors that hold the exact value."""
    return sum(abs(value - exact) <= 2 * sem for value, sem in estimates)


def test_the_deflated_effective_dimension_lies_within_its_interval_as_often_as_it_says(known):
    level, draws, estimates = 0.95, 8, []
    reach = stats.t.ppf((1 + level) / 2, draws - 1) / 2
    for seed in range(SEEDS):
        found = known.effective_dimension(Z, num_matvecs=60, num_draws=draws, generator=rng(seed))
        estimates.append((float(found["effective_dimension"][0]), reach * float(found["effective_dimension_sem"][0])))
    assert covered(estimates, dimension(EXACT)) >= binomial_floor(SEEDS, level)
    errors = [value / dimension(EXACT) - 1 for value, _ in estimates]
    assert abs(np.mean(errors)) < 4 * np.std(errors) / SEEDS**0.5


def test_the_deflated_trace_lies_within_its_interval_as_often_as_it_says(known):
    estimates = []
    for seed in range(SEEDS):
        found = known.trace(rtol=0, max_matvecs=40, generator=rng(seed))
        estimates.append((float(found["trace"]), float(found["trace_sem"])))
    assert covered(estimates, EXACT.sum()) >= binomial_floor(SEEDS, 0.93)


def test_the_deflated_density_has_the_mass_of_every_part_of_the_spectrum(known):
    rules = known.quadrature(num_matvecs=80, num_draws=20, generator=rng(1))
    np.testing.assert_allclose(rules["weights"].sum("node"), 1, rtol=1e-12)
    mass = len(EXACT) * rules["weights"]
    for low, high in ((5.0, 200.0), (0.2, 5.0), (-1.0, 0.2)):
        each = mass.where((rules["nodes"] > low) & (rules["nodes"] <= high), 0).sum("node")
        count = ((low < EXACT) & (high >= EXACT)).sum()
        assert abs(float(each.mean()) - count) <= 4 * float(each.std()) / 20**0.5 + 1e-9
    assert int(rules["exact"].sum()) == 20
    np.testing.assert_allclose(rules["nodes"][0, :20], EXACT[:20], rtol=1e-3)


def test_a_question_within_a_tolerance_is_answered_with_fewer_products_than_plain_draws_take():
    ours, plain = Prescribed(EIGENVALUES), Prescribed(EIGENVALUES)
    found = ours.effective_dimension(Z, scale="mean", rtol=0.02, num_matvecs=60)
    value, sem = (float(found[f"effective_dimension{end}"][0]) for end in ("", "_sem"))
    assert sem <= 0.02 * value
    assert abs(value / dimension(EXACT) - 1) < 0.06
    draws = 10
    while True:
        rules = plain.effective_dimension(Z, scale="mean", num_matvecs=60, num_draws=draws)
        if float(rules["effective_dimension_sem"][0]) <= 0.02 * float(rules["effective_dimension"][0]):
            break
        draws += 10
    assert ours.num_matvecs < plain.num_matvecs / 3
    assert rules.attrs["num_matvecs"] == plain.num_matvecs  # draws go on from those taken


def test_a_question_after_a_question_costs_nothing():
    a = Prescribed(EIGENVALUES)
    a.effective_dimension(Z, rtol=0.02, num_matvecs=60)
    taken = a.num_matvecs
    again = a.effective_dimension([Z, 10 * Z])
    assert (a.num_matvecs, again.sizes["z"]) == (taken, 2)
    a.spectral_density(num_matvecs=60, num_draws=5)
    taken = a.num_matvecs
    a.quadrature(num_matvecs=60, num_draws=4)
    a.spectral_density(num_matvecs=60, num_draws=5, width=0.1)
    assert a.num_matvecs == taken
    a.quadrature(num_matvecs=60, num_draws=6)
    assert a.num_matvecs == taken + 60


def test_the_trace_of_rules_is_taken_only_where_its_error_is_small():
    a = Prescribed(EIGENVALUES)
    a.top_eigenpairs(30, tol=1e-4)
    a.quadrature(num_matvecs=30, num_draws=10)
    taken = a.num_matvecs
    found = a.trace(rtol=0.05)
    assert (a.num_matvecs, found.attrs["method"]) == (taken, "slq")
    assert abs(float(found["trace"]) - EXACT.sum()) <= 4 * float(found["trace_sem"])
    exact = a.trace(rtol=1e-6, max_matvecs=60)
    assert a.num_matvecs > taken
    assert exact.attrs["method"] == "xtrace"
    assert float(exact["trace_sem"]) < float(found["trace_sem"])


def test_a_known_eigenvalue_has_no_truncation_and_the_bound_holds_for_the_others(known):
    exact = dimension(EXACT)
    few = [known.effective_dimension(Z, num_matvecs=m, num_draws=40, generator=rng(3)) for m in (3, 12)]
    bounds = [float(found["effective_dimension_truncation"][0]) for found in few]
    assert bounds[1] < bounds[0]
    for found, bound in zip(few, bounds, strict=True):
        sem = float(found["effective_dimension_sem"][0])
        assert abs(float(found["effective_dimension"][0]) - exact) <= bound + 4 * sem


def test_a_tolerance_that_is_not_positive_and_one_out_of_reach_are_told():
    a = Prescribed(EIGENVALUES)
    with pytest.raises(ValueError, match="expected a positive rtol, got 0"):
        a.effective_dimension(Z, rtol=0)
    found = a.effective_dimension(Z, rtol=1e-5, num_matvecs=20, max_matvecs=300)
    assert a.num_matvecs < 2000
    assert float(found["effective_dimension_sem"][0]) > 1e-5 * float(found["effective_dimension"][0])


def test_the_plan_knows_pairs_only_where_they_pay():
    flat = Prescribed([1.0] * 150 + [0.5] * 150).quadrature(num_matvecs=20, num_draws=2)
    assert plan(flat, 0.5, 0.1, steps=20, most=140).pairs == 0
    steep = Prescribed(EIGENVALUES).quadrature(num_matvecs=40, num_draws=2)
    chosen = plan(steep, Z, 0.01, steps=40, most=140)
    assert 15 < chosen.pairs < 80
    assert chosen.products < plan(steep, Z, 0.01, steps=40, most=0).products / 3
