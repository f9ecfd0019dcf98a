"""Files of every schema so far are read and extended; files of a newer one are refused in a sentence."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes import runfile
from kdlandscape.cubes.schema import SCHEMA
from kdlandscape.cubes.store import (
    NewerFileError,
    SkippedRunFile,
    compact,
    missing,
    open_cube,
    read_checkpoints,
    write_run,
)
from kdlandscape.cubes.yaml_file import read_yaml

STUDIES = Path(__file__).parents[1] / "studies"
VERSIONS = [1, 2]


@pytest.fixture(params=VERSIONS)
def study(request, tmp_path):
    """A study with seeds 0, 1 and two policies, one cell excluded, as each version of this package left it."""
    with tarfile.open(STUDIES / f"version{request.param}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / f"version{request.param}"


def expected(seed, policy):
    return np.arange(4.0).reshape(2, 2) + 100 * seed + 10 * (policy == "scaled")


def holds(cube):
    assert missing(cube) == []
    for seed, policy in [(0, "constant"), (0, "scaled"), (1, "constant")]:
        cell = cube.sel(seed=seed, policy=policy)
        np.testing.assert_array_equal(cell["loss"], expected(seed, policy))
        assert (cell["count"], cell["right"], cell["note"]) == (seed + 1, seed == 1, f"{policy} {seed}")
        assert cell["run.device"] == "cpu"
        assert cell["run.wall_time"] > 0
        assert json.loads(cell["run.packages"].item())["numpy"]
    assert np.isnan(cube["loss"].sel(seed=1, policy="scaled")).all()
    assert cube["loss"].attrs == {"long_name": "loss", "units": "nat"}


def test_the_schemas_so_far_are_those_of_the_committed_studies():
    assert list(range(1, SCHEMA + 1)) == VERSIONS


def test_a_cube_of_an_older_version_is_opened(study):
    with open_cube(study) as cube:
        holds(cube)


def test_runs_of_an_older_version_are_collected_and_give_back_their_checkpoints(study):
    (study / "cube.nc").unlink()
    with open_cube(compact(study)) as cube:
        holds(cube)
    for path in (study / "runs").glob("*.nc"):
        kept = read_checkpoints(path)
        assert (kept["theta"] == kept.attrs["seed"]).all()
        assert set(kept.attrs) == {"seed", "policy", "lam"}


def test_a_study_of_an_older_version_is_extended(study):
    spec = read_yaml(study / "spec.yaml")
    (study / "spec.yaml").write_text(json.dumps({**spec, "exclude": []}))
    labels = {"long_name": "loss", "units": "nat"}
    new = xr.Dataset({"loss": (("lam", "x"), expected(1, "scaled"), labels)}, {"lam": [0.0, 0.5], "x": [0.5, 1.0]})
    new = new.expand_dims(seed=[1], policy=["scaled"]).assign_attrs({"run.recipe": spec["resolved"]["spec_hash"]})
    write_run(new, study / "runs" / "new.nc")
    with open_cube(compact(study)) as cube:
        assert missing(cube) == []
        np.testing.assert_array_equal(cube["loss"].sel(seed=1, policy="scaled"), expected(1, "scaled"))
        np.testing.assert_array_equal(cube["loss"].sel(seed=1, policy="constant"), expected(1, "constant"))


class TestNewerFiles:
    MESSAGE = r"expected a file of version \d or older, got version 99, which a newer kdlandscape wrote; install"

    @pytest.fixture
    def newer(self, monkeypatch):
        monkeypatch.setattr(runfile, "SCHEMA", 99)
        yield monkeypatch
        monkeypatch.undo()

    def test_a_run_file_is_left_out_and_named(self, study, newer):
        path = sorted((study / "runs").glob("*.nc"))[0]
        write_run(xr.Dataset({"loss": 1.0}), path)
        newer.undo()
        (study / "cube.nc").unlink()
        with pytest.warns(SkippedRunFile, match=self.MESSAGE):
            compact(study)
        with pytest.raises(NewerFileError, match=self.MESSAGE):
            read_checkpoints(path)

    def test_a_cube_is_not_opened(self, study, newer):
        write_run(xr.Dataset({"loss": 1.0}), study / "cube.nc")
        newer.undo()
        with pytest.raises(NewerFileError, match=f"cube.nc: {self.MESSAGE}"):
            open_cube(study)

    def test_a_spec_is_not_used(self, study):
        spec = read_yaml(study / "spec.yaml")
        (study / "spec.yaml").write_text(json.dumps({**spec, "resolved": {**spec["resolved"], "version": 99}}))
        with pytest.raises(NewerFileError, match=f"spec.yaml: {self.MESSAGE}"):
            compact(study)
