"""Right on whatever network, loss and data a user brings, or a refusal that says why and what to do."""

import copy
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

import kdlandscape as kdl
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import SpaceError
from tests import dense

EXACT = {"rtol": 1e-11, "atol": 1e-12}


def data(n=30, width=6, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, width, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(classes, (n,), generator=generator).sort().values  # sorted: parts differ most


def network(width=6, classes=3, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, classes)).double()


def direction(objective, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(objective.dim, generator=generator, dtype=torch.float64)


def agrees_with_plain_torch(objective, module, loss, pair):
    """Compare value, gradient and Hessian product with plain torch on all the data as one batch."""
    theta, v = objective.theta, direction(objective)
    torch.testing.assert_close(objective.value(theta), dense.value(module, loss, pair, theta), **EXACT)
    torch.testing.assert_close(objective.grad(theta), dense.grad(module, loss, pair, theta), **EXACT)
    torch.testing.assert_close(objective.hvp(theta, v), dense.hessian(module, loss, pair, theta) @ v, **EXACT)


# Networks that mix the examples of a batch.


class AcrossExamples(nn.Module):
    """Attention in which each example looks at all the others."""

    def __init__(self):
        super().__init__()
        self.inside, self.out = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        h = self.inside(x).tanh()
        return self.out((h @ h.T).softmax(-1) @ h)


class Centred(AcrossExamples):
    def forward(self, x):
        h = self.inside(x).tanh()
        return self.out(h - h.mean(0))


class Normed(AcrossExamples):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(5, track_running_stats=False)

    def forward(self, x):
        return self.out(self.norm(self.inside(x)).tanh())


@pytest.mark.parametrize("kind", [AcrossExamples, Centred, Normed])
def test_a_network_that_mixes_examples_keeps_its_batches_everywhere(kind, monkeypatch):
    monkeypatch.setattr("kdlandscape.landscape.measured.ACTIVATION_BYTES", {"cpu": 256}, raising=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = kind().double()
    pair, loss = data(), nn.CrossEntropyLoss()
    objective = Objective(module, loss, pair)
    assert objective.mixes
    agrees_with_plain_torch(objective, module, loss, pair)
    line = kdl.slice_line(objective, module, direction(objective), x=[0.0])
    assert float(line["loss"][0]) == pytest.approx(float(dense.value(module, loss, pair, objective.theta)), rel=1e-12)
    assert line.attrs["batch_size"] == 30
    h = kdl.hessian(objective, module)
    torch.testing.assert_close(
        h @ direction(objective), dense.hessian(module, loss, pair, objective.theta) @ direction(objective), **EXACT
    )
    with pytest.raises(ValueError, match=r"mixes the examples of a batch .* expected Strategy"):
        objective.evaluate(objective.theta[None], strategy=kdl.Strategy(examples=10))


def test_a_network_that_keeps_examples_apart_may_be_cut():
    assert not Objective(network(), nn.CrossEntropyLoss(), data()).mixes
    conv = nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).float()
    inputs, targets = data()
    assert not Objective(conv, nn.CrossEntropyLoss(), (inputs[:, None].float(), targets)).mixes


# Losses: soft labels with places, means whatever their scale and precision, subclasses.


@pytest.mark.parametrize("places", [(), (4,), (2, 3)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_soft_labels_are_averaged_over_their_places(places, weighted, batch_size):
    generator = torch.Generator().manual_seed(1)
    kernel = {0: nn.Linear(2, 3), 1: nn.Conv1d(2, 3, 1), 2: nn.Conv2d(2, 3, 1)}[len(places)].double()
    inputs = torch.randn(10, 2, *places, generator=generator, dtype=torch.float64)
    targets = torch.randn(10, 3, *places, generator=generator, dtype=torch.float64).softmax(1)
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64) if weighted else None
    loss = nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1)
    agrees_with_plain_torch(
        Objective(kernel, loss, (inputs, targets), batch_size=batch_size), kernel, loss, (inputs, targets)
    )


def summed(outputs, targets):
    return functional.cross_entropy(outputs, targets, reduction="sum")


def tiny_sum(outputs, targets):
    return 1e-9 * functional.cross_entropy(outputs, targets, reduction="sum")


def weighted_mean(outputs, targets):
    return functional.cross_entropy(outputs, targets, weight=torch.tensor([1.0, 1.1, 1.2]).to(outputs))


def root(outputs, targets):
    return functional.cross_entropy(outputs, targets).sqrt()


def most(outputs, targets):
    return functional.cross_entropy(outputs, targets, reduction="none").max()


@pytest.mark.parametrize("loss", [summed, tiny_sum, weighted_mean, root, most, nn.CrossEntropyLoss(reduction="sum")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_loss_that_is_no_mean_is_refused_whatever_its_scale_and_precision(loss, dtype):
    inputs, targets = data()
    with pytest.raises(ValueError, match=r"'loss' is no mean over examples: .* pair \(sum, weight\)"):
        Objective(network().to(dtype), loss, (inputs, targets), dtype=dtype)


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss(), lambda o, y: ((o - y) ** 2).mean()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_and_targets_of_other_shapes_are_refused(loss, dtype):
    inputs = torch.randn(20, 6, dtype=dtype, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"multiplie[sd] out"):
        Objective(nn.Linear(6, 1).to(dtype), loss, (inputs, inputs.sum(1)))


def test_a_mean_near_zero_is_a_mean():
    module, (inputs, _) = network(), data()
    soft = module(inputs).detach()

    def divergence(outputs, targets):
        return (targets.softmax(-1) * (targets.log_softmax(-1) - outputs.log_softmax(-1))).sum(-1).mean()

    for dtype in (torch.float32, torch.float64):
        objective = Objective(module.to(dtype), divergence, (inputs, soft), dtype=dtype)
        assert abs(float(objective.value(objective.theta))) < 1e-6


class Scaled(nn.CrossEntropyLoss):
    def forward(self, outputs, targets):
        return 3 * functional.cross_entropy(outputs, targets)


def test_a_subclass_with_a_forward_of_its_own_is_asked_itself():
    module, pair = network(), data()
    agrees_with_plain_torch(Objective(module, Scaled(), pair, batch_size=7), module, Scaled(), pair)


def test_a_weight_for_each_example_of_the_whole_set_says_where_it_belongs():
    inputs, targets = data()
    loss = nn.BCEWithLogitsLoss(weight=torch.rand(30, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="a weight of each example belongs into the targets"):
        Objective(nn.Linear(6, 1).double(), loss, (inputs, (targets > 0)[:, None].double()))


# Buffers that move.


class Counting(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.body, self.how = network(), how
        self.register_buffer("average", torch.zeros(6, dtype=torch.float64))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        with torch.no_grad():
            if self.how == "in place":
                self.average.mul_(0.9).add_(0.1 * x.mean(0) + 0.1)
            elif self.how == "copy":
                self.average.copy_(self.average + 1)
            elif self.how == "data":
                self.average.data.add_(1.0)
            else:
                self.average = self.average + 1
            self.calls += 1
        return self.body(x + 0.1 * self.average)


@pytest.mark.parametrize("how", ["in place", "copy", "data", "assigned"])
def test_buffers_that_forward_changes_are_frozen_for_every_pass(how):
    module, pair = Counting(how), data(n=12)
    before = copy.deepcopy(module.state_dict())
    objective = Objective(module, nn.CrossEntropyLoss(), pair)
    values = [float(objective.value(objective.theta)) for _ in range(3)]
    assert values[0] == values[1] == values[2]
    line = kdl.slice_line(objective, module, direction(objective), x=[0.0])
    assert float(line["loss"][0]) == values[0]
    path = kdl.interpolate(objective, module, module, t=5)
    np.testing.assert_allclose(path["loss"], values[0], rtol=1e-14)
    with torch.no_grad():
        expected = nn.CrossEntropyLoss()(copy.deepcopy(module)(pair[0]), pair[1])
    assert values[0] == pytest.approx(float(expected), rel=1e-12)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


# Precisions.


class TwoPrecisions(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(6, 8).bfloat16(), nn.LayerNorm(8), nn.Linear(8, 3).double()

    def forward(self, x):
        return self.last(self.norm(self.first(x.bfloat16()).float()).double())


def test_a_network_of_several_precisions_keeps_them():
    module, pair = TwoPrecisions(), data()
    objective = Objective(module, nn.CrossEntropyLoss(), pair)
    assert objective.dtype == torch.float64
    expected = nn.CrossEntropyLoss()(module(pair[0]), pair[1])
    assert float(objective.value(objective.theta)) == pytest.approx(expected.item(), rel=1e-12)
    gradient = torch.autograd.grad(expected, list(module.parameters()))
    torch.testing.assert_close(
        objective.grad(objective.theta), torch.cat([g.double().flatten() for g in gradient]), rtol=0.02, atol=2e-3
    )
    with pytest.raises(ValueError, match=r"does not run on a batch .* must have the same dtype"):
        Objective(module, nn.CrossEntropyLoss(), pair, dtype=torch.float32)  # forward itself asks for bfloat16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_networks_go_through_every_probe(dtype):
    inputs, targets = data(n=40)
    exact = Objective(network(), nn.CrossEntropyLoss(), (inputs, targets))
    other = network(seed=3)
    half = Objective(network().to(dtype), nn.CrossEntropyLoss(), (inputs.to(dtype), targets))
    assert half.value(half.theta).dtype == torch.float32
    assert float(half.value(half.theta)) == pytest.approx(float(exact.value(exact.theta)), rel=0.02)
    path = kdl.interpolate(half, network().to(dtype), other.to(dtype), t=5)
    reference = kdl.interpolate(exact, network(), network(seed=3), t=5)
    np.testing.assert_allclose(path["loss"], reference["loss"], rtol=0.03)
    directions = kdl.random_directions(network().to(dtype), 2, generator=torch.Generator().manual_seed(0))
    plane = kdl.slice_plane(half, half.theta, directions, x=3, y=3)
    assert np.isfinite(plane["loss"]).all()
    assert np.isfinite(
        kdl.bezier(half, half.theta, other.to(dtype), generator=torch.Generator(), steps=3)["loss"]
    ).all()


# Outputs, inputs, wrappers, checkpoints.


@dataclass
class Answer:
    scores: torch.Tensor
    logits: torch.Tensor
    loss: float = 0.0


class Object:
    def __init__(self, **parts):
        self.__dict__.update(parts)


Pair = namedtuple("Pair", ["logits", "hidden"])
SHAPES = {
    "tuple": lambda z, h: (z, h),
    "list": lambda z, h: [z, h],
    "nested": lambda z, h: ((z,), {"hidden": h}),
    "dict": lambda z, h: {"hidden": h, "logits": z},
    "dict without logits": lambda z, h: {"scores": z, "hidden": h},
    "dataclass": lambda z, h: Answer(h, z),
    "object": lambda z, h: Object(cache=object(), hidden=h, logits=z),
    "namedtuple": lambda z, h: Pair(logits=z, hidden=h),
    "scalar beside": lambda z, h: {"loss": h.mean(), "logits": z},
}


class Returns(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.body, self.shape = network(), SHAPES[shape]

    def forward(self, x):
        return self.shape(self.body(x), self.body[0](x))


@pytest.mark.parametrize("shape", SHAPES)
def test_any_output_that_holds_the_logits_will_do(shape):
    module, pair = Returns(shape), data()
    plain, objective = (Objective(m, nn.CrossEntropyLoss(), pair, batch_size=7) for m in (module.body, module))
    theta, v = plain.theta, direction(plain)
    assert objective.value(theta) == plain.value(theta)
    torch.testing.assert_close(objective.predict(theta), plain.predict(theta), rtol=0, atol=0)
    for product in ("hvp", "ggn_vp"):
        torch.testing.assert_close(getattr(objective, product)(theta, v), getattr(plain, product)(theta, v), **EXACT)


def test_outputs_picks_what_counts_and_a_loss_may_read_the_whole():
    module, pair = Returns("dict"), data()
    hidden = nn.Sequential(module.body[0])
    targets = torch.zeros(30, 5, dtype=torch.float64)
    for which in ("hidden", lambda output: output["hidden"]):
        objective = Objective(module, nn.MSELoss(), (pair[0], targets), outputs=which)
        expected = nn.MSELoss()(hidden(pair[0]), targets).detach()
        assert float(objective.value(objective.theta)) == pytest.approx(float(expected), rel=1e-12)
        assert objective.predict(objective.theta).shape == (30, 5)

    def both(output, y):
        return functional.cross_entropy(output["logits"], y) + output["hidden"].square().mean()

    objective = Objective(module, both, pair, batch_size=7, metrics={"nll": nn.CrossEntropyLoss()})
    with torch.no_grad():
        output = module(pair[0])
    assert float(objective.value(objective.theta)) == pytest.approx(float(both(output, pair[1])), rel=1e-12)
    assert float(objective.evaluate(objective.theta[None])["nll"][0]) == pytest.approx(
        float(functional.cross_entropy(output["logits"], pair[1])), rel=1e-12
    )
    with pytest.raises(ValueError, match=r"no part 'logit': expected one of \['hidden', 'logits'\]"):
        Objective(module, nn.CrossEntropyLoss(), pair, outputs="logit")


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, first, second):
        return self.body(first + 2 * second)


class Pairs(Dataset):
    def __init__(self, pair, kind):
        self.inputs, self.targets, self.kind = *pair, kind

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        x, y = self.inputs[i], self.targets[i]
        if self.kind == "labels":
            return {"first": x, "second": x, "labels": y}
        return {"tuple": (x, x), "list": [x, x], "dict": {"first": x, "second": x}}[self.kind], y


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "labels"])
@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: DataLoader(d, batch_size=7), lambda d: list(DataLoader(d, 8))])
def test_inputs_of_several_tensors_come_from_anywhere(kind, wrap):
    module, pair = TwoInputs().double(), data()
    objective = Objective(module, nn.CrossEntropyLoss(), wrap(Pairs(pair, kind)))
    expected = nn.CrossEntropyLoss()(module(pair[0], pair[0]), pair[1]).detach()
    assert float(objective.value(objective.theta)) == pytest.approx(float(expected), rel=1e-12)


def test_batches_that_are_padded_to_their_own_length_stay_apart():
    embed = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 5)).double()

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = embed

        def forward(self, tokens):
            return self.embed(tokens).mean(1)

    generator = torch.Generator().manual_seed(0)
    parts = [
        (torch.randint(9, (n, length), generator=generator), torch.randint(5, (n,), generator=generator))
        for n, length in ((4, 3), (6, 7), (2, 5))
    ]
    objective = Objective(Mean(), nn.CrossEntropyLoss(), parts)
    expected = sum(len(y) * nn.CrossEntropyLoss()(embed(x).mean(1), y).detach() for x, y in parts) / 12
    assert float(objective.value(objective.theta)) == pytest.approx(float(expected), rel=1e-12)
    assert objective.predict(objective.theta).shape == (12, 5)
    assert kdl.hessian(objective, objective.theta).trace(max_matvecs=4)["trace"].notnull()


