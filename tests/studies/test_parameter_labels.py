"""The shipped notebooks have one vocabulary for their parameters."""

import pytest

from kdlandscape.studies.parameter_labels import NOTEBOOKS, WORDS, labels
from kdlandscape.sweeps.parameters import read_parameters
from kdlandscape.sweeps.places import shipped

#: They ask nothing of a study.
OTHERS = {"explore.ipynb", "gallery.ipynb", "your_problem.ipynb"}
#: Places, names and lists of things, along which nobody lays an axis.
NO_AXES = {
    *("axes", "checkpoints", "control", "cosines", "digests", "ensemble_sizes", "folder", "networks", "options"),
    *("problem", "root", "run", "settings", "sharpness", "studies", "study", "top_k", "workers", "chunk_size"),
}


def parameters(notebook):
    return set(read_parameters(shipped("notebooks") / notebook))


def test_the_vocabulary_knows_every_notebook_of_a_study():
    assert set(NOTEBOOKS) == {path.name for path in shipped("notebooks").glob("*.ipynb")} - OTHERS


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_parameter_that_can_be_an_axis_has_words(notebook):
    words = labels(notebook)
    assert not parameters(notebook) - NO_AXES - set(words)
    assert all(text.strip() == text and text for text in words.values())


def test_no_word_is_left_of_a_parameter_that_is_gone():
    assert set(WORDS) <= set().union(*map(parameters, NOTEBOOKS))


def test_a_notebook_can_mean_something_else_and_a_stranger_has_no_words():
    assert labels("claims.ipynb")["level"] != labels("flatness.ipynb")["level"]
    assert labels("mine.ipynb") == {}
