"""A file layer that fails and lags at random under a driver: the same command again ends in the undisturbed cube."""

import warnings
from contextlib import suppress

import xarray as xr

from kdlandscape.cubes import files
from kdlandscape.cubes.store import CubeError, missing, open_cube
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.study import run_study
from tests.cubes.test_faults import Faults
from tests.inline import execute_inline
from tests.tiny_study import write_notebook

BODY = """\
import pathlib, numpy as np, xarray as xr
from kdlandscape.sweeps.record import record
table = float(pathlib.Path("table.csv").read_text())
values = np.random.default_rng(seed).normal(size=5) + table
record(xr.Dataset({"loss": (("x",), values, {"long_name": "loss", "units": "nat"})}, {"x": range(5)}))
"""


def results(folder):
    with open_cube(folder) as cube:
        assert missing(cube) == []
        own = [name for name in cube.coords if str(name).startswith("run.")]
        return cube.drop_vars(own).load()


def test_a_study_of_a_hundred_runs_under_a_driver_ends_in_the_undisturbed_cube(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_PAUSES", (0.0, 0.001, 0.002))
    execute_inline(monkeypatch)
    write_notebook(tmp_path / "n.ipynb", "seed: int = 0", BODY)
    (tmp_path / "table.csv").write_text("1.0")
    spec = {"study": "s", "notebook": str(tmp_path / "n.ipynb"), "grid": {"seed": list(range(100))}}
    calm = run_study(spec, root=tmp_path / "calm", progress=False)
    with monkeypatch.context() as patch, warnings.catch_warnings(action="ignore"):
        faults = Faults(patch, seed=1, share=0.1)
        for _ in range(4):  # the same command again goes on
            with suppress(StudyError, CubeError, OSError):
                run_study(spec, root=tmp_path / "shaken", progress=False, retry_failed=True)
    assert faults.count > 100
    folder = run_study(spec, root=tmp_path / "shaken", progress=False, retry_failed=True)
    xr.testing.assert_identical(results(folder), results(calm))