WRAPPED = {
    "parallel": nn.DataParallel,
    "compiled": torch.compile,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "compiled and averaged": lambda module: torch.optim.swa_utils.AveragedModel(torch.compile(module)),
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_wrappers_and_their_checkpoints_are_understood(wrapper):
    module, pair = network(), data()
    wrapped = WRAPPED[wrapper](copy.deepcopy(module))
    plain = Objective(module, nn.CrossEntropyLoss(), pair)
    assert list(Objective(wrapped, nn.CrossEntropyLoss(), pair).shapes) == list(plain.shapes)
    for theta in (wrapped, wrapped.state_dict(), plain.theta.numpy()):
        assert plain.value(theta) == plain.value(module)
        assert float(kdl.interpolate(plain, module, theta, t=2)["loss"][-1]) == plain.value(module)


def test_checkpoints_of_trainers_and_tied_weights_are_understood():
    module, pair = network(), data()
    objective, state = Objective(module, nn.CrossEntropyLoss(), pair), module.state_dict()
    expected = objective.value(module)
    lightning = {"epoch": 3, "state_dict": {f"model.{name}": tensor for name, tensor in state.items()}}
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    for checkpoint in (lightning, {"model": dict(state)}, {"model_state_dict": dict(state), "step": 1}, arrays):
        assert objective.value(checkpoint) == expected

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x):
            return self.head(self.embed(x).tanh())

    tied = Tied().double()
    objective = Objective(tied, nn.CrossEntropyLoss(), pair)
    assert objective.value({"head.weight": tied.embed.weight}) == objective.value(tied)


