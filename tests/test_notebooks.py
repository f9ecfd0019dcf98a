"""Every notebook is thin, stores no outputs, and runs at a small size."""

import ast
import json
import os
from itertools import product
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest

import kdlandscape as kdl
from kdlandscape.cubes.seals import DamagedFileError
from kdlandscape.cubes.store import CubeError, write_run
from kdlandscape.sweeps.study import run_study
from tests.synthetic import demo_cube

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SMALL = {
    "any_network.ipynb": {"width": 8, "layers": 1, "num_rows": 8, "num_matvecs": 6, "num_points": 3},
    "basins.ipynb": {
        "init_lambda": [0.0, 0.5],
        "num_train": 200,
        "num_fresh": 200,
        "teacher_epochs": 2,
        "student_epochs": 2,
        "width": 12,
        "path_points": 5,
        "path_examples": 100,
        "curve_steps": 5,
    },
    "claims.ipynb": {"studies": ["demo"], "root": "."},
    "compare.ipynb": {
        "epochs": 1,
        "num_examples": 40,
        "batch_size": 20,
        "width": 6,
        "path_points": 3,
        "plane_points": 3,
        "num_eigenvalues": 1,
        "num_matvecs": 4,
        "num_draws": 2,
        "precision": [1.0],
        "sharpness": ["sam"],
    },
    "distill.ipynb": {
        "num_train": 100,
        "teacher_epochs": 1,
        "student_steps": 8,
        "width": 8,
        "ensemble_size": 2,
        "augmentation": "shift",
        "hard_weight": [0.0, 0.5],
        "twins": True,
    },
    "distill_init.ipynb": {
        "num_train": 200,
        "num_fresh": 200,
        "teacher_epochs": 2,
        "student_epochs": 2,
        "width": 16,
        "path_points": 5,
        "plane_points": 5,
    },
    "flatness.ipynb": {
        "seed": [0, 1],
        "num_train": 60,
        "epochs": 6,
        "student_epochs": 2,
        "width": 6,
        "depth": 1,
        "level": 2.2,
    },
    "function_prior.ipynb": {
        "width": 8,
        "num_functions": 6,
        "num_students": 2,
        "num_train": 40,
        "num_pairs": 5,
        "student_epochs": 1,
        "cosines": [0.0, 0.5, 1.0],
    },
    "spectra.ipynb": {
        "init_lambda": [0.0, 1.0],
        "num_train": 100,
        "num_fresh": 100,
        "teacher_epochs": 2,
        "student_epochs": 2,
        "width": 8,
        "num_examples": 60,
        "num_eigenvalues": 2,
        "num_matvecs": 12,
        "num_draws": 3,
        "path_points": 3,
    },
    "subliminal.ipynb": {
        "init_lambda": [0.0, 1.0],
        "teacher_epochs": 1,
        "student_epochs": 1,
        "width": 8,
        "path_points": 3,
        "path_examples": 50,
    },
    "gallery.ipynb": {"study": "cube.nc"},
    "training_path.ipynb": {"num_examples": 60, "width": 8, "steps": 20, "path_points": 3, "plane_points": 5},
    "your_problem.ipynb": {
        "settings": {
            "teacher_epochs": 1,
            "student_epochs": 1,
            "path_points": 3,
            "plane_points": 3,
            "num_eigenvalues": 1,
        },
        "axes": {"seed": "0", "lr_policy": "constant", "init_lambda": "0.0,1.0", "options.width": "2"},
    },
    "explore.ipynb": {"study": "cube.nc", "num_train": 100, "epochs": 1, "width": 8, "num_points": 5},
}


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
def test_a_notebook_runs_at_a_small_size(name, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert "KDLANDSCAPE_CACHE" in os.environ
    cube = demo_cube()
    cube.assign(student_accuracy=0.5 * cube["agreement"]).to_netcdf(tmp_path / "cube.nc")
    papermill.execute_notebook(
        NOTEBOOKS / name, tmp_path / name, SMALL[name], kernel_name="python3", progress_bar=False, cwd=tmp_path
    )


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


def test_spectra_are_of_the_students_that_another_study_trained(tmp_path):
    """The demo's runs keep their weights; the spectra's runs take them, with their data and network."""
    small = {**SMALL["distill_init.ipynb"], "label_noise": 0.3, "norm": "layer"}
    grid = {"seed": [0, 1], "lr_policy": ["constant"], "init_lambda": [0.0, 1.0]}
    first = {
        "study": "demo",
        "notebook": "distill_init.ipynb",
        "parameters": small,
        "grid": grid,
        "vectorize": ["init_lambda"],
    }
    folder = run_study(first, root=tmp_path, workers=2, warm=True, progress=False)
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
    with kdl.open_cube(run_study(second, root=tmp_path, workers=2, warm=True, progress=False)) as cube:
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
