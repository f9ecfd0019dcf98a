from pathlib import Path

import pytest

from kdlandscape.sweeps import places
from kdlandscape.sweeps.errors import StudyError


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """The package as a wheel installs it, in a directory that is no checkout."""
    package = tmp_path / "site-packages" / "kdlandscape"
    for name in ("notebooks/a.ipynb", "papermill_runs/demo.yaml"):
        (package / "templates" / name).parent.mkdir(parents=True)
        (package / "templates" / name).touch()
    monkeypatch.setattr(places, "_PACKAGE", package)
    monkeypatch.delenv(places.ROOT_VARIABLE, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return package


def test_a_checkout_offers_its_own_notebooks_and_specs(monkeypatch):
    monkeypatch.delenv(places.ROOT_VARIABLE, raising=False)
    root = places.checkout()
    assert (root / "pyproject.toml").is_file()
    assert places.shipped("notebooks") == root / "notebooks"
    assert places.studies_root() == root / "papermill_runs"


def test_an_installed_wheel_offers_the_copies_inside_it(wheel):
    assert places.checkout() is None
    assert places.find_notebook("a.ipynb") == wheel / "templates" / "notebooks" / "a.ipynb"
    assert places.find_spec("demo") == wheel / "templates" / "papermill_runs" / "demo.yaml"
    assert places.studies_root() == Path.cwd() / "papermill_runs"


def test_a_notebook_beside_its_spec_comes_before_a_shipped_one(wheel):
    Path("a.ipynb").touch()
    assert places.find_notebook("a.ipynb", Path.cwd()) == Path.cwd() / "a.ipynb"


def test_the_root_is_an_argument_or_a_variable(monkeypatch, tmp_path):
    monkeypatch.setenv(places.ROOT_VARIABLE, str(tmp_path / "variable"))
    assert places.studies_root() == tmp_path / "variable"
    assert places.studies_root(tmp_path / "argument") == tmp_path / "argument"


def test_a_study_is_found_by_folder_or_name(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "spec.yaml").touch()
    assert places.find_study("mine", tmp_path) == places.find_study(tmp_path / "mine") == tmp_path / "mine"
    with pytest.raises(StudyError, match=r"expected a study's folder or its name under .*\(mine\), got 'mime'"):
        places.find_study("mime", tmp_path)
