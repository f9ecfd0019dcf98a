"""The shipped notebooks have one vocabulary for their parameters."""

import pytest

from kdlandscape.cubes.words import MAX_SYMBOL
from kdlandscape.studies.parameter_labels import NOTEBOOKS, WORDS, labels
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.parameters import read_parameters
from kdlandscape.sweeps.places import shipped

#: They ask nothing of a study.
OTHERS = {"explore.ipynb", "gallery.ipynb", "your_problem.ipynb"}
#: Places and lists of numbers, along which nobody lays an axis; nor does anybody along lists of names.
NO_AXES = {
    *("checkpoints", "control", "cosines", "ensemble_sizes", "folder", "problem", "root", "run", "study", "top_k"),
    *("workers", "chunk_size"),
}


def parameters(notebook):
    known = read_parameters(shipped("notebooks") / notebook)
    lists = ("list[str]", "list[Literal", "dict[")
    return {name for name, one in known.items() if not one.spelling.startswith(lists)}


def test_the_vocabulary_knows_every_notebook_of_a_study():
    assert set(NOTEBOOKS) == {path.name for path in shipped("notebooks").glob("*.ipynb")} - OTHERS


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_parameter_that_can_be_an_axis_has_words(notebook):
    words = labels(notebook)
    assert not parameters(notebook) - NO_AXES - set(words)
    assert all(text.strip() == text and text for text in words.values())


@pytest.mark.parametrize("study", sorted(path.stem for path in shipped("papermill_runs").glob("*.yaml")))
def test_every_axis_of_a_shipped_study_is_called_by_its_words_on_a_slider_too(study):
    spec = load_spec(study)
    words = labels(spec.notebook)
    symbols = {"init_lambda", "temperature", "hard_weight", "level"}  # their notebooks give them a symbol, or one value
    assert all(len(words[name].split(" [")[0]) <= MAX_SYMBOL for name in set(spec.grid) - symbols)


def test_no_word_is_left_of_a_parameter_that_is_gone():
    assert set(WORDS) <= set().union(*map(parameters, NOTEBOOKS))


def test_a_notebook_can_mean_something_else_and_a_stranger_has_no_words():
    assert labels("claims.ipynb")["level"] != labels("flatness.ipynb")["level"]
    assert labels("mine.ipynb") == {}
