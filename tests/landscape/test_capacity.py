"""All measures of a network at once, its rescaled copies, and networks of one training loss."""

import pytest
import torch
from torch import nn

import kdlandscape as kdl
from kdlandscape.cubes.schema import check
from kdlandscape.distillation import Recipe, first_below
from kdlandscape.landscape import CAPACITY, capacity, rescaled
from tests import dense


def made(norm=False):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(4, 6), *([nn.LayerNorm(6)] if norm else []), nn.ReLU(), nn.Linear(6, 3)]
        model, x = nn.Sequential(*layers).double(), torch.randn(40, 4, dtype=torch.float64)
    data = x, torch.arange(40) % 3
    return kdl.Objective(model, nn.CrossEntropyLoss(), data), model, data


def test_the_measures_of_one_hessian_are_those_of_the_dense_one():
    objective, model, data = made()
    found = capacity(objective, model, precision=0.5)
    check(found)
    assert set(found.data_vars) == set(CAPACITY)
    values = torch.linalg.eigvalsh(dense.hessian(model, nn.CrossEntropyLoss(), data, dense.theta_of(model)))
    summed = 40 * values.clamp_min(0)
    assert float(found["lambda_max"]) == pytest.approx(float(values[-1]), rel=1e-3)
    assert float(found["trace"]) == pytest.approx(float(values.sum()), rel=0.15)
    assert float(found["effective_dimension"]) == pytest.approx(float((summed / (summed + 0.5)).sum()), rel=0.2)


def test_a_rescaled_copy_computes_the_same_and_is_as_far_as_its_factor_says():
    objective, _, _ = made()
    theta = objective.theta
    copy = rescaled(objective, theta, 4.0)
    torch.testing.assert_close(objective.predict(copy), objective.predict(theta))
    named, before = objective.unravel(copy), objective.unravel(theta)
    up = named["0.weight"] / before["0.weight"]
    assert float(up.std()) < 1e-12
    assert float(up.mean()) in (pytest.approx(4.0), pytest.approx(0.25))
    torch.testing.assert_close(named["2.weight"] * up.mean(), before["2.weight"])
    sharp, same = (float(kdl.sharpness(objective, x, kind="lambda_max")["sharpness"]) for x in (copy, theta))
    assert sharp / same > 2


def test_a_network_without_a_path_norm_has_none_and_says_why():
    objective, model, _ = made(norm=True)
    found = capacity(objective, model)
    assert bool(found["path_norm"].isnull())
    assert found["path_norm"].attrs["note"].startswith("path_norm is undefined with layer '1' (LayerNorm)")
    assert bool(found["lambda_max"].notnull())


@pytest.mark.parametrize(
    ("factor", "message"), [(0.0, "positive factor, got 0.0"), (2.0, "found none in this network")]
)
def test_a_network_without_scales_or_a_factor_of_zero_is_refused(factor, message):
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    objective = kdl.Objective(model, nn.CrossEntropyLoss(), (torch.randn(5, 2).double(), torch.zeros(5).long()))
    with pytest.raises(ValueError, match=message):
        rescaled(objective, objective.theta, factor)


def test_each_network_is_taken_where_its_loss_first_falls_below_the_level():
    _, model, data = made()
    recipe = Recipe(epochs=12, batch_size=10, lr=0.05)
    trained = kdl.train(
        model, torch.randn(3, 51, generator=torch.Generator().manual_seed(0), dtype=torch.float64), *data, recipe,
        generator=torch.Generator().manual_seed(0), record_every=8,
    )  # fmt: skip
    level = float(trained.losses[5, 1])  # network 1 passes just after epoch 6
    stopped = first_below(trained, level * 1.0000001)
    first = int((trained.losses[:, 1] < level * 1.0000001).nonzero()[0])
    step = next(s for s in trained.steps if s >= 4 * (first + 1))
    assert int(stopped.steps[1]) == step
    assert bool(stopped.reached[1])
    assert torch.equal(stopped.thetas[1], trained.trajectory[trained.steps.index(step), 1])
    never = first_below(trained, 0.0)
    assert not never.reached.any()
    assert torch.equal(never.thetas, trained.thetas)


def test_a_training_that_was_not_recorded_has_no_place_to_stop():
    _, model, data = made()
    trained = kdl.train(model, model, *data, Recipe(epochs=1), generator=torch.Generator())
    with pytest.raises(ValueError, match="give record_every"):
        first_below(trained, 0.1)
