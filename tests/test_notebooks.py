"""Every notebook is thin, stores no outputs, and runs at a small size."""

import ast
import json
import os
import re
import shlex
from itertools import product

import nbformat
import numpy as np
import papermill
import pytest
from typer.main import get_command

import kdlandscape as kdl
from kdlandscape.cli import app
from kdlandscape.cubes.seals import DamagedFileError
from kdlandscape.cubes.store import CubeError, write_run
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.parameters import read_parameters
from kdlandscape.sweeps.study import run_study
from tests.site.executions import NOTEBOOKS
from tests.site.sizes import SMALL
from tests.synthetic import demo_cube

#: Why no sentence with a number is expected at the small size.
NO_ANSWER = {
    "gallery.ipynb": "it shows figures and asks nothing",
    "basins.ipynb": "so small a network has no barrier to take a share of",
}

CHANGE = "## What would change this answer\n"


def notebooks():
    return sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("name", notebooks())
def test_a_notebook_stores_no_outputs_and_defines_nothing(name):
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        assert not cell.outputs
        assert cell.execution_count is None
        kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
        assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef}


@pytest.mark.parametrize("name", notebooks())
def test_no_cell_ends_with_the_axes_that_a_figure_returns(name):
    for cell in nbformat.read(NOTEBOOKS / name, as_version=4).cells:
        if cell.cell_type == "code" and "kdl.figures." in cell.source:
            last = ast.parse(cell.source).body[-1]
            drawn = isinstance(last, ast.Expr) and ast.unparse(last).startswith("kdl.figures.")
            assert not drawn or cell.source.rstrip().endswith(";"), cell.source


