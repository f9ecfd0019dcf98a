import json
import os
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes import provenance
from kdlandscape.cubes.files import read_error, write_error
from kdlandscape.cubes.store import CubeError, SkippedRunFile, compact, missing, open_cube, write_run
from kdlandscape.cubes.yaml_file import write_yaml

LABELS = {"long_name": "loss", "units": "nat"}
COUNT = {"long_name": "count", "units": "1"}
GRID = {"seed": [0, 1], "policy": ["constant", "scaled"], "lam": [0.0, 0.5]}


def run(seed, policy, **changes):
    shape = {"seed": [seed], "policy": [policy], "lam": GRID["lam"], "x": [0, 1, 2], **changes.pop("coords", {})}
    size = [len(values) for values in shape.values()]
    number = 100.0 * seed + 10 * (policy == "scaled")
    variables = {
        "loss": (tuple(shape), number + np.arange(np.prod(size)).reshape(size), LABELS),
        "count": (("seed", "policy"), [[seed]], COUNT),
        "note": (("seed", "policy"), [[f"{policy} {seed}"]], {"long_name": "note", "units": "1"}),
        **changes.pop("variables", {}),
    }
    shape["run.started_at"] = (("seed", "policy"), [["c" * seed]])
    attrs = {"run.recipe": "abc", "run.id": f"{seed}{policy}", "device": "cpu", **changes}
    return xr.Dataset(variables, shape, attrs)


@pytest.fixture
def study(tmp_path):
    """A study's folder with three of its four runs."""
    spec = {"study": "s", "grid": GRID, "vectorize": ["lam"], "resolved": {"spec_hash": "abc"}}
    write_yaml(spec, tmp_path / "spec.yaml")
    for seed, policy in [(0, "constant"), (1, "constant"), (1, "scaled")]:
        write_run(run(seed, policy), tmp_path / "runs" / f"{seed}{policy}.nc")
    return tmp_path


