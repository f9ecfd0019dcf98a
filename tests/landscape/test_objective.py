import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import SpaceError
from kdlandscape.landscape.slices import slice_line
from tests import dense
from tests.cases import CASES, DEVICES, IDS, N

EXACT = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch_size", [None, 1, 7, 22])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_value_and_gradient_equal_the_dense_reference_whatever_the_batch_size(case, batch_size, device):
    module, loss, data = case.make(device)
    objective = Objective(module, loss, data, batch_size=batch_size)
    theta = dense.theta_of(module) * 1.1
    torch.testing.assert_close(objective.value(theta), dense.value(module, loss, data, theta), **EXACT)
    torch.testing.assert_close(objective.grad(theta), dense.grad(module, loss, data, theta), **EXACT)


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_hessian_products_equal_the_dense_hessian(case, batch_size):
    module, loss, data = case.make()
    objective = Objective(module, loss, data, batch_size=batch_size)
    theta = dense.theta_of(module) * 1.1
    v = torch.randn(3, objective.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = v @ dense.hessian(module, loss, data, theta)
    torch.testing.assert_close(objective.hvp(theta, v), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_ggn_products_equal_the_dense_ggn(case):
    module, loss, data = case.make()
    objective = Objective(module, loss, data, batch_size=9)
    theta = dense.theta_of(module) * 1.1
    v = torch.randn(2, objective.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = v @ dense.ggn(module, loss, data, theta)
    torch.testing.assert_close(objective.ggn_vp(theta, v), expected, rtol=1e-10, atol=1e-10)


def test_several_metrics_come_from_one_forward_pass():
    module, loss, data = CASES[0].make()
    passes = []
    module.register_forward_hook(lambda *args: passes.append(1))
    objective = Objective(module, loss, data, metrics={"right": lambda z, y: (z.argmax(-1) == y).double()})
    passes.clear()
    values = objective.evaluate(torch.stack([objective.theta, 2 * objective.theta]))
    assert len(passes) == 2
    expected = (module(data[0]).argmax(-1) == data[1]).double().mean()
    assert float(values["right"][0]) == pytest.approx(float(expected))


class Rows(Dataset):
    """A map-style data set."""

    def __init__(self, pair):
        self.pair = pair

    def __len__(self):
        return N

    def __getitem__(self, i):
        return self.pair[0][i], self.pair[1][i]


def test_tensors_a_dataset_and_a_loader_give_the_same_loss():
    module, loss, data = CASES[0].make()
    sources = [data, Rows(data), TensorDataset(*data), DataLoader(Rows(data), batch_size=5)]
    values = [Objective(module, loss, source).value(module) for source in sources]
    torch.testing.assert_close(torch.stack(values), values[0].expand(4), **EXACT)


def test_data_too_large_to_hold_are_streamed_with_the_same_result(monkeypatch):
    module, loss, data = CASES[0].make()
    held = Objective(module, loss, DataLoader(Rows(data), batch_size=5))
    monkeypatch.setattr("kdlandscape.landscape.batches.HOLD_BYTES", 0)
    streamed = Objective(module, loss, DataLoader(Rows(data), batch_size=5))
    torch.testing.assert_close(streamed.value(module), held.value(module), **EXACT)
    torch.testing.assert_close(streamed.hvp(module, held.theta), held.hvp(module, held.theta), **EXACT)


def snapshot(module):
    return (
        {name: tensor.clone() for name, tensor in module.state_dict().items()},
        {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()},
        {name: (m.training, id(m)) for name, m in module.named_modules()},
        {name: p.requires_grad for name, p in module.named_parameters()},
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),  # noqa: NPY002
        random.getstate(),
    )


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, torch.Tensor | np.ndarray):
        return bool((a == b).all())
    return a == b


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_and_the_random_state_are_bit_identical_afterwards_also_after_an_error(fails):
    module, loss, data = CASES[IDS.index("batch_norm")].make()
    module.train()
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = snapshot(module)
    objective = Objective(module, loss, DataLoader(Rows(data), batch_size=5))
    for use in (objective.value, objective.grad, lambda theta: objective.hvp(theta, theta), objective.predict):
        if fails:
            with pytest.raises(ValueError, match="expected theta"):
                use(objective.theta[:-1])
        else:
            use(objective.theta)
    assert all(same(a, b) for a, b in zip(before, snapshot(module), strict=True))


def test_changing_the_callers_weights_afterwards_changes_nothing():
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    before = objective.value(objective.theta)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert objective.value(objective.theta) == before


def test_another_space_is_refused_by_naming_the_first_parameter_that_differs():
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    wider = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    with pytest.raises(SpaceError, match=r"'0.weight' differs: expected shape \(5, 4\), got \(6, 4\)"):
        objective.value(wider)
    state = module.state_dict()
    state["0.weigth"] = state.pop("0.weight")
    with pytest.raises(SpaceError, match=r"'0.weight' of shape \(5, 4\) is missing; the nearest name is '0.weigth'"):
        objective.value(state)
    with pytest.raises(SpaceError, match="'extra' is unknown"):
        objective.value(module.state_dict() | {"extra": torch.zeros(1)})
    with pytest.raises(SpaceError, match="expected floating point"):
        objective.value(module.state_dict() | {"0.bias": torch.zeros(5, dtype=torch.long)})
    with pytest.raises(SpaceError, match=r"expected theta of shape \(73,\), got \(2,\)"):
        objective.value(torch.zeros(2))


def test_theta_goes_to_named_parameters_and_back():
    module, loss, data = CASES[IDS.index("tied")].make()
    objective = Objective(module, loss, data)
    names = ["first.weight", "first.bias", "second.bias", "head.weight", "head.bias"]
    assert list(objective.unravel(objective.theta)) == names
    assert torch.equal(objective.ravel(objective.unravel(objective.theta)), objective.theta)
    assert torch.equal(objective.ravel(module), objective.ravel(module.state_dict()))


def test_a_module_without_trainable_parameters_is_refused():
    module, loss, data = CASES[0].make()
    with pytest.raises(ValueError, match="no trainable parameter"):
        Objective(copy.deepcopy(module).requires_grad_(False), loss, data)


def test_a_random_pipeline_is_refused():
    module, loss, _ = CASES[0].make()

    class Noisy(Rows):
        def __getitem__(self, i):
            return self.pair[0][i] + torch.randn(4), self.pair[1][i]

    _, _, data = CASES[0].make()
    loader = DataLoader(Noisy(data), batch_size=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdlandscape.landscape.batches.HOLD_BYTES", 0)
        patch.setattr("kdlandscape.landscape.batches.preserve_rng", nothing)
        with pytest.raises(ValueError, match="two evaluations of 'loss' differ"):
            Objective(module, loss, loader)


class nothing:  # noqa: N801
    def __enter__(self):
        return None

    def __exit__(self, *error):
        return None


def test_a_scalar_loss_that_is_no_mean_over_examples_is_refused():
    module, _, data = CASES[0].make()
    with pytest.raises(ValueError, match="'loss' is no mean over examples"):
        Objective(module, lambda z, y: nn.functional.cross_entropy(z, y, reduction="sum"), data)
    weight = torch.tensor([0.1, 1.0, 9.0], dtype=torch.float64)
    with pytest.raises(ValueError, match="'loss' is no mean over examples"):
        Objective(module, lambda z, y: nn.functional.cross_entropy(z, y, weight=weight), data)
    with pytest.raises(ValueError, match=r"got shape \(23, 3\)"):
        Objective(module, lambda z, y: z, data)


def test_a_pair_of_sum_and_weight_is_averaged_over_the_whole_data_set():
    module, _, data = CASES[0].make()
    weight = torch.tensor([0.1, 1.0, 9.0], dtype=torch.float64)

    def loss(z, y):
        return nn.functional.cross_entropy(z, y, weight=weight, reduction="sum"), weight[y].sum()

    value = Objective(module, loss, data, batch_size=4).value(module)
    torch.testing.assert_close(value, nn.functional.cross_entropy(module(data[0]), data[1], weight=weight), **EXACT)


def test_bad_data_are_refused_with_what_was_expected():
    module, loss, data = CASES[0].make()
    with pytest.raises(ValueError, match="the data are empty"):
        Objective(module, loss, (data[0][:0], data[1][:0]))
    with pytest.raises(ValueError, match="the data are empty"):
        Objective(module, loss, DataLoader(TensorDataset(data[0][:0], data[1][:0])))
    with pytest.raises(ValueError, match=r"first axes \[5, 23\]"):
        Objective(module, loss, (data[0], data[1][:5]))
    with pytest.raises(ValueError, match="got tuple of length 1"):
        Objective(module, loss, (data[0],))
    with pytest.raises(ValueError, match="batch_size of at least 1, got 0"):
        Objective(module, loss, data, batch_size=0)
    with pytest.raises(ValueError, match="finite"):
        Objective(module, loss, (data[0] * float("nan"), data[1]))
    with pytest.raises(ValueError, match="may not be called 'loss'"):
        Objective(module, loss, data, metrics={"loss": loss})
    with pytest.raises(ValueError, match=r"points of shape \(K, 73\)"):
        Objective(module, loss, data).evaluate(torch.zeros(73))


def test_products_refuse_vectors_of_another_length():
    module, loss, data = CASES[0].make()
    with pytest.raises(ValueError, match=r"expected v of shape \(73,\) or \(K, 73\), got \(3,\)"):
        Objective(module, loss, data).hvp(module, torch.zeros(3))


def test_the_dtype_and_the_device_are_arguments():
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data, dtype=torch.float32)
    assert objective.theta.dtype == objective.value(module).dtype == torch.float32
    assert float(objective.value(module)) == pytest.approx(loss(module(data[0]), data[1]).item(), rel=1e-6)


@pytest.mark.parametrize("as_module", [True, False])
def test_another_network_brings_its_own_statistics_and_frozen_parts(as_module):
    module, loss, data = next(case for case in CASES if case.name == "batch_norm").make()
    next(module.parameters()).requires_grad_(False)
    objective = Objective(module, loss, data)
    other = copy.deepcopy(module)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1.3).add_(0.1)
    reference = Objective(other, loss, data)
    given = other if as_module else other.state_dict()
    theta = reference.theta
    assert objective.value(given) == reference.value(theta)
    assert objective.value(given) != objective.value(theta)
    torch.testing.assert_close(objective.grad(given), reference.grad(theta), rtol=0, atol=0)
    torch.testing.assert_close(objective.predict(given), reference.predict(theta), rtol=0, atol=0)
    v = torch.randn(objective.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for product in ("hvp", "ggn_vp"):
        torch.testing.assert_close(getattr(objective, product)(given, v), getattr(reference, product)(theta, v))
    rows = torch.stack([v])
    ours, theirs = (slice_line(o, at, rows, x=3)["loss"].values for o, at in ((objective, given), (reference, theta)))
    np.testing.assert_array_equal(ours, theirs)
