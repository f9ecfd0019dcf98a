import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from kdlandscape.distillation import networks
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import Ravel, SpaceError
from kdlandscape.landscape.paths.interpolation import barrier, interpolate
from kdlandscape.landscape.permutations.alignment import METHODS, align, check_invariance, full_state
from kdlandscape.landscape.permutations.symmetries import trace_symmetry
from tests.architectures import NAMES, make
from tests.cases import CASES
from tests.landscape.networks_with_units import KINDS, PUBLISHED, Net, kind, published
from tests.landscape.test_permutations import outputs, seeded

MAKERS = dict.fromkeys(NAMES, make) | dict.fromkeys(KINDS, kind) | dict.fromkeys(PUBLISHED, published)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MAKERS)
def test_a_planted_permutation_is_recovered_exactly_and_gives_the_same_outputs(name, method):
    module, inputs = MAKERS[name](name)[:2]
    symmetry, own = trace_symmetry(module, inputs), full_state(module, module)
    permuted = symmetry.permute(own, symmetry.random(seeded(3)))
    found = align(module, module, permuted, method=method, inputs=inputs)
    assert all(torch.equal(found[key], own[key]) for key in own)
    assert torch.equal(found.theta, Ravel.of(module).ravel(module))
    assert (outputs(module, found, inputs) - outputs(module, module.state_dict(), inputs)).abs().max() < 1e-10
    assert found.similarity[1] == pytest.approx(1)


@pytest.mark.parametrize("case", [case for case in CASES if case.name in NAMES], ids=lambda case: case.name)
def test_the_barrier_to_a_permuted_copy_is_zero_after_alignment(case):
    module, loss, data = case.make()
    symmetry = trace_symmetry(module, data[0])
    permuted = symmetry.permute(full_state(module, module), symmetry.random(seeded(3)))
    objective = Objective(module, loss, data)
    moved = align(objective, module, permuted)
    assert barrier(interpolate(objective, module, moved, t=5)).item() == pytest.approx(0, abs=1e-12)


BATCH = torch.randn(8, 6, generator=seeded(), dtype=torch.float64)


def two(width=20, dtype=torch.float64):
    network = networks.mlp(6, 3, width=width).to(dtype)
    a, b = networks.random_thetas(network, [0, 1])
    return network, a, b


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_alignment_brings_independent_networks_closer_and_keeps_their_dtype(method, dtype):
    network, a, b = two(dtype=dtype)
    inputs = torch.randn(200, 6, generator=seeded())
    found = align(network, a, b, method=method, inputs=inputs)
    assert found.theta.dtype == dtype
    assert torch.equal(found.theta.sort().values, b.sort().values)
    assert found.similarity[1] > found.similarity[0] + 0.1
    assert (a - found.theta).norm() < (a - b).norm()


def test_the_seed_decides_everything():
    network, a, b = two()
    first, again = (align(network, a, b, inputs=BATCH, generator=seeded(4), restarts=3) for _ in range(2))
    assert torch.equal(first.theta, again.theta)
    assert align(network, a, b, inputs=BATCH, generator=seeded(4), restarts=8).similarity[1] >= first.similarity[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_descent_ends_where_units_are_interchangeable(dtype):
    network, a, _ = two(width=8, dtype=dtype)
    flat = torch.full_like(a, 0.1)
    assert align(network, flat, flat, inputs=BATCH).sweeps == 1
    noisy = flat + 1e-7 * torch.randn(flat.shape, generator=seeded(), dtype=torch.float64).to(dtype)
    assert align(network, flat, noisy, inputs=BATCH).sweeps < 5


def test_the_descent_stops_at_a_local_optimum_of_the_similarity():
    network, a, b = two(width=5)
    found = align(network, a, b, inputs=BATCH)
    symmetry = trace_symmetry(network, BATCH)
    space = Ravel.of(network)
    best = a @ found.theta
    state = space.unravel(found.theta)
    for name in symmetry.groups:
        for i in range(5):
            for j in range(i):
                swap = torch.arange(5)
                swap[[i, j]] = torch.tensor([j, i])
                assert a @ space.ravel(symmetry.permute(state, {name: swap})) <= best + 1e-12


def test_running_statistics_come_from_the_module_that_is_aligned():
    module, inputs = make("batch_norm")
    other, _ = make("batch_norm")
    other[1].running_mean += 1.0
    found = align(module, module, other, inputs=inputs)
    permutation = found.permutations["0"]
    assert torch.equal(found.state["1.running_mean"], other[1].running_mean[permutation])


@pytest.mark.parametrize("name", ["batch_norm", "residual_batch_norm"])
def test_a_path_to_an_aligned_network_ends_at_the_loss_of_that_network(name):
    module, loss, data = next(case for case in CASES if case.name == name).make()
    other = copy.deepcopy(module)
    for tensor in other.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.roll(1, 0) + 0.3)
    objective = Objective(module, loss, data)
    found = align(objective, module, other)
    with torch.no_grad():
        own = loss(other.eval()(data[0]), data[1]).item()
    path = interpolate(objective, module, found, t=3)
    assert path["loss"][-1].item() == pytest.approx(own, rel=1e-12)
    assert path["loss"][0].item() == objective.value(module).item()
    assert path.attrs["running_statistics"].startswith("interpolated linearly with t")
    assert objective.value(found).item() == pytest.approx(own, rel=1e-12)
    assert objective.value(found.theta).item() != pytest.approx(own, rel=1e-3)  # theta alone carries no statistics