class TestCompaction:
    def test_the_cube_has_every_run_in_its_place_and_explicit_holes(self, study):
        with open_cube(compact(study)) as cube:
            assert dict(cube["loss"].sizes) == {"seed": 2, "policy": 2, "lam": 2, "x": 3}
            for seed, policy in [(0, "constant"), (1, "constant"), (1, "scaled")]:
                expected = run(seed, policy)["loss"]
                cell = {"seed": [seed], "policy": [policy]}
                np.testing.assert_array_equal(cube["loss"].sel(cell).values, expected.values)
            assert cube["loss"].sel(seed=0, policy="scaled").isnull().all()
            assert cube["note"].sel(seed=0, policy="scaled") == ""
            assert missing(cube) == [{"seed": 0, "policy": "scaled"}]

    def test_labels_stay_and_attributes_that_differ_between_runs_go(self, study):
        with open_cube(compact(study)) as cube:
            assert cube["loss"].attrs == LABELS
            assert cube.attrs == {"run.recipe": "abc", "device": "cpu", "study": "s", "description": ""}

    def test_provenance_stays_with_its_run(self, study):
        with open_cube(compact(study)) as cube:
            assert "run.started_at" in cube.coords
            assert cube["run.started_at"].values.tolist() == [["", ""], ["c", "c"]]

    def test_a_type_does_not_depend_on_whether_a_cell_is_missing(self, study):
        with open_cube(compact(study)) as cube:
            before = {name: variable.dtype.kind for name, variable in cube.variables.items()}
        write_run(run(0, "scaled"), study / "runs" / "0scaled.nc")
        with open_cube(compact(study)) as cube:
            assert {name: variable.dtype.kind for name, variable in cube.variables.items()} == before
            assert missing(cube) == []

    def test_the_order_of_a_runs_dims_does_not_matter(self, study):
        before = open_cube(compact(study)).load()
        path = study / "runs" / "1scaled.nc"
        write_run(run(1, "scaled").transpose("x", "lam", "policy", "seed"), path)
        xr.testing.assert_identical(open_cube(compact(study)).load(), before)

    def test_a_variable_that_only_some_runs_have_is_missing_in_the_others(self, study):
        more = {"extra": (("seed", "policy"), np.array([[1.5]], np.float32), LABELS)}
        write_run(run(1, "scaled", variables=more), study / "runs" / "1scaled.nc")
        with open_cube(compact(study)) as cube:
            np.testing.assert_array_equal(cube["extra"].values, [[np.nan, np.nan], [np.nan, 1.5]])

    def test_precision_is_that_of_the_most_precise_run(self, study):
        narrow = run(0, "constant")
        narrow["loss"] = narrow["loss"].astype(np.float32)
        write_run(narrow, study / "runs" / "0constant.nc")
        with open_cube(compact(study)) as cube:
            assert cube["loss"].dtype == np.float64

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (
                lambda path: path.write_bytes(path.read_bytes()[:1000]),
                "expected a file with its own checksum at the end, got one that is cut off, damaged or from elsewhere",
            ),
            (
                lambda path: path.write_bytes(b""),
                "expected a file with its own checksum at the end, got one that is cut off, damaged or from elsewhere",
            ),
            (
                lambda path: xr.Dataset({"a": 1}).to_netcdf(path),
                "expected a file with its own checksum at the end, got one that is cut off, damaged or from elsewhere",
            ),
            (
                lambda path: write_run(xr.Dataset({"a": 1}), path),
                "expected a run file written by record()",
            ),
            (lambda path: write_run(run(7, "scaled"), path), "expected seed to be one of [0, 1], got [7]"),
            (
                lambda path: write_run(run(1, "scaled", coords={"lam": [0.0]}), path),
                "expected lam to be [0.0, 0.5], got [0.0]",
            ),
        ],
    )
    def test_a_file_that_is_no_run_of_this_study_is_reported_and_left_alone(self, damage, message, study):
        path = study / "runs" / "1scaled.nc"
        damage(path)
        content = path.read_bytes()
        with pytest.warns(SkippedRunFile) as warned:
            compact(study)
        assert f"1scaled.nc: {message}" in str(warned[0].message)
        assert path.read_bytes() == content
        with open_cube(study) as cube:
            assert len(missing(cube)) == 2

    def test_many_skipped_files_are_one_warning(self, study):
        for i in range(8):
            (study / "runs" / f"bad{i}.nc").touch()
        with pytest.warns(SkippedRunFile, match=r"and 3 more") as warned:
            compact(study)
        assert len(warned) == 1

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"run.recipe": "other"}, "expected a run of recipe abc .*, got recipe other"),
            ({"coords": {"x": [0, 1, 3]}}, "expected the values of x that 0constant.nc has, got others"),
            ({"coords": {"x": [0, 1]}}, "expected 3 values along x as in 0constant.nc, got 2; .*join: pad"),
            (
                {"variables": {"count": (("seed", "policy", "x"), np.zeros((1, 1, 3)), COUNT)}},
                "expected count over no dims of its own as in 0constant.nc, got it over x",
            ),
            (
                {"variables": {"count": (("seed", "policy"), [["text"]], COUNT)}},
                "expected numbers in count as in 0constant.nc, got texts",
            ),
            (
                {"variables": {"count": (("seed", "policy"), [[1]], {"long_name": "count", "units": "bit"})}},
                "expected count in 1 as in 0constant.nc, got bit",
            ),
            (
                {"variables": {"count": (("seed", "policy"), np.array([["2026"]], "M8[ns]"), {"long_name": "count"})}},
                "expected numbers in count as in 0constant.nc, got dates",
            ),
        ],
    )
    def test_a_run_that_contradicts_the_others_costs_itself_and_is_named(self, changes, message, study):
        write_run(run(1, "scaled", **changes), study / "runs" / "1scaled.nc")
        with pytest.warns(SkippedRunFile, match=rf"1scaled.nc: {message}"):
            compact(study)
        with open_cube(study) as cube:
            assert missing(cube) == [{"seed": 0, "policy": "scaled"}, {"seed": 1, "policy": "scaled"}]
            np.testing.assert_array_equal(cube["loss"][1, 0], run(1, "constant")["loss"][0, 0])

    def test_a_study_without_a_finished_run_has_no_cube(self, study):
        for path in (study / "runs").iterdir():
            path.unlink()
        with pytest.raises(CubeError, match="expected at least one finished run"):
            compact(study)

    def test_a_grid_that_is_all_vectorized_makes_a_cube_of_one_run(self, tmp_path):
        spec = {"study": "s", "grid": {"lam": [0.0, 0.5]}, "vectorize": ["lam"], "resolved": {"spec_hash": "abc"}}
        write_yaml(spec, tmp_path / "spec.yaml")
        dataset = xr.Dataset({"loss": ("lam", [1.0, 2.0], LABELS)}, {"lam": [0.0, 0.5], "python": "3"})
        write_run(dataset.assign_attrs({"run.recipe": "abc"}), tmp_path / "runs" / "all.nc")
        with open_cube(compact(tmp_path)) as cube:
            assert missing(cube) == []
            assert cube["loss"].values.tolist() == [1.0, 2.0]
            assert missing(cube.assign({"run.done": False})) == [{}]


