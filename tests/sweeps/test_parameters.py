from typing import Any

import pytest

from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.notebook import code_hash
from kdlandscape.sweeps.parameters import read_parameters
from tests.tiny_study import write_notebook


def test_types_and_defaults_are_read_without_running_anything(tmp_path):
    found = read_parameters(write_notebook(tmp_path / "n.ipynb"))
    assert {name: (one.type, one.default) for name, one in found.items() if name in ("seed", "flag", "where")} == {
        "seed": (int, 0),
        "flag": (bool, False),
        "where": (Any, None),
    }
    assert list(found)[:3] == ["seed", "lam", "policy"]
    assert found["lam"].is_list
    assert found["free"].is_list
    assert not found["seed"].is_list


@pytest.mark.parametrize("annotation", ["np.ndarray", "list[Path]", "int if x else str", "Literal[x]", "int[3]"])
def test_an_annotation_that_is_not_understood_is_not_checked(annotation, tmp_path):
    assert read_parameters(write_notebook(tmp_path / "n.ipynb", f"a: {annotation} = 1"))["a"].type is Any


@pytest.mark.parametrize("annotation", ["typing.Optional[int]", "Optional[int]", "Union[int, None]", "int | None"])
def test_spellings_of_an_optional_type_are_one(annotation, tmp_path):
    assert read_parameters(write_notebook(tmp_path / "n.ipynb", f"a: {annotation} = 1"))["a"].type == int | None


def test_a_magic_in_the_parameters_cell_is_passed_over(tmp_path):
    assert list(read_parameters(write_notebook(tmp_path / "n.ipynb", "%matplotlib inline\na = b = 1"))) == ["a", "b"]


def test_a_notebook_without_a_parameters_cell_is_refused(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", "seed = 1", tags=())
    with pytest.raises(SpecError, match=r"expected a cell tagged 'parameters' .*, got none in n.ipynb"):
        read_parameters(path)


def test_a_parameters_cell_that_is_no_python_is_refused(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", "seed = 1\nlam = [")
    with pytest.raises(SpecError, match=r"expected Python in the parameters cell of n.ipynb, got .* in line 2"):
        read_parameters(path)


@pytest.mark.parametrize("text", ["{", "{}", '{"cells": 3}', "\xff"])
def test_a_file_that_is_no_notebook_is_refused(text, tmp_path):
    path = tmp_path / "n.ipynb"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SpecError, match=r"expected a Jupyter notebook, got n.ipynb"):
        read_parameters(path)


def test_only_code_counts_in_a_notebooks_hash(tmp_path):
    import nbformat

    path = write_notebook(tmp_path / "n.ipynb")
    before = code_hash(path)
    notebook = nbformat.read(path, 4)
    notebook.cells[1].execution_count = 3
    notebook.cells.append(nbformat.v4.new_markdown_cell("words"))
    nbformat.write(notebook, path)
    assert code_hash(path) == before
    notebook.cells[1].source += "\n1"
    nbformat.write(notebook, path)
    assert code_hash(path) != before