def test_modules_that_cannot_be_used_say_what_to_give_instead():
    pair = data()
    scripted = torch.jit.trace(network(), pair[0][:2])
    with pytest.raises(ValueError, match="expected a plain module, got a ScriptModule"):
        Objective(scripted, nn.CrossEntropyLoss(), pair)
    images = torch.randint(256, (6, 1, 4, 4), dtype=torch.uint8)
    conv = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    with pytest.raises(ValueError, match=r"does not run on a batch .* \(6, 1, 4, 4\) uint8; .*made floats"):
        Objective(conv, nn.CrossEntropyLoss(), (images, torch.zeros(6, dtype=torch.long)))
    with pytest.raises(ValueError, match="gives other outputs when it runs again"):
        Objective(Random(), nn.CrossEntropyLoss(), pair)
    with pytest.raises(
        ValueError, match=r"expected a batch with its targets under 'labels', got the keys \['x', 'y'\]"
    ):
        Objective(network(), nn.CrossEntropyLoss(), {"x": pair[0], "y": pair[1]})


class Random(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, x):
        return functional.dropout(self.body(x), 0.5, training=True)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_the_old_weight_norm_names_the_new_one():
    module = nn.Sequential(torch.nn.utils.weight_norm(nn.Linear(6, 3))).double()
    module(data()[0])
    with pytest.raises(ValueError, match=r"cannot be copied .*parametrizations.weight_norm"):
        Objective(module, nn.CrossEntropyLoss(), data())