@pytest.mark.parametrize("name", notebooks())
def test_a_notebook_runs_at_a_small_size(name, executions, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert "KDLANDSCAPE_CACHE" in os.environ
    executed = nbformat.read(executions.notebook(name), as_version=4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    said = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    answers = [line for line in said.splitlines() if len(line.split()) > 5 and re.search(r"\d", line)]
    assert answers or name in NO_ANSWER, f"no sentence with a number answers: {said!r}"
    shown = [output.data for output in outputs if output.output_type == "execute_result"]
    assert all(len(data) > 1 for data in shown), shown  # a table or a widget, and no bare repr


def changed_by(command, folder):
    """Return the parameters that a command changes in a notebook, and the notebook; the command line reads its own."""
    program, name, *words = shlex.split(command)
    if program == "papermill":
        given = dict(zip(words[2::3], words[3::3], strict=True))
        assert words[1::3] == ["-p"] * len(given)
        assert set(given) <= set(read_parameters(folder / name))
        return set(given), (folder / name).name
    assert program == "kdlandscape"
    given = get_command(app).commands[name].make_context(name, words).params
    spec = given.get("spec", name)  # kdlandscape compare is a study of that name
    asked = load_spec(spec, given["parameters"], given["grid"], study=given["study"])
    shipped = load_spec(spec)
    assert asked.study != shipped.study, f"{command}: the shipped study's folder has other runs"
    before, after = ({**one.parameters, **one.grid} for one in (shipped, asked))
    return {name for name in after if after[name] != before.get(name)}, asked.notebook


@pytest.mark.parametrize("name", [one for one in notebooks() if one != "gallery.ipynb"])
def test_a_notebook_ends_with_what_would_change_its_answer(name):
    """Parameters, preconditions or margins in two to four sentences; and commands that change them, which are valid."""
    last = nbformat.read(NOTEBOOKS / name, as_version=4).cells[-1]
    assert last.cell_type == "markdown"
    assert last.source.startswith(CHANGE)
    words, _, rest = last.source.removeprefix(CHANGE).partition("```sh\n")
    assert 2 <= len(re.findall(r"[.?](?=\s)", words)) <= 4
    assert not re.search(r"\d", words), "a number that nobody computed"
    code, fence, after = rest.partition("```")
    assert (fence, after) == ("```", "")
    found = [changed_by(command, NOTEBOOKS.parent) for command in code.splitlines()]
    assert name in {notebook for _, notebook in found}
    changed = set().union(*(names for names, _ in found))
    named = re.findall(r"`(\w+)`", words)
    assert changed & set(named), f"the text speaks of {named}, and the commands change {changed}"


def test_each_notebook_has_its_small_size():
    assert notebooks() == sorted(SMALL)


def assert_networks_lie_on_their_planes(cube):
    """Assert that the loss on the plane, where a network lies, is its own: the end of the path, and the exact mark."""
    for seed, share in product(cube["seed"].values, cube["init_lambda"].values):
        run = cube.squeeze("lr_policy").sel(seed=seed, init_lambda=share)
        for name, end in (("teacher", 1), ("student", 0)):
            x, y = run["plane_points"].sel(point=name, axis=["x", "y"]).values
            nearest = run["plane_loss"].sel(x=x, y=y, method="nearest")
            np.testing.assert_allclose([nearest["x"], nearest["y"]], [x, y], atol=1e-5)
            np.testing.assert_allclose(nearest, run["path_loss"].sel(t=end), rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(nearest, run["plane_point_loss"].sel(point=name), rtol=1e-6, atol=1e-6)


def test_spectra_are_of_the_students_that_another_study_trained(executions):
    """The demo's runs keep their weights; the spectra's runs take them, with their data and network."""
    folder = executions.study("demo")
    with kdl.open_cube(folder) as cube:
        assert_networks_lie_on_their_planes(cube)
    settings = {name: value for name, value in SMALL["spectra.ipynb"].items() if name.startswith(("num_", "path"))}
    source = {"study": "demo", "at": {"lr_policy": "constant"}}
    second = {
        "study": "s",
        "notebook": "spectra.ipynb",
        "from": source,
        "parameters": settings,
        "grid": {"seed": [0, 1]},
    }
    with kdl.open_cube(run_study(second, root=folder.parent, workers=2, warm=True, progress=False)) as cube:
        assert bool(cube["run.done"].all())
        assert cube["member"].values.tolist() == ["teacher", "0.0", "1.0"]
        for seed in (0, 1):
            made = kdl.read_checkpoints(next(folder.glob(f"runs/*seed={seed}*.nc")))
            assert (made.attrs["label_noise"], made.attrs["seed"], made.attrs["weight_decay"]) == (0.3, seed, 0.0)
            distance = np.linalg.norm(made["students"] - made["teacher"], axis=1)
            np.testing.assert_allclose(cube["distance"].sel(seed=seed)[1:], distance, rtol=1e-5)
            assert cube.attrs["num_parameters"] == made.sizes["dim"]


def test_the_explorers_notebook_runs_a_study_that_has_no_cube(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLANDSCAPE_RUNS", str(tmp_path / "studies"))
    grid = {"seed": [0], "lr_policy": ["constant"], "init_lambda": [0.0, 1.0]}
    settings = {"study": "fresh", "notebook": "distill_init.ipynb", "parameters": SMALL["distill_init.ipynb"]}
    spec = tmp_path / "fresh.yaml"
    spec.write_text(json.dumps({**settings, "grid": grid, "vectorize": ["init_lambda"]}))  # JSON is YAML
    small = {**SMALL["explore.ipynb"], "study": str(spec)}
    papermill.execute_notebook(
        NOTEBOOKS / "explore.ipynb", tmp_path / "out.ipynb", small, kernel_name="python3", progress_bar=False
    )
    assert (tmp_path / "studies" / "fresh" / "cube.nc").is_file()


def test_checkpoints_that_are_not_there_are_refused_by_name(tmp_path):
    with pytest.raises(CubeError, match=r"run file at .*none.nc, got nothing"):
        kdl.read_checkpoints(tmp_path / "none.nc")
    demo_cube().to_netcdf(tmp_path / "damaged.nc")
    with pytest.raises(DamagedFileError, match=r"damaged.nc: expected a file with its own checksum"):
        kdl.read_checkpoints(tmp_path / "damaged.nc")
    write_run(demo_cube(), tmp_path / "bare.nc")
    with pytest.raises(CubeError, match=r"expected checkpoints in bare.nc, got none"):
        kdl.read_checkpoints(tmp_path / "bare.nc")
