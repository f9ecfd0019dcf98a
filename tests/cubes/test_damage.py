"""Bits flip, files end early, links lead nowhere: never a wrong number, never anything but a sentence."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes import assembly, store
from kdlandscape.cubes.files import names, read_error, remove, write_error
from kdlandscape.cubes.seals import DamagedCache, DamagedFileError, cached
from kdlandscape.cubes.store import (
    CubeError,
    SkippedRunFile,
    compact,
    missing,
    open_cube,
    read_checkpoints,
    write_run,
)
from kdlandscape.cubes.yaml_file import write_yaml

LABELS = {"long_name": "loss", "units": "nat"}
CASES = 60


def damaged(content, number):
    """Return a damaged copy of a file's content, always the same for a number."""
    draw = random.Random(number)
    place = draw.randrange(len(content))
    kinds = {
        "flip": lambda: content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :],
        "cut": lambda: content[:place],
        "zeros": lambda: content[:place] + bytes(512) + content[place + 512 :],
        "noise": lambda: content[:place] + draw.randbytes(16) + content[place + 16 :],
        "longer": lambda: content + draw.randbytes(1 + place % 100),
        "twice": lambda: content + content,
        "gap": lambda: content[:place] + content[place + 1 :],
    }
    result = draw.choice(list(kinds.values()))()
    return result if result != content else content[:-1]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    study = tmp_path_factory.mktemp("study")
    spec = {"study": "s", "grid": {"seed": [0, 1]}, "resolved": {"spec_hash": "abc"}}
    write_yaml(spec, study / "spec.yaml")
    for seed in (0, 1):
        dataset = xr.Dataset({"loss": (("seed", "x"), [[1.0, 2.0 + seed]], LABELS)}, {"seed": [seed], "x": [0, 1]})
        weights = xr.Dataset({"theta": ("dim", np.full(50, float(seed)))}, attrs={"run.parameters": "{}"})
        path = study / "runs" / f"{seed}.nc"
        write_run(dataset.assign_attrs({"run.recipe": "abc"}), path, {"checkpoints": weights})
    compact(study)
    return study


@pytest.fixture
def study(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "s"))


def spoil(path, number):
    content = damaged(path.read_bytes(), number)
    path.unlink()  # HDF5 takes a file that is changed in place for the one it has open
    path.write_bytes(content)


@pytest.mark.parametrize("number", range(CASES))
def test_a_damaged_run_file_is_left_out_and_named(number, study):
    spoil(study / "runs" / "0.nc", number)
    (study / "cube.nc").unlink()
    with pytest.warns(SkippedRunFile, match=r"0.nc: expected a file with its own checksum .*clean --corrupt"):
        compact(study)
    with open_cube(study) as cube:
        assert missing(cube) == [{"seed": 0}]
        assert cube["loss"].sel(seed=1).values.tolist() == [1.0, 3.0]
    with pytest.raises(DamagedFileError, match=r"0.nc: expected a file with its own checksum"):
        read_checkpoints(study / "runs" / "0.nc")


@pytest.mark.parametrize("number", range(CASES))
def test_a_damaged_cube_is_not_opened_and_is_made_again(number, study):
    with open_cube(study) as cube:
        expected = cube.load()
    spoil(study / "cube.nc", number)
    for path in (study, study / "cube.nc"):
        with pytest.raises(DamagedFileError, match=r"cube.nc: expected a file with its own checksum .*; delete it"):
            open_cube(path)
    with open_cube(compact(study)) as cube:
        xr.testing.assert_identical(cube.load(), expected)


@pytest.mark.parametrize("number", range(CASES))
def test_a_damaged_cache_is_made_again(number, tmp_path):
    content = bytes(range(256)) * 4
    cached(tmp_path / "a", lambda file: file.write(content))
    spoil(tmp_path / "a", number)
    with pytest.warns(DamagedCache):
        assert cached(tmp_path / "a", lambda file: file.write(content)) == content


@pytest.mark.parametrize("number", range(CASES))
def test_a_damaged_spec_is_one_message(number, study):
    with open_cube(study) as cube:
        expected = cube.load()
    spoil(study / "spec.yaml", number)
    try:
        compact(study)
    except CubeError as error:
        assert str(error).startswith(str(study / "spec.yaml"))  # noqa: PT017 - some damage leaves the content whole
    with open_cube(study) as cube:
        xr.testing.assert_identical(cube.load(), expected)


