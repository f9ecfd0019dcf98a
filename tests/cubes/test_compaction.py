"""A cube grows with its study: only new run files are read, and memory is bounded."""

import os

import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes import assembly, compaction, store
from kdlandscape.cubes.provenance import MixedProvenance
from kdlandscape.cubes.store import (
    CubeError,
    MixedAttributes,
    SkippedRunFile,
    compact,
    export_zarr,
    open_cube,
    write_run,
)
from kdlandscape.cubes.yaml_file import read_yaml, write_yaml
from tests.cubes.test_store import GRID, LABELS, run

CELLS = [(0, "constant"), (0, "scaled"), (1, "constant"), (1, "scaled")]


@pytest.fixture
def study(tmp_path):
    spec = {"study": "s", "grid": GRID, "vectorize": ["lam"], "resolved": {"spec_hash": "abc"}}
    write_yaml(spec, tmp_path / "spec.yaml")
    return tmp_path


@pytest.fixture
def reads(monkeypatch):
    """Collect the run files that are read."""
    read = []
    original = compaction.read_run
    monkeypatch.setattr(compaction, "read_run", lambda path, memory: read.append(path.name) or original(path, memory))
    return read


def add(study, *cells, **changes):
    for seed, policy in cells:
        write_run(run(seed, policy, **changes), study / "runs" / f"{seed}{policy}.nc")


def load(study):
    with open_cube(compact(study)) as cube:
        return cube.load()


def test_a_cube_made_run_by_run_is_the_one_made_at_once(study, reads):
    for cell in CELLS:
        add(study, cell)
        piece = load(study)
    assert reads == [f"{seed}{policy}.nc" for seed, policy in CELLS]
    (study / "cube.nc").unlink()
    xr.testing.assert_identical(piece, load(study))
    assert piece.attrs == {"run.recipe": "abc", "device": "cpu", "study": "s", "description": ""}


def test_a_cube_that_is_up_to_date_is_left_alone(study, reads):
    add(study, *CELLS)
    stamp = compact(study).stat()
    assert compact(study).stat() == stamp
    assert len(reads) == 4


@pytest.mark.parametrize("change", ["run deleted", "run changed", "grid grown", "cube damaged"])
def test_a_cube_of_what_is_no_longer_there_is_made_anew(change, study, reads):
    add(study, *CELLS)
    compact(study)
    if change == "run deleted":
        (study / "runs" / "0scaled.nc").unlink()
    elif change == "run changed":
        os.utime(study / "runs" / "0scaled.nc", (1, 1))
    elif change == "cube damaged":
        (study / "cube.nc").write_bytes(b"no cube")
    else:
        spec = read_yaml(study / "spec.yaml")
        spec["grid"]["seed"] = [0, 1, 2]
        write_yaml(spec, study / "spec.yaml")
    reads.clear()
    cube = load(study)
    assert len(reads) == (3 if change == "run deleted" else 4)
    assert int(cube["run.done"].sum()) == len(reads)


def test_what_does_not_fit_in_memory_goes_straight_into_the_file(study, monkeypatch):
    add(study, *CELLS[:3])
    whole = load(study)
    (study / "cube.nc").unlink()
    monkeypatch.setattr(assembly, "_MEMORY", 0)
    xr.testing.assert_identical(load(study), whole)
    add(study, CELLS[3])
    direct = load(study)
    monkeypatch.undo()
    (study / "cube.nc").unlink()
    xr.testing.assert_identical(direct, load(study))


def test_a_wider_type_or_a_new_variable_in_a_later_run_finds_its_place(study):
    narrow = run(0, "constant")
    narrow["loss"] = narrow["loss"].astype(np.float32)
    write_run(narrow, study / "runs" / "0constant.nc")
    assert load(study)["loss"].dtype == np.float32
    more = {"extra": (("seed", "policy"), np.array([[1.5]]), LABELS)}
    add(study, (1, "scaled"), variables=more)
    cube = load(study)
    assert cube["loss"].dtype == np.float64
    np.testing.assert_array_equal(cube["extra"].values, [[np.nan, np.nan], [np.nan, 1.5]])


def test_no_run_is_twice_in_a_cube(study):
    add(study, *CELLS)
    before = load(study)
    twice = run(0, "constant")
    twice["loss"] = twice["loss"] + 1
    write_run(twice, study / "runs" / "1twice.nc")
    with pytest.warns(SkippedRunFile, match=r"1twice.nc: expected one run file for each cell, got another one"):
        compact(study)
    with open_cube(study) as cube:
        xr.testing.assert_identical(cube.load(), before)


def test_an_attribute_that_runs_once_disagreed_on_is_reported_and_does_not_come_back(study):
    add(study, CELLS[0], number=1)
    assert load(study).attrs["number"] == 1
    add(study, CELLS[1], number=2)
    with pytest.warns(MixedAttributes, match=r"not in the cube: number \(1 in 0constant.nc, 2 in 0scaled.nc\)|earlier"):
        compact(study)
    assert "number" not in load(study).attrs
    add(study, CELLS[2], number=2)
    with pytest.warns(MixedAttributes, match="number"):
        compact(study)
    assert "number" not in load(study).attrs


def test_a_later_run_that_contradicts_the_cube_is_left_out(study):
    add(study, CELLS[0])
    before = load(study)
    add(study, CELLS[1], coords={"x": [0, 1, 3]})
    with pytest.warns(SkippedRunFile, match="0scaled.nc: expected the values of x that 0constant.nc has, got others"):
        compact(study)
    with open_cube(study) as cube:
        xr.testing.assert_identical(cube.load(), before)


@pytest.mark.filterwarnings("error::kdlandscape.cubes.provenance.MixedProvenance")
def test_a_cube_that_mixes_commits_or_versions_says_so(study):
    for cell, commit, torch in zip(CELLS, ["aaa", "aaa", "bbb", "aaa"], ["2.12", "2.13", "2.13", "2.13"], strict=True):
        dataset = run(*cell)
        for name, value in {"run.git_commit": commit, "run.packages": f'{{"torch": "{torch}", "numpy": "2"}}'}.items():
            dataset = dataset.assign_coords({name: (("seed", "policy"), [[value]])})
        write_run(dataset, study / "runs" / f"{cell[0]}{cell[1]}.nc")
    with pytest.warns(MixedProvenance) as warned:
        compact(study)
    message = str(warned[0].message)
    assert "2 values of commit of the notebook's checkout (aaa: 3 runs, bbb: 1 runs)" in message
    assert "2 values of version of torch (2.13: 3 runs, 2.12: 1 runs)" in message
    assert "numpy" not in message


class TestZarr:
    def test_a_cube_is_exported_whole(self, study, tmp_path):
        pytest.importorskip("zarr")
        add(study, *CELLS[:3])
        compact(study)
        path = export_zarr(study, tmp_path / "cube.zarr")
        with xr.open_zarr(path, consolidated=False) as stored, open_cube(study) as cube:
            xr.testing.assert_equal(stored.load(), cube.load())
        with pytest.raises(CubeError, match=r"expected a new path for the zarr store, got .*, which exists"):
            export_zarr(study, tmp_path / "cube.zarr")

    def test_without_zarr_the_extra_is_named(self, study, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "zarr", None)
        with pytest.raises(CubeError, match="expected the extra 'zarr'"):
            export_zarr(study, tmp_path / "cube.zarr")


def test_the_names_that_the_store_offers_are_there():
    assert all(hasattr(store, name) for name in store.__all__)
