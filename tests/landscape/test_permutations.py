import copy

import pytest
import torch
from torch import nn

from kdlandscape.landscape.permutations.alignment import full_state
from kdlandscape.landscape.permutations.symmetries import inverse, trace_symmetry
from tests import dense
from tests.architectures import NAMES, Functional, make
from tests.cases import CASES


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def outputs(module, state, inputs):
    """Independent of the package: a copy of the module with the state loaded."""
    module = copy.deepcopy(module)
    module.load_state_dict(state, strict=False)
    with torch.no_grad():
        return dense.run(module, inputs)


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


@pytest.mark.parametrize("name", NAMES)
def test_a_permutation_and_its_inverse_give_back_every_tensor(name):
    module, inputs = make(name)
    symmetry = trace_symmetry(module, inputs)
    before = full_state(module, module)
    there = symmetry.random(seeded())
    back = symmetry.permute(symmetry.permute(before, there), {name: inverse(p) for name, p in there.items()})
    assert all(torch.equal(before[key], back[key]) for key in before)


def sizes(name):
    return {group: one.size for group, one in trace_symmetry(*make(name)).groups.items()}


def test_the_residual_stream_is_one_group_and_every_block_has_its_own():
    assert sizes("deep_residual") == {"1": 4, "2.branch.2": 4, "3.branch.2": 4, "4.branch.2": 4}
    stream = trace_symmetry(*make("deep_residual")).groups["1"]
    written = {slot.name for slot in stream.slots if slot.axis == 0 and slot.name.endswith("weight")}
    assert {"1.weight", "2.branch.5.weight", "3.branch.5.weight", "4.branch.5.weight"} <= written


def test_hidden_units_are_found_in_every_kind_of_network():
    assert sizes("mlp") == {"0": 5, "2": 5}
    assert sizes("functional") == {"first": 4, "head": 5}
    assert sizes("gated") == {"first": 4}
    assert sizes("depthwise") == {"0": 3, "5": 4}
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


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Concatenating(Functional):
    def forward(self, x):
        x = self.first(x)
        return torch.cat([x, x], 1)


class Bare(Functional):
    def forward(self, x):
        return torch.nn.functional.linear(self.scale, self.scale[None])


class Misaligned(Functional):
    def forward(self, x):
        x = self.first(x)[:, :, :4] if False else self.first(x)
        return x + x.transpose(1, 2)


class Unequal(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 1), nn.Linear(4, 3)

    def forward(self, x):
        return self.a(x) + self.b(x)


def seq(*layers):
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (Branching(), (4,), "Branching cannot be traced by torch.fx"),
        (Concatenating(), (2, 6), r"operation 'cat' \(cat\): there is no rule for it"),
        (Bare(), (2, 6), "there is no rule|outside a layer"),
        (Misaligned(), (2, 4), "its operands carry their units on different axes"),
        (Unequal(), (4,), "it joins 1 units with 3"),
        (seq(nn.Conv1d(1, 4, 3), nn.GroupNorm(2, 4)), (1, 6), r"layer '1' \(GroupNorm\): 2 groups of channels"),
        (seq(nn.Conv1d(1, 4, 3), nn.Conv1d(4, 4, 3, groups=2)), (1, 8), r"layer '1' \(Conv1d\): groups=2"),
        (seq(nn.Conv1d(1, 4, 3), nn.Linear(6, 2)), (1, 8), "it mixes axis 2, but the units lie on axis 1"),
        (seq(nn.Linear(4, 6), nn.MaxPool1d(2)), (3, 4), "it pools over axis 2, which carries units"),
        (seq(nn.Linear(4, 6), nn.Unflatten(1, (2, 3))), (4,), r"\(5, 6\) to \(5, 2, 3\) tears the 6 units apart"),
        (seq(nn.Linear(4, 6), nn.Bilinear(6, 6, 2)), (4,), "Bilinear"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(module, shape, message):
    inputs = torch.randn(5, *shape, generator=seeded())
    if isinstance(module, nn.Sequential) and isinstance(module[-1], nn.Bilinear):
        module[-1].forward = lambda x: x
    with pytest.raises(ValueError, match=message):
        trace_symmetry(module, inputs)


@pytest.mark.parametrize(("name", "layer"), [("attention", "MultiheadAttention"), ("lstm", "LSTM")])
def test_attention_and_recurrence_are_refused_by_the_name_of_their_layer(name, layer):
    module, _, (inputs, _) = next(case for case in CASES if case.name == name).make()
    with pytest.raises(ValueError, match=rf"layer '{name}' \({layer}\): there is no rule for it"):
        trace_symmetry(module, inputs)


def test_a_wrong_permutation_is_refused():
    symmetry = trace_symmetry(*make("mlp"))
    with pytest.raises(ValueError, match="a group of 0, 2; got '1'"):
        symmetry.permute({}, {"1": torch.arange(5)})
    with pytest.raises(ValueError, match="a permutation of the 5 units of group '0'"):
        symmetry.permute({}, {"0": torch.tensor([0, 0, 1, 2, 3])})
