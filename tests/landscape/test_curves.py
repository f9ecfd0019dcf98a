import numpy as np
import pytest
import torch

from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.paths.curves import bezier, coefficients
from kdlandscape.landscape.paths.interpolation import barrier, interpolate
from kdlandscape.landscape.permutations.alignment import full_state
from kdlandscape.landscape.permutations.symmetries import trace_symmetry
from tests import dense
from tests.cases import CASES, IDS


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("bends", [1, 2, 5])
@pytest.mark.parametrize("kind", ["bezier", "chain"])
def test_the_weights_of_the_control_points_sum_to_one_and_are_exact_at_the_ends(kind, bends):
    for t in np.linspace(0, 1, 13):
        assert sum(coefficients(t, bends, kind)) == pytest.approx(1, abs=1e-15)
        assert min(coefficients(t, bends, kind)) >= 0
    assert coefficients(0.0, bends, kind) == [1.0] + [0.0] * (bends + 1)
    assert coefficients(1.0, bends, kind) == [0.0] * (bends + 1) + [1.0]


def test_a_quadratic_curve_and_a_chain_are_what_their_formulas_say():
    assert coefficients(0.25, 1) == pytest.approx([0.75**2, 2 * 0.25 * 0.75, 0.25**2])
    assert coefficients(0.25, 1, "chain") == pytest.approx([0.5, 0.5, 0.0])
    assert coefficients(0.75, 2, "chain") == pytest.approx([0.0, 0.0, 0.75, 0.25])


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_ends_of_a_curve_are_the_directly_evaluated_losses(case):
    module, loss, data = case.make()
    objective = Objective(module, loss, data, batch_size=7)
    start = dense.theta_of(module)
    end = start + 0.1 * torch.randn(start.shape, dtype=start.dtype, generator=seeded(3))
    curve = bezier(objective, start, end, generator=seeded(), steps=3, lr=0.01, t=3)
    assert curve["loss"].values[0] == objective.value(start).item()
    assert curve["loss"].values[-1] == objective.value(end).item()


@pytest.mark.parametrize(("kind", "bends"), [("bezier", 1), ("bezier", 2), ("chain", 3)])
def test_one_step_follows_the_objectives_gradient_times_the_weight_of_each_bend(kind, bends):
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    a, b = objective.theta, objective.theta.flip(0)
    settings = {"kind": kind, "bends": bends, "steps": 1, "lr": 0.1, "momentum": 0.5, "t": 3}
    curve = bezier(objective, a, b, generator=seeded(), control_points=True, **settings)
    t = torch.rand(1, generator=seeded(), dtype=torch.float64).item()
    weights = coefficients(t, bends, kind)
    before = [a + k / (bends + 1) * (b - a) for k in range(bends + 2)]
    slope = objective.grad(sum(w * point for w, point in zip(weights, before, strict=True)))
    for k in range(1, bends + 1):
        expected = before[k] - 0.1 * 1.5 * weights[k] * slope
        got = torch.from_numpy(curve["control_points"].values[k - 1])
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_a_trained_curve_avoids_the_barrier_between_permuted_copies():
    module, loss, (inputs, targets) = CASES[0].make()
    objective = Objective(module, loss, (inputs, targets))
    theta = objective.theta
    for _ in range(200):
        theta = theta - 0.5 * objective.grad(theta)
    symmetry = trace_symmetry(module, inputs)
    copy = objective.ravel(symmetry.permute(full_state(module, theta), symmetry.random(seeded(1))))
    straight = barrier(interpolate(objective, theta, copy, t=11))
    descent = Objective(module, loss, (inputs, targets), batch_size=8)
    for kind, bends in (("bezier", 1), ("chain", 2)):
        curve = bezier(
            descent, theta, copy, generator=seeded(), kind=kind, bends=bends, steps=300, lr=0.1, t=11
        )  # fmt: skip
        assert straight.item() > 0.1
        assert barrier(curve).item() < straight.item() / 2
        assert curve["curve_loss"].values[-1] < curve["curve_loss"].values[0]


def test_the_generator_decides_the_curve():
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data, batch_size=7)
    a, b = objective.theta, objective.theta.flip(0)
    first, again, other = (bezier(objective, a, b, generator=seeded(s), steps=5, t=5)["loss"] for s in (0, 0, 1))
    assert (first == again).all()
    assert not np.array_equal(first, other)


def test_bad_curves_are_refused():
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    a = objective.theta
    with pytest.raises(ValueError, match="kind to be one of bezier, chain; got 'spline'"):
        bezier(objective, a, a, generator=seeded(), kind="spline")
    with pytest.raises(ValueError, match="at least one bend and one step, got 0 and 5"):
        bezier(objective, a, a, generator=seeded(), bends=0, steps=5)
    with pytest.raises(RuntimeError, match=r"the loss on the curve became (nan|inf) in step 1: lower lr"):
        bezier(objective, a, a * float("inf"), generator=seeded(), steps=2)
