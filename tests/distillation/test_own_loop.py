"""A training loop of the user's own trains teachers and students: what it does is done, and nothing else."""

import copy

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import kdlandscape as kdl
from kdlandscape.distillation import Checkpoint, shuffled, tempered_kl, train_teachers


def data(count=64):
    inputs, targets = load_digits(return_X_y=True)
    return torch.tensor(inputs[:count]).float() / 16, torch.tensor(targets[:count])


def network():
    return nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 10))


def fit(network, loss, data, recipe):
    """Train with augmentation, another optimizer and schedule, mixed precision, clipping and an average of weights."""
    optimizer = torch.optim.RMSprop(network.parameters(), lr=recipe.lr)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    average = torch.optim.swa_utils.AveragedModel(network, use_buffers=True)
    for _ in range(recipe.epochs):
        for x, y in shuffled(data, recipe.batch_size):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                value = loss(network, x + 0.05 * torch.randn_like(x), y)
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            average.update_parameters(network)
        schedule.step()
    return average


RECIPE = kdl.Recipe(epochs=2, batch_size=16, lr=0.01, fit=fit)


def plain(start, loss, seed):
    """Run the same loop without the package around it."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    average = fit(start.train(), loss, data(), RECIPE)
    torch.set_rng_state(state)
    return average.module.eval()


def of_labels(network, x, y):
    return cross_entropy(network(x), y)


def first_seed(seed):
    return int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed)))


def equal(state, module):
    own = module.state_dict()
    return all(torch.equal(tensor, own[name]) for name, tensor in state.items())


def test_teachers_are_trained_bit_for_bit_as_the_loop_alone_would(tmp_path):
    before = torch.get_rng_state()
    taught = train_teachers(network, *data(), RECIPE, seeds=[3, 4], folder=tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(tmp_path.iterdir())  # a loop may have changed: its teachers are not kept
    for seed, state in zip([3, 4], taught.states, strict=True):
        torch.manual_seed(seed)
        expected = plain(network(), of_labels, first_seed(seed))
        assert equal(state, expected)
        assert "1.running_mean" in state


def test_students_are_distilled_bit_for_bit_with_the_teachers_view_of_the_same_inputs():
    torch.manual_seed(0)
    model, teacher = network(), network().eval()
    starts = [network(), network()]
    generator = torch.Generator().manual_seed(5)
    trained = kdl.distill(model, starts, teacher, data()[0], RECIPE, generator=generator, temperature=2.0)

    def of_teacher(student, x, y):
        with torch.autocast("cpu", enabled=False), torch.no_grad():
            labels = teacher(x)
        return tempered_kl(labels, student(x), 2.0).mean()

    for start, state in zip(starts, trained.states, strict=True):
        assert equal(state, plain(copy.deepcopy(start), of_teacher, first_seed(5)))
    assert trained.losses.shape == (2, 2)
    assert (trained.losses > 0).all()


def test_views_scaled_rates_hard_labels_and_the_recorded_way_reach_the_loop():
    rates = []

    def sgd(network, loss, data, recipe):
        rates.append((recipe.lr, recipe.lr_end))
        optimizer = torch.optim.SGD(network.parameters(), lr=recipe.lr)
        for x, y in shuffled(data, recipe.batch_size):
            optimizer.zero_grad()
            loss(network, x, y).backward()
            optimizer.step()

    model = nn.Linear(64, 10)
    starts = torch.randn(3, 650, generator=torch.Generator().manual_seed(0)) / 10
    recipe = kdl.Recipe(epochs=1, batch_size=16, lr=0.5, lr_end=0.1, fit=sgd)
    trained = kdl.distill(
        model, starts, starts[:1], data()[0], recipe, generator=torch.Generator().manual_seed(1), record_every=3,
        lr_scale=torch.tensor([1.0, 0.5, 1.0]), targets=data()[1], hard_weight=torch.tensor([0.0, 0.0, 1.0]),
    )  # fmt: skip
    assert rates == [(0.5, 0.1), (0.25, 0.05), (0.5, 0.1)]
    assert trained.steps == (0, 3, 4)
    assert torch.equal(trained.trajectory[0], starts)
    assert torch.equal(trained.trajectory[-1], trained.thetas)
    assert torch.allclose(trained.thetas[0], starts[0], atol=1e-6)  # it starts as its teacher
    mirrored = kdl.train(
        model, starts[:1], *data(), recipe, generator=torch.Generator().manual_seed(1), views=lambda x, draws: x.flip(1)
    )
    expected = kdl.train(
        model, starts[:1], data()[0].flip(1), data()[1], recipe, generator=torch.Generator().manual_seed(1)
    )
    assert torch.equal(mirrored.thetas, expected.thetas)


@pytest.mark.parametrize(
    ("loop", "error", "message"),
    [
        (lambda network, loss: None, TypeError, r"fit\(network, loss, data, recipe\), got .*too many positional"),
        (3, TypeError, r"fit\(network, loss, data, recipe\), got int"),
        (lambda *given: None, ValueError, r"loss that it gets, loss\(network, inputs, targets\); it never asked"),
        (lambda n, loss, d, r: [loss(n, d[0] / 0, d[1]), None][1], RuntimeError, "became nan in "),
        (lambda n, loss, d, r: loss(n, *d), TypeError, "to return a network, or nothing, got Tensor"),
    ],
)
def test_a_loop_that_cannot_train_is_refused(loop, error, message):
    def train():
        recipe = kdl.Recipe(fit=loop)
        kdl.train(nn.Linear(64, 10), torch.zeros(1, 650), *data(), recipe, generator=torch.Generator())

    with pytest.raises(error, match=message):
        train()


def test_a_checkpoint_of_ours_and_a_loop_of_ones_own_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint with a training loop of one's own"):
        kdl.train(
            nn.Linear(64, 10), torch.zeros(1, 650), *data(), RECIPE, generator=torch.Generator(),
            checkpoint=Checkpoint(tmp_path / "c.pt"),
        )  # fmt: skip