# Data that are not the same twice.


class Noisy(Dataset):
    def __init__(self, pair, source):
        self.inputs, self.targets, self.source = *pair, source

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        noise = torch.from_numpy(np.random.randn(6)) if self.source == "numpy" else torch.randn(6)  # noqa: NPY002
        return self.inputs[i] + noise, self.targets[i]


class Stream(IterableDataset):
    def __init__(self, pair):
        self.pair = pair

    def __iter__(self):
        for x, y in zip(*self.pair, strict=True):
            yield x + torch.randn(6).double(), y


def changing(pair):
    exact = TensorDataset(*pair)
    sampler = WeightedRandomSampler(torch.arange(1.0, 31), 30)
    return {
        "augmented by torch": Noisy(pair, "torch"),
        "augmented by numpy": DataLoader(Noisy(pair, "numpy"), batch_size=8),
        "dropped by chance": DataLoader(exact, batch_size=8, shuffle=True, drop_last=True),
        "sampled": DataLoader(exact, batch_size=8, sampler=sampler),
        "augmented in collate": DataLoader(
            exact, 8, collate_fn=lambda rows: _noisy(torch.utils.data.default_collate(rows))
        ),
    }


def _noisy(batch):
    return [batch[0] + torch.randn(batch[0].shape).double(), batch[1]]


