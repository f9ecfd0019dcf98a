import numpy as np
import pytest
import torch
from torch import nn

from kdlandscape.distillation import networks
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.paths.interpolation import interpolate
from kdlandscape.landscape.permutations.alignment import align, full_state
from kdlandscape.landscape.permutations.gauges import gauges, scaled
from kdlandscape.landscape.permutations.rescaling import rescaling
from kdlandscape.landscape.permutations.symmetries import trace_symmetry
from tests.architectures import NAMES, make
from tests.cases import CASES
from tests.landscape.networks_with_units import kind
from tests.landscape.test_permutations import outputs, seeded


def build(name):
    return (make if name in NAMES else kind)(name)[:2]


def weights(network):
    return torch.cat([x.detach().flatten() for x in network.parameters()])


def planted(network, inputs, seed=5):
    """The network with its units in another order, scale and sign, as far as its function allows."""
    symmetry, generator = trace_symmetry(network, inputs), seeded(seed)
    state = full_state(network, network)
    free = gauges(symmetry, state, inputs)
    state = symmetry.permute(state, symmetry.random(generator))
    for gauge in free:
        shape = symmetry.identity()[gauge.group].shape
        factors = (0.5 * gauge.positive * torch.randn(shape, generator=generator, dtype=torch.float64)).exp()
        flips = torch.where(torch.rand(shape, generator=generator) < 0.5, -1.0, 1.0).double()
        state = scaled(symmetry, state, gauge, factors * flips if gauge.signs else factors)
    return state, free


#: name -> what is free for each group: exponents where it is written and read, whether scales and signs are.
FREE = {
    "mlp": [((1, 1, -1), True, False)] * 2,
    "tanh": [((1, 1, 1), False, True)],
    "sine": [((1, 1, 1), False, True)],
    "layer_norm": [((1, 1, -1), True, False)] * 2,
    "cnn_2d": [((1, 1, -1), True, False)] * 3,
    "batch_norm": [((1, 1, -1), True, False), ((1, 1, 1, 1), False, True)],  # signs ahead of the norm, undone by it
    "weight_norm": [((1,), True, False), ((1, 1, 1), False, True)] * 2,
    "attention": [((1, 1, -1), True, True), ((1, -1, 1), True, True), ((1,), True, True), ((1, 1, -1), True, True)],
}


@pytest.mark.parametrize("name", FREE)
def test_the_scales_and_signs_that_a_network_leaves_free_are_found(name):
    _, free = planted(*build(name))
    found = [(tuple(gauge.exponents.values()), gauge.positive, gauge.signs) for gauge in free]
    assert found == FREE[name]


def test_a_network_of_gelu_units_leaves_no_scale_and_no_sign_free():
    network, inputs = build("functional_layer_norm")
    state, free = planted(network, inputs)
    assert free == []
    found = rescaling(network, network, state, inputs=inputs)
    assert found.scales == {}
    assert found.distances == (0, 0)


@pytest.mark.parametrize("name", ["mlp", "tanh", "sine", "layer_norm", "batch_norm", "residual", "attention", "lstm"])
def test_a_network_in_other_units_is_reported_as_the_same_network(name):
    network, inputs = build(name)
    other, free = planted(network, inputs)
    found = rescaling(network, network, other, inputs=inputs)
    assert found.share == pytest.approx(1, abs=1e-12)
    assert found.distances[1] < 1e-6 * found.theta.norm()
    torch.testing.assert_close(found.theta, weights(network), rtol=1e-6, atol=1e-6)
    assert (outputs(network, found, inputs) - outputs(network, other, inputs)).abs().max() < 1e-9
    if free:
        assert (align(network, network, other, inputs=inputs).theta - found.theta).norm() > 0.1
    assert (found.flipped > 0) == any(gauge.signs for gauge in free)


@pytest.mark.parametrize("name", ["mlp", "tanh", "residual_batch_norm"])
def test_the_path_to_a_network_in_other_units_is_level_once_it_is_rescaled(name):
    module, loss, data = next(case for case in CASES if case.name == name).make()
    other, _ = planted(module.eval(), data[0])
    objective = Objective(module, loss, data)
    aligned, same = align(objective, module, other), rescaling(objective, module, other)
    paths = [interpolate(objective, module, end, t=5)["loss"].values for end in (aligned, same)]
    assert np.ptp(paths[0]) > 1e-3
    assert np.ptp(paths[1]) < 1e-6


def test_two_networks_of_their_own_are_not_explained_by_scales():
    network = networks.mlp(6, 3, width=8).double()
    a, b = networks.random_thetas(network, [0, 1])
    data = torch.randn(60, 6, generator=seeded(), dtype=torch.float64)
    objective = Objective(network, nn.CrossEntropyLoss(), (data, torch.arange(60) % 3))
    found = rescaling(objective, a, b)
    assert 0 < found.share < 0.5
    assert found.distances[0] >= found.distances[1] == pytest.approx((a - found.theta).norm().item())
    assert found.distances[1] <= (a - align(objective, a, b).theta).norm()
    assert objective.value(found).item() == pytest.approx(objective.value(b).item(), rel=1e-10)
    assert found.flipped == 0
    assert all((scale > 0).all() for scale in found.scales.values())


def test_the_scale_of_a_unit_is_the_one_that_brings_it_closest():
    inputs = torch.randn(20, 3, generator=seeded(), dtype=torch.float64)
    a = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64)
    b = torch.tensor([0.4, 1.1, -0.2, 1.5], dtype=torch.float64)
    network = nn.Sequential(nn.Linear(3, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).double()
    pair = lambda t: torch.cat([t[:3], 9 * t[:3].flip(0), t[3:], 9 * t[3:]])  # noqa: E731
    found = rescaling(network, pair(a), pair(b), inputs=inputs)
    c = torch.linspace(0.3, 6, 200001, dtype=torch.float64)
    gaps = (a[:3] - c[:, None] * b[:3]).square().sum(1) + (a[3] - b[3] / c).square()
    assert found.scales["0"][0].item() == pytest.approx(c[gaps.argmin()].item(), abs=1e-4)
