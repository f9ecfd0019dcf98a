"""Networks that cannot be batched train by the same recipe as those that can: as a plain PyTorch loop trains each."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

from kdlandscape.distillation.descent import Checkpoint
from kdlandscape.distillation.losses import tempered_kl
from kdlandscape.distillation.predictions import ensemble_of, logits
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.training import distill, train
from kdlandscape.landscape.objective import Objective

RECIPE = Recipe(epochs=2, batch_size=8, lr=0.05, lr_end=0.01, weight_decay=1e-3)
K, N, CLASSES = 2, 20, 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Counting(nn.Module):
    """Counts its training steps in a buffer that it replaces by another tensor."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, CLASSES)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x):
        if self.training:
            self.seen = self.seen + len(x)
        return self.scale * self.layer(x)


class Answer(nn.Module):
    """Returns an object, and takes two inputs by name."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 5), nn.Linear(5, CLASSES)
        self.register_buffer("places", torch.linspace(0, 1, 6))

    def forward(self, tokens, mask):
        kept = mask[..., None].to(self.embed.weight.dtype)
        vectors = (self.embed(tokens) + self.places[:, None].to(kept)) * kept
        return {"hidden": vectors, "logits": self.head(vectors.sum(1) / kept.sum(1))}


def residual():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4, momentum=None), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, CLASSES),
    )  # fmt: skip


def encoder():
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Flatten(), nn.Linear(12, 3))


def dropped():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, CLASSES))


def draw(*shape):
    return torch.randn(*shape, generator=seeded(7), dtype=torch.float64)


def words():
    tokens = torch.randint(9, (N, 6), generator=seeded(3))
    return {"tokens": tokens, "mask": tokens > 0}


CASES = {
    "batch norm": (residual, lambda: draw(N, 1, 6, 6), r"changes 1\.running_mean, 1\.running_var"),
    "lstm": (Lstm, lambda: draw(N, 5, 4), "vmap cannot batch it"),
    "dropout": (dropped, lambda: draw(N, 4), "draws random numbers"),
    "counter": (Counting, lambda: draw(N, 4), "changes seen$"),
    "encoder": (encoder, lambda: draw(N, 3, 4), None),
    "named inputs": (Answer, words, None),
}


def problem(name):
    make, data, reason = CASES[name]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = make().double()
        starts = [make().double() for _ in range(K + 1)]
    targets = torch.randint(CLASSES, (N,), generator=seeded(5))
    return network, starts[:K], starts[K].eval(), data(), targets, reason


def plain(network, inputs, loss, generator):
    """Train one network as a PyTorch user would, with the same order of examples."""
    network = copy.deepcopy(network).train()
    random = any(isinstance(layer, nn.Dropout) and layer.p for layer in network.modules())
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9, nesterov=True, weight_decay=1e-3)
    for epoch in range(RECIPE.epochs):
        for step, rows in enumerate(torch.randperm(N, generator=generator).split(8)):
            optimizer.param_groups[0]["lr"] = RECIPE.rate(epoch, step / 3)
            batch = {n: v[rows] for n, v in inputs.items()} if isinstance(inputs, dict) else inputs[rows]
            if random:
                torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            found = network(**batch)["logits"] if isinstance(batch, dict) else network(batch)
            optimizer.zero_grad()
            loss(found, rows).backward()
            optimizer.step()
    return network


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ["train", "distill"])
def test_every_network_trains_as_in_a_plain_loop_and_keeps_its_own_running_statistics(name, kind):
    network, starts, teacher, inputs, targets, reason = problem(name)

    def ask(x):
        found = teacher(**x)["logits"] if isinstance(x, dict) else teacher(x)
        return found.detach()

    def run():
        if kind == "train":
            return train(network, starts, inputs, targets, RECIPE, generator=seeded())
        return distill(network, starts, teacher, inputs, RECIPE, generator=seeded(), temperature=2.0)

    if reason is None:
        trained = run()
    else:
        with pytest.warns(UserWarning, match=rf"trains its 2 networks one after another: .*{reason}"):
            trained = run()
    labels = ask(inputs)
    losses = {
        "train": lambda z, rows: nn.functional.cross_entropy(z, targets[rows]),
        "distill": lambda z, rows: tempered_kl(labels[rows], z, 2.0).mean(),
    }
    for k, state in enumerate(trained.states):
        with torch.random.fork_rng():
            expected = plain(starts[k], inputs, losses[kind], seeded())
        for key, tensor in expected.state_dict().items():
            if key in state:
                torch.testing.assert_close(state[key], tensor, rtol=1e-9, atol=1e-10)
            else:
                assert torch.equal(tensor, network.state_dict()[key])
        with torch.no_grad():
            whole = expected.eval()(**inputs)["logits"] if isinstance(inputs, dict) else expected.eval()(inputs)
        torch.testing.assert_close(logits(network, trained, inputs)[k], whole, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(logits(network, state, inputs)[0], whole, rtol=1e-8, atol=1e-9)
    assert network.training
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), problem(name)[0].state_dict().values(),
                                                 strict=True))  # fmt: skip


def test_a_trained_state_is_a_point_of_an_objective_with_its_own_running_statistics():
    network, starts, _, inputs, targets, _ = problem("batch norm")
    with pytest.warns(UserWarning, match="one after another"):
        trained = train(network, starts, inputs, targets, RECIPE, generator=seeded())
    objective = Objective(network, nn.CrossEntropyLoss(), (inputs, targets))
    found = [float(objective.value(state)) for state in trained.states]
    z = logits(network, trained, inputs)
    expected = [float(nn.functional.cross_entropy(z[k], targets)) for k in range(K)]
    assert found == pytest.approx(expected)
    assert found[0] != pytest.approx(float(objective.value(trained.thetas[0])))


@pytest.mark.parametrize("name", ["lstm", "batch norm"])
def test_students_one_after_another_may_have_orders_of_their_own_and_resume_to_the_bit(name, tmp_path):
    network, starts, teacher, inputs, _, _ = problem(name)
    recipe = Recipe(epochs=4, batch_size=8, lr=0.05, patience=2, min_delta=0.0)

    def run(stop=None, saved=None, each=range(K)):
        calls = iter(range(10**6))

        def ask(x, generator):
            if stop is not None and next(calls) >= stop:
                raise KeyboardInterrupt
            return teacher(x)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return distill(network, [starts[k] for k in each], ask, inputs, recipe,
                           generator=[seeded(k) for k in each], checkpoint=saved)  # fmt: skip

    whole = run()
    for k in range(K):
        alone = run(each=[k])
        assert all(torch.equal(whole.states[k][key], tensor) for key, tensor in alone.states[0].items())
    saved = Checkpoint(tmp_path / "run.pt")
    with pytest.raises(KeyboardInterrupt):
        run(stop=15, saved=saved)
    resumed = run(saved=saved)
    assert all(torch.equal(whole.states[1][key], tensor) for key, tensor in resumed.states[1].items())
    assert torch.equal(resumed.losses, whole.losses)


def test_a_network_that_has_stopped_keeps_its_running_statistics():
    network, starts, teacher, inputs, _, _ = problem("batch norm")
    recipe = Recipe(epochs=6, batch_size=8, lr=1e-12, schedule="constant", patience=1, min_delta=1.0)
    seen = []

    def ask(x, generator):
        seen.append(len(x))
        return teacher(x) * (1 if len(seen) < 4 else 1 + len(seen))

    trained = distill(network, starts[:1], ask, inputs, recipe, generator=seeded())
    assert trained.losses[-1].isnan()
    assert int(trained.states[0]["1.num_batches_tracked"]) == len(seen)


def test_a_student_of_an_lstm_that_starts_as_its_teacher_does_not_move():
    network, starts, teacher, inputs, _, _ = problem("lstm")
    network, teacher, start = network.float(), teacher.float(), starts[0].float()
    with pytest.warns(UserWarning, match="one after another"):
        trained = distill(network, [teacher, start], teacher, inputs.float(), Recipe(epochs=3, lr=0.5, batch_size=8),
                          generator=seeded(), temperature=4.0)  # fmt: skip
    flat = nn.utils.parameters_to_vector(teacher.parameters())
    assert torch.equal(trained.thetas[0], flat)
    assert (trained.losses[:, 0] == 0).all()
    assert not torch.equal(trained.thetas[1], nn.utils.parameters_to_vector(start.parameters()))


def test_teachers_with_running_statistics_label_by_their_own():
    network, starts, _, inputs, _, _ = problem("batch norm")
    for layer in (starts[0][1], starts[1][4]):
        layer.running_mean += 0.3
    small = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES)).double()
    students = [copy.deepcopy(small), copy.deepcopy(small)]
    got = distill(small, students, starts, inputs, RECIPE, generator=seeded(), teacher_network=network)
    for k, teacher in enumerate(starts):
        teacher.eval()
        alone = distill(small, small, lambda x, generator, t=teacher: t(x), inputs, RECIPE, generator=seeded())
        torch.testing.assert_close(got.thetas[k], alone.thetas[0], rtol=1e-9, atol=1e-10)
    together = ensemble_of(network, starts, inputs)
    expected = torch.stack([teacher(inputs).softmax(-1) for teacher in starts]).mean(0).log()
    torch.testing.assert_close(together, expected.detach(), rtol=1e-8, atol=1e-9)


def test_constant_buffers_are_no_running_statistics():
    network, starts, _, inputs, targets, _ = problem("named inputs")
    trained = train(network, torch.stack([nn.utils.parameters_to_vector(s.parameters()).detach() for s in starts]),
                    inputs, targets, RECIPE, generator=seeded())  # fmt: skip
    assert trained.members.buffers == {}
    state = trained.states[0]
    alone = functional_call(network, state, (), inputs)["logits"]
    torch.testing.assert_close(logits(network, trained.thetas, inputs)[0], alone, rtol=1e-9, atol=1e-10)


def test_data_may_be_a_set_a_loader_numpy_arrays_or_a_tuple():
    network, starts, _, _, targets, _ = problem("dropout")
    network, start, inputs = dropped()[:2].double(), nn.Sequential(*list(starts[0])[:2]), draw(N, 4)
    network, start = (nn.Sequential(*one, nn.Linear(16, CLASSES).double()) for one in (network, start))
    expected = train(network, start, inputs, targets, RECIPE, generator=seeded()).thetas
    pairs = TensorDataset(inputs, targets)
    for data, labels in (
        (pairs, None),
        (DataLoader(pairs, batch_size=7), None),
        (inputs.numpy(), targets.numpy()),
        ((inputs,), targets),
        ([inputs], targets),
    ):
        got = train(network, start.state_dict(), data, labels, RECIPE, generator=seeded()).thetas
        assert torch.equal(got, expected)
    soft = distill(network, start, start, pairs, RECIPE, generator=seeded(), hard_weight=1.0)
    torch.testing.assert_close(soft.thetas, expected, rtol=1e-9, atol=1e-10)


def test_arguments_of_another_kind_are_refused_in_a_sentence():
    network, starts, teacher, inputs, targets, _ = problem("lstm")
    settings = {"generator": seeded()}
    with pytest.raises(TypeError, match=r"inputs as a tensor, a tuple or dict of tensors, a Dataset .*; got str"):
        train(network, starts, ["a"] * N, targets, RECIPE, **settings)
    with pytest.raises(TypeError, match=r"networks as weights \(K, P\), modules, state dicts .*; got int"):
        train(network, 3, inputs, targets, RECIPE, **settings)
    with pytest.raises(ValueError, match=r"parameter 'lstm\.weight_ih_l0' .* is missing"):
        train(network, nn.Linear(2, 2), inputs, targets, RECIPE, **settings)
    with pytest.raises(ValueError, match="expected targets beside the inputs"):
        train(network, starts, inputs, None, RECIPE, **settings)
    with pytest.raises(ValueError, match="no targets beside a TensorDataset"):
        train(network, starts, TensorDataset(inputs, targets), targets, RECIPE, **settings)
    with pytest.raises(ValueError, match=r"share their first axis \(examples\), got first axes \[19, 20\]"):
        train(network, starts, inputs, targets[1:], RECIPE, **settings)
    with pytest.raises(ValueError, match=r"Lstm fails on the first examples, of shape \(4, 9\): .*"):
        train(network, starts, draw(N, 9), targets, RECIPE, **settings)
    with pytest.raises(TypeError, match="inputs as one tensor where views augment them, got dict"):
        train(problem("named inputs")[0], starts, words(), targets, RECIPE, views=lambda x, g: x, **settings)
    with pytest.raises(ValueError, match=r"a teacher for each student: shape \(2, \d+\), got \(3, \d+\)"):
        distill(network, starts, [teacher] * 3, inputs, RECIPE, **settings)