@pytest.mark.parametrize("kind", changing(data()))
def test_data_that_are_not_the_same_twice_are_refused(kind):
    with pytest.raises(ValueError, match=r"two readings of the data differ: .* turn off random augmentation"):
        Objective(network(), nn.CrossEntropyLoss(), changing(data())[kind])


def test_a_stream_that_is_not_the_same_twice_is_refused():
    with pytest.raises(ValueError, match="two evaluations of 'loss' differ"):
        Objective(network(), nn.CrossEntropyLoss(), DataLoader(Stream(data()), batch_size=8))


def test_a_shuffled_loader_is_the_same_data_and_leaves_every_random_state_alone():
    pair = data()
    own = torch.Generator().manual_seed(4)
    loader = DataLoader(TensorDataset(*pair), batch_size=8, shuffle=True, generator=own)
    states = torch.get_rng_state(), own.get_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    objective = Objective(network(), nn.CrossEntropyLoss(), loader)
    expected = nn.CrossEntropyLoss()(network()(pair[0]), pair[1]).detach()
    assert float(objective.value(objective.theta)) == pytest.approx(float(expected), rel=1e-12)
    assert torch.equal(states[0], torch.get_rng_state())
    assert torch.equal(states[1], own.get_state())
    np.testing.assert_array_equal(states[2], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "scalar beside"])
