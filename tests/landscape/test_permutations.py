import copy

import pytest
import torch
from torch import nn

from kdlandscape.landscape.permutations.alignment import align, full_state
from kdlandscape.landscape.permutations.forward import counted
from kdlandscape.landscape.permutations.symmetries import trace_symmetry
from kdlandscape.landscape.permutations.walk import InDouble
from tests import dense
from tests.architectures import NAMES, make
from tests.landscape.networks_with_units import KINDS, PUBLISHED, Net, kind, published


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def outputs(module, state, inputs):
    """Independent of the package: a copy of the module with the state loaded."""
    module = copy.deepcopy(module)
    module.load_state_dict(state, strict=False)
    with torch.no_grad(), InDouble():  # some networks compute their norms in float32
        parts = counted(dense.run(module, inputs))
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("name", NAMES)
def test_a_random_permutation_leaves_the_function_unchanged(name):
    module, inputs = make(name)
    symmetry = trace_symmetry(module, inputs)
    before = full_state(module, module)
    after = symmetry.permute(before, symmetry.random(seeded()))
    expected, got = outputs(module, before, inputs), outputs(module, after, inputs)
    assert (expected - got).abs().max() < 1e-10
    if symmetry.groups:
        assert any(not torch.equal(before[key], after[key]) for key in before)


def arranged(symmetry):
    """The size of every group, with those of the groups around it in front."""
    groups = symmetry.groups
    return sorted((*(groups[parent].size for parent in group.parents), group.size) for group in groups.values())


def check_units(module, inputs, sizes):
    """A random permutation keeps the function and moves every tensor that it should."""
    symmetry = trace_symmetry(module, inputs)
    assert arranged(symmetry) == sorted(sizes)
    before = full_state(module, module)
    after = symmetry.permute(before, symmetry.random(seeded(2)))
    expected, got = outputs(module, before, inputs), outputs(module, after, inputs)
    assert (expected - got).abs().max() < 1e-10 * max(1, expected.abs().max())
    moved = {name for group in symmetry.groups.values() for name in group.tensors}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert changed <= moved


@pytest.mark.parametrize("name", KINDS)
def test_the_units_of_every_kind_of_network_are_found_and_permuting_them_keeps_the_function(name):
    check_units(*kind(name))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_units_of_published_networks_are_found_and_permuting_them_keeps_the_function(name):
    check_units(*published(name))


def sizes(name):
    return {group: one.size for group, one in trace_symmetry(*make(name)).groups.items()}


def test_the_residual_stream_is_one_group_and_every_block_has_its_own():
    assert sizes("deep_residual") == {"1": 4, "2.branch.2": 4, "3.branch.2": 4, "4.branch.2": 4}
    stream = trace_symmetry(*make("deep_residual")).groups["1"]
    assert {"1.weight", "2.branch.5.weight", "3.branch.5.weight", "4.branch.5.weight", "9.weight"} <= set(
        stream.tensors
    )


def test_hidden_units_are_found_in_every_kind_of_network():
    assert sizes("mlp") == {"0": 5, "2": 5}
    assert sizes("functional") == {"scale": 4, "head": 5}
    assert sizes("gated") == {"first": 4}
    assert sizes("depthwise") == {"0": 3, "5": 4, "2": 2}  # two units of the second layer for each of the first
    assert sizes("dict_inputs") == {"left": 5}
    assert sizes("norms") == {"0": 4, "5": 5}


def test_tied_and_frozen_units_stay_in_their_places():
    assert sizes("tied") == {}
    assert sizes("frozen") == {}


def test_running_statistics_move_with_their_channels():
    module, inputs = make("residual_batch_norm")
    symmetry = trace_symmetry(module, inputs)
    swap = symmetry.identity() | {"1": torch.tensor([2, 0, 1])}
    before = full_state(module, module)
    after = symmetry.permute(before, swap)
    assert torch.equal(after["2.branch.0.running_mean"], before["2.branch.0.running_mean"][[2, 0, 1]])
    assert torch.equal(after["2.branch.0.num_batches_tracked"], before["2.branch.0.num_batches_tracked"])


def test_the_network_is_left_as_it_was():
    module, inputs = make("residual_batch_norm")
    module.train()
    before = copy.deepcopy(module.state_dict())
    rng = torch.get_rng_state()
    trace_symmetry(module, inputs)
    assert module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)


def branching(net, x):
    return net.b(net.a(x) if x.sum() > 0 else -net.a(x))


def test_a_forward_that_branches_on_the_data_is_followed_along_the_branch_it_takes():
    net = Net(branching, a=nn.Linear(4, 5), b=nn.Linear(5, 2)).double()
    inputs = torch.randn(6, 4, generator=seeded(), dtype=torch.float64)
    assert arranged(trace_symmetry(net, inputs)) == arranged(trace_symmetry(net, -inputs)) == [(5,)]


def test_parameters_that_reach_no_output_and_places_that_no_batch_reached_stay_where_they_are():
    assert sizes("unused") == {}
    places = nn.Parameter(torch.randn(9, 5))
    net = Net(
        lambda net, x: net.b(net.a(x) + net.places[: x.shape[1]]), a=nn.Linear(4, 5), b=nn.Linear(5, 2), places=places
    )
    assert arranged(trace_symmetry(net, torch.randn(2, 6, 4, generator=seeded()))) == [(5,)]