class TestOpening:
    def test_a_cube_is_opened_lazily_from_its_folder_or_file(self, study):
        for path in (study, compact(study)):
            with open_cube(path) as cube:
                assert not cube["loss"].variable._in_memory

    def test_a_study_without_a_cube_says_how_to_make_one(self, study):
        with pytest.raises(FileNotFoundError, match=r"'kdlandscape cube .*' makes one from finished runs"):
            open_cube(study)

    def test_a_dataset_that_is_no_cube_has_no_holes_to_name(self):
        with pytest.raises(CubeError, match=r"expected a cube with the variable 'run.done', got loss"):
            missing(xr.Dataset({"loss": 1}))

    def test_a_cube_opens_where_importing_torch_fails(self, study):
        compact(study)
        code = (
            "import sys; sys.modules['torch'] = None\n"
            "import kdlandscape as kdl\n"
            f"cube = kdl.open_cube({str(study)!r})\n"
            "print(kdl.missing(cube), float(cube['loss'].max()))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[{'seed': 0, 'policy': 'scaled'}] 115.0"


class TestFiles:
    def test_what_netcdf_cannot_hold_as_an_attribute_is_kept_as_json(self, tmp_path):
        attrs = {"none": None, "yes": True, "map": {"a": [1]}, "text": "t", "list": [1, 2], "np": np.float32(0.5)}
        dataset = xr.Dataset({"a": ("x", [1.0], attrs)}, {"x": [0]}, attrs)
        write_run(dataset, tmp_path / "a.nc")
        assert dataset.attrs == attrs
        with xr.open_dataset(tmp_path / "a.nc") as stored:
            for holder in (stored, stored["a"]):
                assert json.loads(holder.attrs["none"]) is None
                assert json.loads(holder.attrs["yes"]) is True
                assert json.loads(holder.attrs["map"]) == {"a": [1]}
                assert holder.attrs["text"] == "t"
                assert holder.attrs["list"].tolist() == [1, 2]
                assert holder.attrs["np"] == 0.5

    def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text("old")
        with pytest.raises(TypeError, match="not JSON serializable"):
            write_error({"a": object()}, path)
        assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
        assert path.read_text() == "old"

    def test_a_written_file_can_be_read_by_others(self, tmp_path):
        write_error({}, tmp_path / "a.json")
        (tmp_path / "b").touch()
        assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "b").stat().st_mode

    def test_error_records_are_read_back_and_an_unreadable_one_says_so(self, tmp_path):
        write_error({"name": "ValueError", "value": "λ"}, tmp_path / "a.json")
        assert read_error(tmp_path / "a.json") == {"name": "ValueError", "value": "λ"}
        (tmp_path / "a.json").write_text("{")
        assert read_error(tmp_path / "a.json")["name"] == "UnreadableErrorRecord"


class TestProvenance:
    def test_a_checkout_is_known_by_its_commit_and_its_changes(self, tmp_path):
        def git(*arguments):
            identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
            subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

        assert provenance.git_state(tmp_path / "none") == ("", False)
        git("init")
        (tmp_path / "a").write_text("1")
        git("add", "a")
        git("commit", "-m", "one")
        commit, dirty = provenance.git_state(tmp_path)
        assert (len(commit), dirty) == (40, False)
        (tmp_path / "a").write_text("2")
        assert provenance.git_state(tmp_path) == (commit, True)
        assert provenance.collect(tmp_path)["git_commit"] == commit

    def test_facts_have_a_label_each(self):
        assert set(provenance.collect(os.curdir)) <= set(provenance.FACTS)
        assert {"kdlandscape", "xarray", "torch"} <= set(provenance.package_versions())
