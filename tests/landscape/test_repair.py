import copy

import pytest
import torch
from torch import nn

from kdlandscape.distillation import networks
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.paths.interpolation import interpolate, mix
from kdlandscape.landscape.permutations.repair import repair
from tests.landscape.networks_with_units import kind


def moments(network, theta, inputs, layers):
    """Mean and deviation of every unit of some layers, by hooks on a copy of the module."""
    network, kept = copy.deepcopy(network), {}
    nn.utils.vector_to_parameters(theta, network.parameters())
    for name, layer in network.named_modules():
        if name in layers:
            layer.register_forward_hook(lambda module, args, output, name=name: kept.__setitem__(name, output))
    with torch.no_grad():
        network(inputs)
    rows = {name: value.transpose(0, 1).flatten(1) for name, value in kept.items()}
    return {name: torch.stack([row.mean(1), row.std(1, correction=0)]) for name, row in rows.items()}


NETWORKS = {
    "mlp": (networks.mlp(6, 3, width=7), 6, ("0", "2")),
    "layer_norm": (networks.mlp(6, 3, width=7, norm="layer"), 6, ("0", "3")),
    "cnn": (networks.cnn(12, 3, width=4, depth=2), 12, ("1", "3")),
    "transposed": (
        nn.Sequential(nn.Unflatten(1, (2, 6)), nn.ConvTranspose1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)),
        12,
        ("1",),
    ),
    "residual": (networks.resnet(16, 3, width=4, depth=1, dims=2), 16, ("1", "2.branch.2", "2.branch.5")),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_unit_gets_the_mean_and_deviation_between_those_of_the_ends(name):
    network, features, layers = NETWORKS[name]
    network = network.double()
    inputs = torch.randn(200, features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = networks.random_thetas(network, [0, 1])
    correct = repair(network, a, b, inputs=inputs)
    middle = mix(a, b, torch.tensor([0.25], dtype=torch.float64))[0]
    got = moments(network, correct(middle, 0.25), inputs, layers)
    ends = [moments(network, theta, inputs, layers) for theta in (a, b)]
    for layer in layers:
        expected = 0.75 * ends[0][layer] + 0.25 * ends[1][layer]
        torch.testing.assert_close(got[layer], expected, rtol=1e-9, atol=1e-9)


def test_the_ends_of_a_repaired_path_are_untouched():
    network, features, _ = NETWORKS["mlp"]
    network = network.double()
    inputs = torch.randn(50, features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    objective = Objective(network, nn.CrossEntropyLoss(), (inputs, torch.arange(50) % 3))
    a, b = networks.random_thetas(network, [0, 1])
    plain = interpolate(objective, a, b, t=5)
    fixed = interpolate(objective, a, b, t=5, correct=repair(network, a, b, inputs=inputs))
    assert (plain["loss"].isel(t=[0, -1]) == fixed["loss"].isel(t=[0, -1])).all()
    assert (plain["loss"].isel(t=[1, 2, 3]) != fixed["loss"].isel(t=[1, 2, 3])).all()
    assert fixed.attrs["correction"] == "repair"


def test_a_network_at_both_ends_is_not_changed():
    network, features, _ = NETWORKS["residual"]
    network = network.double()
    inputs = torch.randn(50, features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (a,) = networks.random_thetas(network, [0])
    torch.testing.assert_close(repair(network, a, a, inputs=inputs)(a, 0.5), a, rtol=1e-9, atol=1e-9)


def test_units_that_cannot_be_shifted_and_running_statistics_are_refused():
    inputs = torch.randn(20, 4)
    unbiased = nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 2))
    with pytest.raises(ValueError, match="layer '0' has no bias"):
        repair(unbiased, unbiased, unbiased, inputs=inputs)
    attention = kind("encoder_layer")[0]
    with pytest.raises(ValueError, match=r"the units of '1\.self_attn' are written by no layer that is called"):
        repair(attention, attention, attention, inputs=torch.randn(4, 6, 5, dtype=torch.float64))
    running = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    with pytest.raises(ValueError, match="Sequential has running statistics: re-estimate them"):
        repair(running, running, running, inputs=inputs)
