import pytest

from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.templates import new_study


def test_a_new_study_is_a_copy_of_a_shipped_one_that_can_be_run(tmp_path):
    spec, notebook = new_study("mine", "demo", tmp_path / "made")
    checked = load_spec(spec)
    assert checked.study == "mine"
    assert checked.facts.notebook_path == str(notebook.resolve())
    assert checked.grid == load_spec("demo").grid
    assert "# Stanton et al. 2021" in spec.read_text()  # comments are kept


def test_a_new_study_overwrites_nothing(tmp_path):
    (tmp_path / "mine.ipynb").write_text("precious")
    with pytest.raises(SpecError, match=r"expected a name that is free, got .*mine\.ipynb"):
        new_study("mine", "demo", tmp_path)
    assert not (tmp_path / "mine.yaml").exists()


@pytest.mark.parametrize(
    ("name", "template", "message"),
    [("../mine", "demo", "expected a plain file name"), ("mine", "dmo", "which does not exist")],
)
def test_a_new_study_needs_a_plain_name_and_a_known_template(name, template, message, tmp_path):
    with pytest.raises(SpecError, match=message):
        new_study(name, template, tmp_path)
    assert not list(tmp_path.iterdir())
