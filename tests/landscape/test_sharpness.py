"""Every measure against its formula by independent code, and whether it is blind to rescaling."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import kdlandscape as kdl
from kdlandscape.cubes.schema import check
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import SpaceError
from kdlandscape.landscape.sharpness.flatness import largest_noise
from tests import dense
from tests.cases import CASES, IDS


def made(name="mlp"):
    module, loss, data = CASES[IDS.index(name)].make()
    return module, loss, data, Objective(module, loss, data), dense.theta_of(module)


def value(found, name="sharpness"):
    check(found)
    return float(found[name])


def rescaled(module, factor=8.0):
    """Return the same function with the first hidden layer's units scaled up and the next layer's inputs down."""
    other = copy.deepcopy(module)
    with torch.no_grad():
        other[0].weight *= factor
        other[0].bias *= factor
        other[2].weight /= factor
    return other


def test_lambda_max_is_the_largest_eigenvalue_of_the_dense_hessian():
    module, loss, data, objective, theta = made()
    true = torch.linalg.eigvalsh(dense.hessian(module, loss, data, theta))[-1]
    assert value(kdl.sharpness(objective, theta, kind="lambda_max")) == pytest.approx(float(true), rel=1e-6)


def test_sam_is_the_rise_of_the_loss_after_one_step_of_the_gradient():
    module, loss, data, objective, theta = made()
    g = dense.grad(module, loss, data, theta)
    expected = dense.value(module, loss, data, theta + 0.1 * g / g.norm()) - dense.value(module, loss, data, theta)
    assert value(kdl.sharpness(objective, theta, kind="sam", radius=0.1)) == pytest.approx(float(expected), rel=1e-9)


def test_adaptive_sharpness_steps_by_the_size_of_every_weight():
    module, loss, data, objective, theta = made()
    g = dense.grad(module, loss, data, theta)
    step = 0.5 * theta**2 * g / (theta * g).norm()
    expected = dense.value(module, loss, data, theta + step) - dense.value(module, loss, data, theta)
    assert value(kdl.sharpness(objective, theta, kind="adaptive")) == pytest.approx(float(expected), rel=1e-9)


def test_the_maximum_over_the_ball_beats_one_step_and_stays_within_the_ball():
    _, _, _, objective, theta = made()
    one = value(kdl.sharpness(objective, theta, kind="sam", radius=1.0))
    best = value(kdl.sharpness(objective, theta, kind="sam_max", radius=1.0, steps=20))
    assert best >= one
    draws = torch.randn(200, objective.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    around = objective.evaluate(theta + draws / draws.norm(dim=1, keepdim=True))["loss"] - objective.value(theta)
    assert best > float(around.max())


class Bowl(nn.Module):
    """A loss of a |theta|^2 / 2, whatever the data."""

    def __init__(self, size):
        super().__init__()
        self.w = nn.Parameter(torch.full((50,), float(size), dtype=torch.float64))

    def forward(self, x):
        return (self.w**2).sum().expand(len(x))


def bowl(size, a):
    data = (torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    module = Bowl(size)
    return Objective(module, lambda z, y: a * z / 2, data), module


@pytest.mark.parametrize("a", [1e-3, 1.0, 1e3])
def test_the_noise_a_bowl_bears_is_known_and_its_error_covers_the_truth(a):
    """E L(u) - L = a P sigma^2 / 2 = target, so sigma^2 = 2 target / (a P)."""
    objective, module = bowl(0.0, a)
    found = kdl.sharpness(objective, module, kind="pac_bayes", num_draws=64)
    truth = (0.2 / (50 * a)) ** 0.5
    assert abs(value(found, "sigma") - truth) < 3 * value(found, "sigma_sem") + 0.01 * truth
    assert value(found) == pytest.approx(value(found, "sigma") ** -2)
    assert value(found, "loss_increase") <= 0.1


def test_paper_trap_10_common_draws_make_the_rise_monotone_where_fresh_ones_do_not():
    objective, module = bowl(0.0, 1.0)
    first, second = (
        largest_noise(
            objective,
            objective.ravel(module),
            target=0.1,
            num_draws=4,
            generator=torch.Generator().manual_seed(3),
            rtol=1e-6,
        )
        for _ in range(2)
    )
    assert first == second
    assert first.increase == pytest.approx(0.1, rel=1e-5)


def test_the_noise_lies_within_two_standard_errors_about_as_often_as_it_should():
    objective, module = bowl(0.0, 1.0)
    truth, inside = (0.2 / 50) ** 0.5, []
    for seed in range(60):
        draw = torch.Generator().manual_seed(seed)
        found = largest_noise(objective, objective.ravel(module), target=0.1, num_draws=16, generator=draw, rtol=1e-2)
        inside.append(abs(found.sigma - truth) <= 2 * found.sigma_sem)
    assert np.mean(inside) >= 0.85


@pytest.mark.parametrize("size", [1.0, 2.0])
def test_magnitude_aware_noise_is_relative_to_the_weights(size):
    """E L(w + u) - L(w) = a sigma^2 |w|^2 / 2: twice the weights bear half the relative noise."""
    found = kdl.sharpness(*bowl(size, 1.0), kind="magnitude_aware", epsilon=0.0, num_draws=200)
    truth = (0.2 / (50 * size**2)) ** 0.5
    assert abs(value(found, "sigma") - truth) < 3 * value(found, "sigma_sem") + 0.01 * truth


def test_path_norm_sums_products_of_squared_weights_over_paths():
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    inputs = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    objective = Objective(module, nn.CrossEntropyLoss(), (inputs, torch.tensor([0, 1, 0, 1, 1])))
    w1, b1, w2, b2 = (p.detach() ** 2 for p in module.parameters())
    expected = ((w1.sum(1) + b1) @ w2.T + b2).sum().sqrt()
    assert value(kdl.sharpness(objective, module, kind="path_norm")) == pytest.approx(float(expected))


@pytest.mark.parametrize("name", ["layer_norm", "cnn_group_norm", "batch_norm", "residual_batch_norm"])
def test_paper_trap_9_path_norm_with_normalization_is_an_error_that_names_the_layer(name):
    *_, objective, theta = made(name)
    with pytest.raises(ValueError, match=r"path_norm is undefined with layer '.+' \((Layer|Group|Batch)Norm"):
        kdl.sharpness(objective, theta, kind="path_norm")


@pytest.mark.parametrize("name", ["tanh", "attention"])
def test_path_norm_of_a_network_that_is_not_homogeneous_is_an_error(name):
    *_, objective, theta = made(name)
    with pytest.raises(ValueError, match="twice the input to give twice the output"):
        kdl.sharpness(objective, theta, kind="path_norm")


def test_path_norm_needs_inputs_that_can_be_ones():
    *_, objective, theta = made("embedding")
    with pytest.raises(ValueError, match="floating-point inputs, got integers"):
        kdl.sharpness(objective, theta, kind="path_norm")


def test_fisher_rao_is_the_quadratic_form_and_has_the_closed_form_of_homogeneous_networks():
    module, loss, data, objective, theta = made()
    expected = theta @ dense.empirical_fisher(module, loss, data, theta) @ theta
    assert value(kdl.sharpness(objective, theta, kind="fisher_rao")) == pytest.approx(float(expected), rel=1e-9)
    plain = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False)).double()
    z = plain(data[0]).detach()
    inner = ((z.softmax(1) - nn.functional.one_hot(data[1], 3)) * z).sum(1)
    found = kdl.sharpness(Objective(plain, loss, data), plain, kind="fisher_rao")
    assert value(found) == pytest.approx(float(4 * inner.square().mean()), rel=1e-9)


def test_margins_are_those_of_the_outputs():
    module, _, data, objective, theta = made()
    z, y = module(data[0]).detach(), data[1]
    expected = sorted(float(row[i] - max(row[j] for j in range(3) if j != i)) for row, i in zip(z, y, strict=True))
    found = kdl.sharpness(objective, theta, kind="margin", quantile=1.0)
    assert float(found["margin"]) == pytest.approx(expected[-1])
    assert float(found["margin_mean"]) == pytest.approx(np.mean(expected))
    assert float(kdl.sharpness(objective, theta, kind="margin")["sharpness"]) == math.inf
    doubled = copy.deepcopy(module)
    with torch.no_grad():
        doubled[-1].weight *= 2
        doubled[-1].bias *= 2
    assert float(kdl.sharpness(objective, doubled, kind="margin", quantile=1.0)["margin"]) == pytest.approx(
        2 * expected[-1]
    )


BLIND = {"adaptive": {}, "magnitude_aware": {"epsilon": 0.0}, "path_norm": {}, "fisher_rao": {}}
SEEING = {"lambda_max": {}, "sam": {}, "pac_bayes": {}}


@pytest.mark.parametrize("kind", [*BLIND, *SEEING])
def test_measures_are_blind_to_rescaling_exactly_where_they_say_so(kind):
    module, _, _, objective, _ = made()
    one, other = (
        value(kdl.sharpness(objective, net, kind=kind, **{**BLIND, **SEEING}[kind]))
        for net in (module, rescaled(module))
    )
    if kind in BLIND:
        assert other == pytest.approx(one, rel=0.05 if kind == "magnitude_aware" else 1e-9)
    else:
        assert abs(other / one - 1) > 0.2


def test_bad_measures_are_refused_with_what_to_do():
    _, _, _, objective, theta = made()
    with pytest.raises(ValueError, match=r"expected kind to be one of lambda_max, sam, .*; got 'flat'"):
        kdl.sharpness(objective, theta, kind="flat")
    with pytest.raises(ValueError, match="sam has no setting 'target': expected radius"):
        kdl.sharpness(objective, theta, kind="sam", target=0.1)
    with pytest.raises(ValueError, match="expected a positive radius, got 0"):
        kdl.sharpness(objective, theta, kind="sam", radius=0)
    with pytest.raises(SpaceError, match="expected theta of shape"):
        kdl.sharpness(objective, theta[1:], kind="sam")
    with pytest.raises(ValueError, match=r"positive target and at least 2 draws, got 0.1 and 1"):
        kdl.sharpness(objective, theta, kind="pac_bayes", num_draws=1)
    with pytest.raises(ValueError, match=r"the loss never rises by 0.1"):
        kdl.sharpness(*bowl(0.0, -1.0), kind="pac_bayes", num_draws=2)
    with pytest.raises(ValueError, match=r"rises by more than 0.1 at any noise"):
        kdl.sharpness(*bowl(1.0, 1.0), kind="magnitude_aware", num_draws=2, epsilon=1.0)
    *_, regression, point = made("regression")
    with pytest.raises(ValueError, match=r"margins need logits \(n, C\) and class numbers"):
        kdl.sharpness(regression, point, kind="margin")


def test_a_point_of_zero_gradient_has_no_ascent():
    assert value(kdl.sharpness(*bowl(0.0, 1.0), kind="sam")) == 0.0


@pytest.mark.parametrize(("case", "units"), [("regression", "1"), ("mlp", "nat")])
def test_a_measure_is_named_by_what_it_measures_in_the_unit_of_its_loss(case, units):
    *_, objective, theta = made(case)
    for kind in ("lambda_max", "sam", "adaptive"):
        assert kdl.sharpness(objective, theta, kind=kind)["sharpness"].attrs["units"] == units
    found = kdl.sharpness(objective, theta, kind="pac_bayes", num_draws=4)
    assert found["loss_increase"].attrs["units"] == units
    assert found["sharpness"].attrs["units"] == "1"
    assert found["sharpness"].attrs["long_name"] == "1/σ² of the largest isotropic noise at a given rise of the loss"
