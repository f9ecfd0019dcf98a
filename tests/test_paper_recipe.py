"""The GPU recipe is the demo's notebook with other values; here it runs on a tiny data set of CIFAR-100's schema."""

import papermill
import pytest
import xarray as xr

from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.plan import plan
from tests.distillation.test_hub import pictures, write

datasets = pytest.importorskip("datasets")


def test_the_gpu_recipe_runs_on_a_tiny_local_set_of_the_same_schema(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for split, count in (("train", 24), ("test", 10)):
        labels = [i % 5 for i in range(count)]
        write(tmp_path, split, pictures(count, seed=count), coarse_label=[0] * count, fine_label=labels)
    spec = load_spec("paper_fig6b_gpu")
    assert spec.notebook == load_spec("demo").notebook
    small = {"data_set": f"parquet:{tmp_path}", "width": 2, "depth": 8, "teacher_epochs": 1, "student_epochs": 1,
             "teacher_batch": 12, "student_batch": 12, "surface_examples": 12, "device": "cpu", "path_points": 3,
             "plane_points": 3, "num_eigenvalues": 1, "init_lambda": [0.0, 1.0]}  # fmt: skip
    parameters = plan(spec)[0].parameters | small
    assert set(small) - {"path_points", "plane_points", "num_eigenvalues"} <= set(plan(spec)[0].parameters)
    executed = papermill.execute_notebook(
        spec.facts.notebook_path, tmp_path / "out.ipynb", parameters, kernel_name="python3", progress_bar=False,
        cwd=tmp_path,
    )  # fmt: skip
    assert not any(output.output_type == "error" for cell in executed.cells for output in cell.get("outputs", []))


def test_the_demo_and_the_gpu_recipe_ask_the_same_numbers_of_their_cubes():
    small, large = load_spec("demo"), load_spec("paper_fig6b_gpu")
    assert set(small.grid) == set(large.grid)
    assert small.figures == large.figures
    assert xr.DataArray(small.grid["init_lambda"]).isin([0.0, 1.0]).sum() == 2