@pytest.mark.parametrize("number", range(CASES))
def test_a_damaged_error_record_is_an_error_record(number, tmp_path):
    write_error({"name": "ValueError", "value": "λ" * 20, "coords": {"seed": 1}}, tmp_path / "a.json")
    spoil(tmp_path / "a.json", number)
    assert isinstance(read_error(tmp_path / "a.json"), dict)


@pytest.mark.parametrize("text", ["", "3", "null", "[]", '"a"', "[" * 100_000, "{" * 100_000, '{"name": '])
def test_an_error_record_that_is_none_says_so(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    assert read_error(tmp_path / "a.json")["name"] == "UnreadableErrorRecord"


ODD = {
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a folder": lambda path: path.mkdir(),
    "no regular file": lambda path: os.mkfifo(path),
    "a link to nothing in a loop": lambda path: path.symlink_to(path),
}


class TestOddEntries:
    @pytest.mark.parametrize("kind", ODD)
    def test_what_is_no_file_is_no_result_and_is_named(self, kind, study):
        path = study / "runs" / "0.nc"
        path.unlink()
        ODD[kind](path)
        with pytest.warns(SkippedRunFile, match=rf"0.nc: expected a file, got {kind[:17]}.*; .* counts as missing"):
            compact(study)
        with open_cube(study) as cube:
            assert missing(cube) == [{"seed": 0}]
        assert names(study / "runs", ".nc") == {"1"}
        remove(path)
        assert not os.path.lexists(path)

    def test_a_link_to_a_run_file_is_a_result(self, study, tmp_path):
        path = study / "runs" / "0.nc"
        shutil.move(path, tmp_path / "elsewhere.nc")
        path.symlink_to(tmp_path / "elsewhere.nc")
        with open_cube(compact(study)) as cube:
            assert missing(cube) == []

    def test_a_link_in_place_of_a_folder_works(self, study, tmp_path):
        shutil.move(study / "runs", tmp_path / "runs")
        (study / "runs").symlink_to(tmp_path / "runs")
        with open_cube(compact(study)) as cube:
            assert missing(cube) == []


class TestReadOnlyStudies:
    @pytest.fixture(autouse=True)
    def read_only(self, monkeypatch):
        """Root may write everywhere, so the file system says no."""

        def refuse(*_, **__):
            raise OSError(30, "Read-only file system")

        self.protect = lambda: monkeypatch.setattr("kdlandscape.cubes.compaction.lock", refuse)

    def test_a_finished_study_needs_no_writing(self, study):
        self.protect()
        with open_cube(compact(study)) as cube:
            assert missing(cube) == []

    def test_a_cube_that_is_not_up_to_date_is_one_message(self, study):
        self.protect()
        (study / "cube.nc").unlink()
        with pytest.raises(CubeError, match=r"cube.nc: expected a cube of all 2 finished runs, .* copy the study"):
            compact(study)


def test_a_file_of_others_is_opened_as_it_is(study, tmp_path):
    with open_cube(study) as cube:
        cube.assign(done=3).to_netcdf(tmp_path / "mine.nc")
        with open_cube(tmp_path / "mine.nc") as mine:
            xr.testing.assert_equal(mine.load(), cube.assign(done=3).load())


def test_a_large_cube_is_opened_by_its_seal_alone_and_its_values_are_checked_when_read(study, monkeypatch):
    monkeypatch.setattr(assembly, "_MEMORY", 0)
    monkeypatch.setattr(store, "_WHOLE", 0)
    (study / "cube.nc").unlink()
    compact(study)
    content = (study / "cube.nc").read_bytes()
    place = content.index(np.array([1.0, 3.0]).tobytes())
    (study / "cube.nc").unlink()
    (study / "cube.nc").write_bytes(content[:place] + b"\1" + content[place + 1 :])
    with open_cube(study) as cube, pytest.raises(RuntimeError, match=r"NetCDF: (HDF|Filter) error"):
        cube["loss"].load()
    (study / "cube.nc").write_bytes(content[:-1])
    with pytest.raises(DamagedFileError):
        open_cube(study)
