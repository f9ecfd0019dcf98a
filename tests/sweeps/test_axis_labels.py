"""Axes carry words from the spec or from a registered vocabulary into run files, cubes and pictures."""

import pytest

import kdlandscape as kdl
from kdlandscape.cubes.words import dim_label
from kdlandscape.sweeps import axis_labels as module
from kdlandscape.sweeps.axis_labels import UnreadLabels, axis_labels, label
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.loading import load_spec, make_spec
from kdlandscape.sweeps.study import run_study
from kdlandscape.sweeps.templates import new_study
from tests.inline import execute_inline
from tests.tiny_study import write_notebook, write_spec


def test_a_label_is_words_and_in_brackets_the_unit():
    assert label("learning rate [1/step]") == {"long_name": "learning rate", "units": "1/step"}
    assert label("width of the network") == {"long_name": "width of the network", "units": "1"}
    assert label("[odd]")["long_name"] == "[odd]"


def test_what_a_spec_says_of_its_axes_stands_in_the_cube_and_on_the_axis(tmp_path, monkeypatch):
    execute_inline(monkeypatch)
    path = write_spec(
        tmp_path,
        grid={"seed": [0, 1], "mode": ["ok"], "lam": [0.0, 0.5]},
        parameters={"folder": str(tmp_path)},
        labels={"mode": "how it goes", "lam": "strength [N]"},
    )
    folder = run_study(path, root=tmp_path / "studies", progress=False)
    with kdl.open_cube(folder) as cube:
        assert cube["mode"].attrs["long_name"] == "how it goes"
        assert dim_label(cube, "lam") == "strength [N]"
        assert "long_name" not in cube["seed"].attrs
    text = kdl.write_report(folder).read_text(encoding="utf-8")
    assert "strength" in text
    assert "strength [N]" in text  # in the lines that run the study again


def test_a_label_of_no_parameter_is_refused_with_a_suggestion(tmp_path):
    write_notebook(tmp_path / "tiny.ipynb")
    content = {"study": "s", "notebook": "tiny.ipynb", "grid": {"seed": [0]}, "labels": {"sed": "seed"}}
    with pytest.raises(SpecError, match=r"sed: expected a parameter of tiny.ipynb .* Did you mean 'seed'\?"):
        make_spec(content, beside=tmp_path)


def test_the_axes_of_a_shipped_study_have_the_words_of_the_vocabulary_unless_the_spec_has_others():
    asked = load_spec("angles", grid=["width=8,16"])
    found = axis_labels(asked)
    assert found["init_scale"]["long_name"] == "initial weight scale"
    assert set(found) == set(asked.grid)
    other = asked.model_copy(update={"labels": {"width": "breadth [units]"}})
    assert axis_labels(other)["width"] == {"long_name": "breadth", "units": "units"}


def test_a_copy_of_a_shipped_study_keeps_the_words_of_its_axes(tmp_path):
    spec, _ = new_study("mine", "subliminal", tmp_path)
    assert axis_labels(load_spec(spec)) == axis_labels(load_spec("subliminal"))


def test_a_vocabulary_that_fails_is_told_and_costs_its_words_alone(monkeypatch):
    monkeypatch.setattr(module, "load", lambda kind, name: 1 / 0)
    with pytest.warns(UnreadLabels, match="the vocabulary 'parameters' to be read, got ZeroDivisionError"):
        assert axis_labels(load_spec("subliminal")) == {}