def test_a_loss_that_reads_only_the_logits_of_a_whole_output_has_every_curvature(shape):
    module, pair = Returns(shape), data()
    read = {
        "tuple": lambda o: o[0],
        "list": lambda o: o[0],
        "nested": lambda o: o[0][0],
        "dict": lambda o: o["logits"],
        "dict without logits": lambda o: o["scores"],
    }.get(shape, lambda o: o.logits)
    whole = Objective(module, lambda o, y: functional.cross_entropy(read(o), y, reduction="none"), pair, batch_size=7)
    if shape == "dataclass":  # its first tensor is not its logits
        assert whole.predict(whole.theta).shape == (30, 3)
    plain = Objective(module.body, nn.CrossEntropyLoss(), pair)
    v = direction(plain)
    assert not whole.criteria.whole
    for make in (kdl.hessian, kdl.ggn, kdl.fisher, kdl.empirical_fisher):
        torch.testing.assert_close(make(whole, whole.theta) @ v, make(plain, plain.theta) @ v, **EXACT)


def test_a_loss_that_reads_more_than_the_logits_has_a_hessian_and_no_gauss_newton_matrix():
    module, pair = Returns("dict"), data()

    def both(output, y):
        return functional.cross_entropy(output["logits"], y, reduction="none") + output["hidden"].square().mean(1)

    objective = Objective(module, both, pair)
    assert objective.criteria.whole == {"loss"}
    assert torch.isfinite(kdl.hessian(objective, objective.theta) @ direction(objective)).all()
    with pytest.raises(ValueError, match="outputs in one tensor"):
        kdl.ggn(objective, objective.theta) @ direction(objective)


def test_what_is_no_theta_no_module_and_no_loss_is_refused_in_a_sentence():
    module, pair = network(), data()
    objective = Objective(module, nn.CrossEntropyLoss(), pair)
    assert objective.value(objective.theta.numpy()) == objective.value(objective.theta)
    for odd in ("file.pt", None, list(module.parameters()), 3):
        with pytest.raises(SpaceError, match=r"expected theta as a flat tensor, a module or a state dict, got"):
            objective.value(odd)
    for odd in (module.forward, "net"):
        with pytest.raises(TypeError, match=r"expected a torch.nn.Module, got"):
            Objective(odd, nn.CrossEntropyLoss(), pair)
    with pytest.raises(TypeError, match=r"make one of it: CrossEntropyLoss\(\)"):
        Objective(module, nn.CrossEntropyLoss, pair)
    with pytest.raises(TypeError, match="expected the loss as a function of outputs and targets, got 'ce'"):
        Objective(module, "ce", pair)
    with pytest.raises(ValueError, match=r"'loss' does not take the outputs .*30, 3.* and targets .*30,"):
        Objective(module, nn.CrossEntropyLoss(), (pair[0], pair[0][:, 0]))
    numbers = Objective(module, nn.CrossEntropyLoss(), (pair[0].numpy(), pair[1].tolist()))
    assert numbers.value(module) == objective.value(module)


class Graph:
    def __init__(self):
        self.features = torch.randn(8, 6).double()


def test_data_that_hold_no_tensors_say_what_to_give_instead():
    targets = torch.zeros(8, dtype=torch.long)
    for odd in (Graph(), ["text"] * 8):
        with pytest.raises(ValueError, match=r"or tuples and dicts of them, got (Graph|str): give the"):
            Objective(network(), nn.CrossEntropyLoss(), (odd, targets))
    with pytest.raises(ValueError, match="with a first axis of examples, got the single number 3"):
        Objective(network(), nn.CrossEntropyLoss(), [(data()[0], 3)])