def test_a_buffer_that_no_state_dict_holds_is_a_constant():
    net = Net(lambda net, x: net.b(net.a(x) * net.scale), a=nn.Linear(4, 5), b=nn.Linear(5, 2))
    net.register_buffer("scale", torch.arange(5.0), persistent=False)
    assert arranged(trace_symmetry(net, torch.randn(3, 4, generator=seeded()))) == []
    net.scale.fill_(2.0)
    assert arranged(trace_symmetry(net, torch.randn(3, 4, generator=seeded()))) == [(5,)]


def through(function, a=6, b=6):
    return Net(lambda net, x: net.b(function(net.a(x))), a=nn.Linear(5, a), b=nn.Linear(b, 3))


class OfNumpy(nn.Module):
    def forward(self, x):
        return torch.from_numpy(x.detach().numpy()[..., ::-1].copy())


REFUSED = {
    "sums over units": (
        through(lambda x: x.cumsum(-1)),
        (4, 5),
        "6 units of layer 'a' through operation 'cumsum' in the forward of Net: it does not commute",
    ),
    "units by their places": (through(lambda x: x.roll(1, -1)), (4, 5), "layer 'a' through operation 'index_select'"),
    "units in another order": (through(lambda x: x[..., [1, 0, 2, 3, 5, 4]]), (4, 5), "takes units by their places"),
    "the places of the largest": (
        through(lambda x: torch.zeros_like(x).scatter(-1, *x.topk(2)[::-1])),
        (4, 5),
        "operation 'scatter' in the forward of Net: it uses the places of units",
    ),
    "every second unit": (through(lambda x: x[:, ::2], 6, 3), (4, 5), "operation 'slice' in the forward of Net"),
    "a window over units": (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.LocalResponseNorm(2), nn.Conv2d(8, 3, 3)),
        (2, 3, 6, 6),
        r"8 units of layer '0' through operation 'avg_pool3d' in layer '1' \(LocalResponseNorm\): it does not commute",
    ),
    "pools of units": (
        nn.Sequential(nn.Linear(4, 6), nn.MaxPool1d(2), nn.Linear(3, 2)),
        (2, 3, 4),
        r"6 units of layer '0' through operation 'max_pool2d_with_indices' in layer '1' \(MaxPool1d\)",
    ),
    "torn by shapes": (
        through(lambda x: x.view(-1, 6, 4).mean(1) + x.view(-1, 4, 6).mean(2), 24, 4),
        (4, 5),
        "its shapes tear 6 units apart",
    ),
    "spectrum of units": (through(lambda x: torch.fft.rfft(x).abs(), 6, 4), (4, 5), "operation '_fft_r2c' in the"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_operation_that_holds_units_is_refused_by_its_name_and_its_layer(name):
    module, shape, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"cannot derive the permutations of the .*{message}.*say so by rules="):
        trace_symmetry(module.double(), torch.randn(*shape, generator=seeded(), dtype=torch.float64))


def test_what_torch_does_not_see_is_noticed_by_the_function():
    net = nn.Sequential(nn.Linear(5, 6), OfNumpy(), nn.Linear(6, 3)).double()
    turned = {name: x.roll(1, 0) if name.startswith("0") else x for name, x in net.state_dict().items()}
    with pytest.raises(RuntimeError, match="the permuted network computes another function"):
        align(net, net, turned, inputs=torch.randn(4, 5, generator=seeded(), dtype=torch.float64))


@torch.library.custom_op("tests_units::gate", mutates_args=())
def gate(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """No rule can be seen from outside: where x is large, the neighbour in a given order is added."""
    return x + 0.1 * x.index_select(-1, order)


def test_a_rule_can_be_given_by_hand():
    inputs = torch.randn(4, 5, generator=seeded(), dtype=torch.float64)
    swapped = torch.tensor([1, 0, 2, 3, 4, 5])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = {"a": nn.Linear(5, 6), "b": nn.Linear(6, 3)}
    net = Net(lambda net, x: net.b(gate(net.a(x), torch.arange(6))), **layers).double()
    held = Net(lambda net, x: net.b(gate(net.a(x), swapped)), **layers).double()
    with pytest.raises(ValueError, match="operation 'gate' in the forward of Net"):
        trace_symmetry(held, inputs)
    assert arranged(trace_symmetry(held, inputs, rules={"gate": "b.,.->b."})) == []
    assert arranged(trace_symmetry(net, inputs, rules={"tests_units::gate": "bc,.->bc"})) == [(6,)]
    with pytest.raises(ValueError, match=r"the rule 'c,\.->c' of 'gate' to have one letter for each axis"):
        trace_symmetry(net, inputs, rules={"gate": "c,.->c"})
    turned = {name: x.roll(1, 0) if name.startswith("a") else x for name, x in held.state_dict().items()}
    with pytest.raises(RuntimeError, match="a rule given by hand is wrong"):
        align(held, held, turned, inputs=inputs, rules={"gate": "bc,.->bc"})


def test_a_wrong_permutation_is_refused():
    symmetry = trace_symmetry(*make("mlp"))
    with pytest.raises(ValueError, match="a group of 0, 2; got '1'"):
        symmetry.permute({}, {"1": torch.arange(5)})
    with pytest.raises(ValueError, match=r"a permutation of the 5 units of group '0', of shape \(5,\)"):
        symmetry.permute({}, {"0": torch.tensor([0, 0, 1, 2, 3])})
