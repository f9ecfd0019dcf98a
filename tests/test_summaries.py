"""The central objects show their sizes and settings, in a line and as a table whose text is escaped."""

from html.parser import HTMLParser

import pytest
import torch
from torch import nn

import kdlandscape as kdl
from kdlandscape.summary import as_table
from kdlandscape.sweeps.loading import load_spec
from tests.tiny_study import write_spec

HOSTILE = "<img src=x onerror=alert(1)> & 'x'"


class Cells(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def objective():
    draw = torch.Generator().manual_seed(0)
    data = torch.randn(30, 5, generator=draw), torch.randint(3, (30,), generator=draw)
    network = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    return kdl.Objective(network, nn.CrossEntropyLoss(), data, metrics={HOSTILE: kdl.labelled("x")(accuracy)})


def accuracy(outputs, targets):
    return (outputs.argmax(-1) == targets).float()


def shown(objective, name):
    other = kdl.random_directions(objective, 1).directions[0]
    make = {
        "objective": lambda: objective,
        "curvature": lambda: kdl.ggn(objective, objective.theta),
        "directions": lambda: kdl.random_directions(objective, 2),
        "alignment": lambda: kdl.align(objective, objective.theta, other),
        "problem": lambda: kdl.problem("mnist1d", num_train=20, width=4),
        "recipe": lambda: kdl.Recipe(epochs=7, weight_decay=0.01),
    }
    return make[name]()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("objective", ["Objective", "Sequential", "39 parameters", "30 examples", "nat", "float32 on cpu"]),
        ("curvature", ["Gauss–Newton", "39 × 39", "30 examples", "nat"]),
        ("directions", ["Directions", "2", "39 parameters", "filter"]),
        ("alignment", ["Alignment", "39 parameters", "1 group", "cosine"]),
        ("problem", ["mnist1d", "20 examples of 40", "cross_entropy"]),
        ("recipe", ["Recipe", "7", "0.01", "sgd"]),
    ],
)
def test_an_object_says_what_it_is_its_sizes_and_its_settings(objective, name, words):
    thing = shown(objective, name)
    table = Cells(thing._repr_html_())
    assert table.tags <= {"table", "caption", "b", "tr", "th", "td"}
    for word in words:
        assert word.lower() in " ".join(table.words).lower()
        assert word.lower() in repr(thing).lower() or name == "recipe"
    assert len(repr(thing)) < 1000


def test_names_of_a_user_are_text_in_a_table_and_long_ones_are_cut(objective):
    assert HOSTILE in "".join(Cells(objective._repr_html_()).words)
    assert len(as_table("x", {"y": "z" * 10_000})) < 400


def test_a_recipe_still_reads_as_the_call_that_makes_it():
    recipe = kdl.Recipe(epochs=3, optimizer="adam")
    assert eval(repr(recipe), {"Recipe": kdl.Recipe}) == recipe


def test_a_study_shows_its_question_its_axes_and_what_is_fixed(tmp_path):
    table = " ".join(Cells(load_spec("demo")._repr_html_()).words)
    assert "Study demo" in table
    assert "5 values" in table
    assert "7 values, inside a run" in table
    spec = write_spec(tmp_path, grid={"seed": [0]}, parameters={"folder": HOSTILE})
    assert "img" not in Cells(load_spec(spec)._repr_html_()).tags
