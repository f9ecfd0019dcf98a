import textwrap
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from kdlandscape.distillation import (
    Problem,
    ProblemError,
    Recipe,
    data,
    logits,
    networks,
    problem,
    random_thetas,
    train,
)
from kdlandscape.landscape.objective import Objective

GOOD = """
import torch
from torch import nn
from kdlandscape.distillation import Problem
from beside import COUNT

class Bag(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embed, self.norm, self.head = nn.Embedding(9, width), nn.BatchNorm1d(width), nn.Linear(width, 3)

    def forward(self, tokens, mask):
        kept = mask[..., None].float()
        return {"logits": self.head(self.norm((self.embed(tokens) * kept).sum(1)))}

def make(width=4, shift=0):
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(9, (COUNT, 5), generator=draw)
    labels = tokens.sum(1) % 3 + shift
    part = lambda rows: ({"tokens": tokens[rows], "mask": tokens[rows] > 0}, labels[rows])
    return Problem(network=lambda: Bag(width), train=part(slice(30)), test=part(slice(30, None)))

def broken():
    return 1 / 0

def other():
    return 3

def needs(folder):
    return folder
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(textwrap.dedent(GOOD))
    (tmp_path / "beside.py").write_text("COUNT = 40\n")
    return tmp_path


def test_ours_is_data_and_a_network_that_fits_them():
    made = problem("digits", "cnn", num_train=50, label_noise=0.2, seed=3, width=4)
    expected = data.load("digits", num_train=50, label_noise=0.2, seed=3)
    assert torch.equal(made.train[1], expected.train_targets)
    assert made.model(made.test[0]).shape == (360, 10)
    assert str(made.model) == str(networks.cnn(64, 10, width=4, dims=2))
    assert (made.num_classes, made.shape, made.batch_norm) == (10, (1, 8, 8), "frozen")
    assert made.checked().shape == made.shape


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_network_that_is_made_and_one_that_is_drawn_afresh_start_the_same(name):
    def make():
        return networks.network(name, 3 * 16 * 16 if name in ("vgg", "preact_resnet") else 256, 10, channels=None)

    assert torch.equal(random_thetas(make, [4]), random_thetas(make(), [4]))


def test_a_users_problem_is_a_function_in_a_file_with_options(folder, monkeypatch):
    monkeypatch.chdir(folder)
    made = problem("mine.py:make", options={"width": 6})
    assert made.name == "mine.py:make"
    assert made.model.embed.weight.shape == (9, 6)
    assert (made.num_classes, made.shape, made.batch_norm) == (3, None, "recalibrate")
    assert made.distill is not None
    assert torch.equal(made.distill[0]["tokens"], made.train[0]["tokens"])
    assert len(made.test[1]) == 10
    first, second = made.initial([0, 1])
    assert not torch.equal(first, second)
    assert str(folder) not in __import__("sys").path


def test_a_file_is_looked_for_where_the_command_was_given_too(folder, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setenv("PWD", str(folder))
    assert problem("mine.py:make").num_classes == 3


def test_a_users_problem_may_live_in_a_package(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    assert problem("mine:make").num_classes == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("none.py:make", {}, r"a Python file at .*none\.py, got nothing there"),
        ("mine.py:mak", {}, r"a function of mine\.py \(.*\), got 'mak'\. Did you mean 'make'"),
        ("mine.py:make", {"widht": 3}, r"options of width, shift; got 'widht'\. Did you mean 'width'"),
        ("mine.py:needs", {}, r"a value for its option 'folder', which has no default"),
        ("mine.py:broken", {}, r"mine\.py:broken raised ZeroDivisionError: division by zero \(mine\.py, line \d+\)"),
        ("mine.py:other", {}, r"to return a kdlandscape Problem, got int"),
        ("mine.py:make", {"shift": 2}, r"train labels from 0 to 2, for the 3 classes of the network, got 4"),
        ("no_package_of_this_name:make", {}, r"raised ModuleNotFoundError"),
        ("digits", {"width": 3}, r"no options for digits, a data set of ours; got width"),
    ],
)
def test_a_problem_that_cannot_be_made_says_where_and_why(folder, monkeypatch, name, options, message):
    monkeypatch.chdir(folder)
    with pytest.raises(ProblemError, match=message):
        problem(name, options=options)


def whole():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 4, generator=draw), torch.arange(12) % 3
    return Problem(network=lambda: nn.Linear(4, 3), train=(x, y), test=(x[:5], y[:5]), name="mine")


def test_data_sets_of_pairs_are_read_and_inputs_without_labels_are_for_distillation_only():
    p = whole()
    found = replace(p, train=TensorDataset(*p.train), distill=p.test[0]).checked()
    assert torch.equal(found.train[0], p.train[0])
    assert found.distill[1] is None
    assert found.shape == (4,)
    with pytest.raises(ProblemError, match=r"expected test as a pair \(inputs, targets\) or a Dataset of pairs"):
        replace(p, test=p.test[0]).checked()


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.coarse, self.fine = nn.Linear(4, 2), nn.Linear(4, 3)

    def forward(self, x):
        return {"coarse": self.coarse(x), "fine": self.fine(x)}


@pytest.mark.parametrize("outputs", ["fine", lambda found: found["fine"]])
def test_what_of_the_output_counts_is_the_users_choice_in_training_and_on_the_surface(outputs):
    p = replace(whole(), network=Two, outputs=outputs).checked()
    assert p.num_classes == 3
    assert list(dict(p.model.named_parameters())) == list(dict(Two().named_parameters()))
    start = p.initial([0])
    trained = train(p.model, start, *p.train, Recipe(epochs=1), generator=torch.Generator().manual_seed(0))
    moved = trained.thetas[0] != start[0]
    assert not moved[:10].any()  # the coarse head has no part in the loss
    assert moved[10:].any()
    state = trained.states[0]
    expected = p.train[0] @ state["fine.weight"].T + state["fine.bias"]
    torch.testing.assert_close(logits(p.model, trained, p.train[0])[0], expected)
    value = Objective(p.model, nn.CrossEntropyLoss(), p.train).value(state)
    torch.testing.assert_close(value, nn.functional.cross_entropy(expected, p.train[1]))
    with pytest.raises(ProblemError, match=r"has no part 'finest'"):
        replace(whole(), network=Two, outputs="finest").checked()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: {"network": lambda: 3}, r"mine: expected network\(\) to return a torch module, got int"),
        (lambda p: {"network": lambda: 1 / 0}, r"mine: its network\(\) raised ZeroDivisionError: division by zero"),
        (lambda p: {"network": lambda: nn.Linear(5, 3)}, r"its network fails on the train inputs \(.*\(4,\).*\): "),
        (lambda p: {"network": iter_widths()}, r"networks of the problem differ, first in 0\.weight: .*\[1, 4\].*"),
        (lambda p: {"test": (p.test[0].double(), p.test[1])}, r"inputs of train and of test differ, first in input 0"),
        (lambda p: {"test": (p.test[0][:, :3], p.test[1])}, r"of train and of test differ, .*\(4,\).*\(3,\)"),
        (lambda p: {"train": (p.train[0], p.train[1][:5])}, r"its train data: .*first axes \[5, 12\]"),
        (lambda p: {"train": (["a"] * 12, p.train[1])}, r"its train data: expected inputs as a tensor.*got str"),
        (lambda p: {"loss": nn.CrossEntropyLoss()}, r"its loss to give one number for each of 8 examples, got \(\)"),
        (lambda p: {"loss": lambda z, y: z.log().sum(-1) * float("nan")}, r"finite numbers of its loss on the train"),
        (lambda p: {"loss": lambda z, y: z.bad}, r"its loss fails on the train data: .*no attribute 'bad'"),
        (lambda p: {"network": lambda: nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))}, r"logits \(n, C\), got"),
    ],
)  # fmt: skip
def test_the_first_part_that_does_not_fit_is_named_before_anything_trains(change, message):
    p = whole()
    with pytest.raises(ProblemError, match=message):
        replace(p, **change(p)).checked()


def iter_widths():
    widths = iter(range(1, 9))

    def make():
        width = next(widths)
        return nn.Sequential(nn.Linear(4, width), nn.Linear(width, 3))

    return make


def test_the_weights_of_students_start_between_random_ones_and_the_teachers():
    random, teacher = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    starts = networks.mixed_starts(random, teacher, [0.0, 0.25, 1.0])
    torch.testing.assert_close(starts[1], 0.25 * teacher + 0.75 * random)
    assert torch.equal(starts[0], random)
    assert torch.equal(starts[2], teacher)


def test_a_misspelt_network_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"a network of mlp, .*; got 'cnm'\. Did you mean 'cnn'"):
        problem("digits", "cnm").model.eval()
