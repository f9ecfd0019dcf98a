"""Most-case and worst-case profiles against the closed forms of a quadratic loss."""

import numpy as np
import pytest
import torch
from torch import nn

import kdlandscape as kdl
from kdlandscape.cubes.schema import check

P, N = 12, 200


def quadratic(offset=0.0):
    """Return a linear regression whose loss is (theta - w)^T H (theta - w) / 2, its Hessian H, and theta."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.3, 3.0, P, dtype=torch.float64)
    x = torch.randn(N, P, generator=generator, dtype=torch.float64) * scale
    model = nn.Linear(P, 1, bias=False).double()
    y = (x @ model.weight.detach().T)[:, 0]
    objective = kdl.Objective(
        model, lambda z, t: (z[:, 0] - t) ** 2 / 2, (x, y), metrics={"far": lambda z, t: (z[:, 0] - t).abs()}
    )
    return objective, x.T @ x / N, objective.theta + offset


def test_at_a_minimum_the_worst_rise_is_half_the_largest_eigenvalue_times_the_squared_radius():
    objective, hessian, theta = quadratic()
    radii = [0.1, 0.5, 2.0]
    found = kdl.profile(objective, theta, radii, steps=60)
    check(found)
    expected = float(torch.linalg.eigvalsh(hessian)[-1]) / 2 * np.square(radii)
    np.testing.assert_allclose(found["worst_loss"], expected, rtol=1e-3)
    np.testing.assert_allclose(found["worst_distance"], radii, rtol=1e-9)


def test_in_most_directions_the_mean_rise_is_the_trace_over_twice_the_dimension():
    objective, hessian, theta = quadratic()
    rise = kdl.profile(objective, theta, [0.5, 1.0], num_directions=400, steps=2)["loss"]
    sem = rise.std("direction", ddof=1) / 400**0.5
    expected = float(hessian.trace()) / (2 * P) * np.square([0.5, 1.0])
    assert (abs(rise.mean("direction") - expected) < 4 * sem).all()


def test_away_from_a_minimum_the_worst_point_solves_the_trust_region_problem():
    objective, hessian, theta = quadratic(offset=0.3)
    values, vectors = torch.linalg.eigh(hessian)
    g = vectors.T @ (hessian @ torch.full((P,), 0.3, dtype=torch.float64))

    def length(mu):  # delta = (mu - H)^-1 g with mu above the largest eigenvalue
        return float((g / (mu - values)).norm())

    low, high = float(values[-1]) * (1 + 1e-12), float(values[-1]) + 1e4
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if length(middle) > 0.7 else (low, middle)
    delta = g / (low - values)
    expected = float(g @ delta + (values * delta**2).sum() / 2)
    found = kdl.profile(objective, theta, [0.7], steps=100)
    assert float(found["worst_loss"][0]) - float(objective.value(theta)) == pytest.approx(expected, rel=1e-5)


def test_the_worst_case_never_lies_below_a_random_direction_and_never_falls_with_the_radius():
    torch.manual_seed(0)
    x = torch.randn(60, 4)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    metrics = {"accuracy": kdl.landscape.accuracy}
    objective = kdl.Objective(net, nn.CrossEntropyLoss(), (x, torch.arange(60) % 3), metrics=metrics)
    found = kdl.profile(objective, net, [0.05, 0.5, 1.0, 4.0], num_directions=6, steps=5)
    assert (found["worst_loss"] >= found["loss"].max("direction")).all()
    assert (np.diff(found["worst_loss"]) >= 0).all()
    assert found["accuracy"].dims == ("direction", "radius")
    assert found["worst_accuracy"].attrs["long_name"] == "accuracy at the largest loss found within the radius"
    assert found["loss"].attrs["units"] == "nat"


@pytest.mark.parametrize("radii", [[], [0.0, 1.0], [1.0, 0.5]])
def test_radii_that_do_not_grow_are_refused(radii):
    objective, _, theta = quadratic()
    with pytest.raises(ValueError, match="positive, increasing radii"):
        kdl.profile(objective, theta, radii)