def test_a_changed_function_is_noticed():
    module, inputs = make("mlp")
    symmetry = trace_symmetry(module, inputs)
    state = full_state(module, module)
    changed = state | {"0.weight": state["0.weight"][[1, 0, 2, 3, 4]]}
    with pytest.raises(RuntimeError, match="the permuted network computes another function: its outputs differ by"):
        check_invariance(symmetry, state, changed, inputs)


def test_bad_requests_are_refused():
    network, a, b = two()
    with pytest.raises(ValueError, match="method to be one of weights, activations; got 'gradients'"):
        align(network, a, b, method="gradients")
    with pytest.raises(ValueError, match="expected an objective, or inputs=: Sequential has to be run on a batch"):
        align(network, a, b)
    with pytest.raises(SpaceError, match=r"parameter '0.weight' differs: expected shape \(20, 6\), got \(9, 6\)"):
        align(network, a, networks.mlp(6, 3, width=9), inputs=BATCH)
    with pytest.raises(SpaceError, match=r"parameter '4\.bias' of shape"):
        align(network, {k: v for k, v in network.state_dict().items() if k != "4.bias"}, b, inputs=BATCH)


@dataclass
class Answer:
    features: torch.Tensor
    logits: torch.Tensor


def answering(kind):
    def forward(net, x):
        features = net.a(x).relu()
        return kind(features, net.b(features))

    return Net(forward, a=nn.Linear(6, 5), b=nn.Linear(5, 3)).double()


def test_what_of_an_output_counts_stays_in_its_place_and_the_rest_may_move():
    def groups(net, **given):
        theta = net.theta if isinstance(net, Objective) else net
        return align(net, theta, theta, **given).permutations.keys()

    def objective(net, **given):
        return Objective(net, nn.CrossEntropyLoss(), (BATCH, torch.arange(8) % 3), **given)

    assert list(groups(answering(Answer), inputs=BATCH)) == ["a"]
    assert list(groups(answering(lambda *parts: parts), inputs=BATCH)) == []
    net = answering(lambda *parts: parts)
    assert list(groups(objective(net, outputs=1))) == ["a"]
    assert "a" not in groups(objective(net, outputs=0))
    assert list(groups(objective(answering(Answer)))) == ["a"]


def test_wrappers_of_a_network_are_taken_off():
    network, a, b = two()
    found = align(nn.DataParallel(network), a, b, inputs=BATCH)
    named = {f"module.{name}": tensor for name, tensor in found.items()}
    assert torch.equal(align(network, a, named, inputs=BATCH).theta, found.theta)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_an_objective_gives_the_architecture_and_the_inputs(dtype):
    network, a, b = two(dtype=dtype)
    data = torch.randn(100, 6, generator=seeded(1), dtype=torch.float64).to(dtype)
    objective = Objective(network, nn.CrossEntropyLoss(), (data, torch.arange(100) % 3), batch_size=50)
    for method in METHODS:
        found = align(objective, a, b, method=method)
        assert torch.equal(found.theta, align(network, a, b, method=method, inputs=data[:50]).theta)
        assert found.permutations.keys() == {"0", "2"}  # and not the outputs
        assert objective.value(found).item() == pytest.approx(
            objective.value(b).item(), rel=10 * torch.finfo(dtype).eps
        )
