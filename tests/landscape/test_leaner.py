"""A recorded program that is made leaner gives the same numbers with fewer operations."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from kdlandscape.distillation.losses import LOSSES
from kdlandscape.landscape.leaner import leaner
from kdlandscape.landscape.replay import traced

COPIES, EXAMPLES = 3, 32


class Twice(nn.Module):
    """One layer that is used twice, with what a rewrite could confuse: a swap, a factor of 1, a result that is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        first = self.layer(x)
        again = self.layer(x * 1).mT.mT
        return self.head(torch.relu(first) - first + again.expand_as(first))


NETWORKS = {
    "mlp": lambda: nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 4)),
    "without biases": lambda: nn.Sequential(nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 4, bias=False)),
    "few rows": lambda: nn.Sequential(
        nn.Unflatten(1, (3, 2)), nn.Linear(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)
    ),
    "twice": Twice,
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)
    ),
    "normalized": lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 4)),
    "in groups": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4)
    ),
}


def program(name, loss, dtype=torch.float64):
    torch.manual_seed(0)
    network = NETWORKS[name]().to(dtype)
    own = {key: torch.randn(COPIES, *value.shape, dtype=dtype) for key, value in network.named_parameters()}

    def one(parameters, z, x):
        return LOSSES[loss](z, functional_call(network, parameters, (x,)), 2.0).mean()

    return vmap(grad_and_value(one), in_dims=(0, 0, None)), own


def drawn(seed, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(*size, generator=draw, dtype=dtype) for size in ((COPIES, EXAMPLES, 4), (EXAMPLES, 6))]


@pytest.mark.parametrize("loss", ["tempered_kl", "cross_entropy", "brier"])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_numbers_are_the_same_on_other_arguments_too(name, loss):
    function, own = program(name, loss)
    recorded = make_fx(function)(own, *drawn(0))
    before = len(recorded.graph.nodes)
    lean = leaner(recorded)
    assert len(lean.graph.nodes) < 0.9 * before or name == "in groups"  # its backward pass overwrites what it made
    for seed in (0, 1):
        given = drawn(seed)
        copies = [one.clone() for one in given]
        slopes, values = lean(own, *given)
        expected, losses = function(own, *given)
        assert torch.allclose(values, losses, rtol=1e-12)
        assert all(torch.allclose(slopes[key], expected[key], rtol=1e-10, atol=1e-13) for key in expected)
        assert all(torch.equal(one, copy) for one, copy in zip(given, copies, strict=True))


def test_random_numbers_are_drawn_as_often_as_before():
    recorded = make_fx(lambda x: torch.rand_like(x) - torch.rand_like(x) + (x + 0) * 1)(torch.ones(50))
    found = leaner(recorded)(torch.ones(50))
    assert (found - 1).abs().max() > 0.1


def test_a_program_that_writes_into_its_input_is_left_alone():
    recorded = make_fx(lambda x: x.add_(1) * 1 + x.add_(1))(torch.zeros(2))
    assert torch.equal(leaner(recorded)(torch.zeros(2)), torch.full((2,), 3.0))


def test_a_program_that_names_places_in_memory_reads_the_same_numbers():
    def function(w, x):
        return torch.as_strided(torch.bmm(x, w), (2, 60), (60, 1)).sin()

    w, x = torch.randn(2, 3, 3), torch.randn(2, 20, 3)
    assert torch.equal(leaner(make_fx(function)(w, x))(w, x), function(w, x))


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_student_equal_to_its_teacher_has_no_gradient_to_the_bit(name):
    function, own = program(name, "tempered_kl", torch.float32)
    network = NETWORKS[name]()
    label = vmap(lambda parameters, x: functional_call(network, parameters, (x,)), in_dims=(0, None))
    x = drawn(3, torch.float32)[1]
    slopes, values = traced(lambda student, teacher, x: function(student, label(teacher, x), x))(own, own, x)
    assert all(not slope.any() for slope in slopes.values())
    assert not values.any()
