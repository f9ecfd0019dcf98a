"""What a run depends on counts, whoever opens it: C libraries, other processes, forks; and versions of packages."""

import json
import os
import time
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import save_file

from kdlandscape.cubes.runfile import read_run
from kdlandscape.cubes.store import open_cube
from kdlandscape.sweeps import dependencies
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.snapshot import status
from kdlandscape.sweeps.study import run_study
from kdlandscape.sweeps.witness import file_digest
from tests.inline import execute_inline
from tests.tiny_study import write_notebook

LABEL = '{"long_name": "l", "units": "1"}'
BODY = f"""\
import multiprocessing, os, sqlite3, subprocess, sys
import numpy, xarray as xr
from safetensors.numpy import load_file
from kdlandscape.sweeps.record import record
total = float(xr.open_dataset("field.nc")["x"].sum()) + load_file(f"{{folder}}/w.safetensors")["w"].sum()
total += sum(float(xr.open_dataset(path)["x"].sum()) for path in __import__("glob").glob("parts/*.nc"))
total += float(subprocess.run(["cat", "child.txt"], capture_output=True, text=True).stdout)
def read(i): return float(open(f"fork{{i}}.txt").read())
with multiprocessing.get_context("fork").Pool(1) as pool: total += sum(pool.map(read, range(2)))
names = ["mentioned.txt", "late.nc", "gone.nc"]
xr.Dataset({{"x": 0.0}}).to_netcdf("late.nc")
total += sum(float(xr.open_dataset(f"by{{seed}}_{{i + 1}}.nc")["x"]) for i in range(2))
record(xr.Dataset({{"total": ((), total, {LABEL})}}))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("project")
    for name in ("field", "parts/a", "parts/b", "late", "by0_1", "by0_2", "by1_1"):
        (place / name).parent.mkdir(exist_ok=True)
        xr.Dataset({"x": 1.0}).to_netcdf(place / f"{name}.nc")
    save_file({"w": np.ones(3)}, place / "w.safetensors")
    for name in ("child", "fork0", "fork1", "mentioned"):
        (place / f"{name}.txt").write_text("2.0")
    old = time.time() - 100
    for path in place.rglob("*.*"):
        os.utime(path, (old, old))
    write_notebook(place / "n.ipynb", "seed: int = 0\nfolder: str = ''", BODY)
    spec = {"study": "s", "notebook": str(place / "n.ipynb"), "grid": {"seed": [0]}, "parameters": {"folder": "."}}
    folder = run_study(spec, root=place / "studies", warm=True, progress=False)
    assert status(folder).done, [path.read_text() for path in (folder / "errors").iterdir()]
    return place, spec, folder


def test_files_that_c_libraries_children_and_forks_read_count_and_those_that_the_run_writes_do_not(finished):
    place, _, folder = finished
    (result,) = (folder / "runs").glob("*.nc")
    read = json.loads(read_run(result).variables["run.inputs"].values.item())
    names = [
        "by0_1.nc",
        "by0_2.nc",
        "child.txt",
        "field.nc",
        "fork0.txt",
        "fork1.txt",
        "parts/a.nc",
        "parts/b.nc",
        "w.safetensors",
    ]
    assert {name for name in read if not name.startswith("//")} == set(names)
    assert all(read[name] == file_digest(place / name) for name in names)


@pytest.mark.parametrize("name", ["field.nc", "by0_2.nc", "parts/b.nc", "w.safetensors", "child.txt", "fork1.txt"])
def test_a_change_of_any_of_them_is_explained(name, finished):
    place, spec, _ = finished
    content = (place / name).read_bytes()
    (place / name).write_bytes(content + b" ")
    with pytest.raises(StudyError, match=f"{name}: has changed since; read by 1 finished runs"):
        run_study(spec, root=place / "studies", progress=False)
    (place / name).write_bytes(content)


@pytest.fixture
def versioned(tmp_path, monkeypatch):
    """A study whose runs used a package of which another version can be installed."""
    execute_inline(monkeypatch)
    versions = {"numpy": "1.0+cpu"}
    installed = SimpleNamespace(**vars(metadata))
    installed.version = lambda name: versions.get(name) or metadata.version(name)
    monkeypatch.setattr(dependencies, "metadata", installed)
    dependencies.version_of.cache_clear()
    imports = "import numpy, xarray as xr\nfrom kdlandscape.sweeps.record import record\n"
    body = f"{imports}record(xr.Dataset({{'y': ((), 1.0, {LABEL})}}))"
    write_notebook(tmp_path / "n.ipynb", "seed: int = 0", body)

    def run(version, seeds, **options):
        versions["numpy"] = version
        dependencies.version_of.cache_clear()
        spec = {"study": "s", "notebook": str(tmp_path / "n.ipynb"), "grid": {"seed": seeds}}
        return run_study(spec, root=tmp_path / "studies", progress=False, **options)

    yield run
    dependencies.version_of.cache_clear()


def test_another_version_of_a_package_is_explained_with_the_choices_and_another_build_is_none(versioned):
    versioned("1.0+cpu", [0, 1])
    versioned("1.0+cu126", [0, 1, 2])
    with pytest.raises(StudyError, match=r"numpy: version 1.0 then, 2.0 now; used by 3 finished runs") as refused:
        versioned("2.0", [0, 1, 2, 3])
    assert all(choice in str(refused.value) for choice in ("--study NAME", "--changed rerun", "--changed keep"))
    assert len(status(versioned("2.0", [0, 1, 2, 3], changed="keep")).done) == 4
    folder = versioned("3.0", [0, 1, 2, 3], changed="rerun")  # those that were kept stay
    with open_cube(folder) as cube:
        used = [json.loads(text)["//numpy"] for text in cube["run.inputs"].values.ravel()]
    assert used == ["1.0", "1.0", "1.0", "3.0"]
