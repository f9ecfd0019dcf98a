"""What runs record is merged by its value; a run that does not fit costs itself."""

import itertools
import json
import warnings

import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes import assembly
from kdlandscape.cubes.schema import SchemaError, check
from kdlandscape.cubes.store import CubeError, MixedAttributes, SkippedRunFile, compact, missing, open_cube, write_run

LABELS = {"long_name": "loss", "units": "nat"}
SEEDS = [0, 1, 2]


@pytest.fixture
def study(tmp_path):
    spec = {"study": "s", "grid": {"seed": SEEDS}, "resolved": {"spec_hash": "abc"}}
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    return tmp_path


def add(study, seed, values=1.0, attrs=LABELS, coords=None, dims=(), own=None):
    """Record one run, as ``record`` would."""
    value = xr.Variable(dims, values, attrs)
    dataset = xr.Dataset({"loss": value}, coords or {}, own)
    check(dataset)
    dataset = dataset.expand_dims(seed=[seed]).assign_attrs({"run.recipe": "abc"})
    write_run(dataset, study / "runs" / f"{seed}.nc")


def load(study, **settings):
    with open_cube(compact(study, **settings)) as cube:
        return cube.load()


DATES = [np.datetime64("2026-01-01T00:00:00.000000001"), np.datetime64("1700-02-03"), np.datetime64("NaT", "D")]
BY_VALUE = {
    "dates of different units": (DATES, {"long_name": "day"}),
    "durations": ([np.timedelta64(3, "D"), np.timedelta64(1, "ns"), np.timedelta64("NaT", "h")], {"long_name": "took"}),
    "large integers": ([2**53 + 1, -(2**63) + 1, 2**63 - 1], LABELS),
    "small and large integers": ([1, 2**53 + 1, 3], LABELS),
    "unsigned and signed": ([np.uint64(2**53 + 1), np.int8(-3), np.uint8(200)], LABELS),
    "booleans": ([True, False, True], LABELS),
    "booleans and numbers": ([True, 0.5, 2], LABELS),
    "half and double precision": ([np.float16(0.5), np.float32(0.1), 0.1], LABELS),
    "texts": (["λ", "", "long " * 50], LABELS),
    "infinities": ([np.inf, -np.inf, np.nan], LABELS),
}


@pytest.mark.parametrize("memory", [1 << 27, 0])
@pytest.mark.parametrize("case", BY_VALUE)
@pytest.mark.parametrize("at_once", [True, False])
def test_each_run_keeps_its_own_value(case, at_once, memory, study, monkeypatch):
    monkeypatch.setattr(assembly, "_MEMORY", memory)
    values, attrs = BY_VALUE[case]
    for seed, value in enumerate(values):
        add(study, seed, value, attrs)
        if not at_once:
            compact(study)
    cube = load(study)
    for seed, value in enumerate(values):
        found = cube["loss"].sel(seed=seed).item()
        if cube["loss"].dtype.kind in "mM":
            value = value.astype(cube["loss"].dtype).item()
        assert found == value or (found != found and value != value) or found is value
    assert cube["loss"].attrs == attrs


@pytest.mark.parametrize("case", ["dates of different units", "durations", "large integers", "texts"])
def test_a_cell_that_is_missing_has_no_value_of_another_run(case, study):
    values, attrs = BY_VALUE[case]
    add(study, 1, values[0], attrs)
    hole = load(study)["loss"].sel(seed=0)
    if case == "texts":
        assert hole == ""
    elif case == "large integers":
        assert hole == np.iinfo(np.int64).min
    else:
        assert np.isnat(hole)


@pytest.mark.parametrize(
    "values",
    [np.array(["2026-01-01", "2026-01-05"], "M8[D]"), np.array([1, 5], "m8[h]"), [True, False], ["a", "b"], [1, 2]],
)
def test_an_inner_coordinate_keeps_its_values_and_type(values, study):
    for seed in SEEDS:
        add(study, seed, [1.0, 2.0], dims=("day",), coords={"day": values})
    cube = load(study)
    expected = xr.Dataset(coords={"day": values})["day"]
    assert cube["day"].dtype.kind == expected.dtype.kind
    np.testing.assert_array_equal(cube["day"].values, expected.values)


def test_a_date_beside_the_dims_belongs_to_its_run(study):
    for seed in SEEDS:
        add(study, seed, coords={"finished": np.datetime64(f"202{seed}-01-01")})
    cube = load(study)
    assert [str(day)[:4] for day in cube["finished"].values] == ["2020", "2021", "2022"]


def test_numbers_that_look_like_encoded_dates_stay_numbers(study):
    for seed in SEEDS:
        add(study, seed, float(seed), {"long_name": "age", "units": "days since 2000-01-01"})
    assert load(study)["loss"].values.tolist() == [0.0, 1.0, 2.0]
    assert load(study)["loss"].attrs["units"] == "days since 2000-01-01"


def test_seconds_stay_numbers(study):
    for seed in SEEDS:
        add(study, seed, 1.5 * seed, {"long_name": "time", "units": "seconds"})
    assert load(study)["loss"].values.tolist() == [0.0, 1.5, 3.0]


def test_units_of_one_run_are_never_given_to_another(study):
    for seed, unit in zip(SEEDS, ["nat", "bit", "nat"], strict=True):
        add(study, seed, 1.0, {"long_name": "loss", "units": unit})
    with pytest.warns(SkippedRunFile, match=r"1.nc: expected loss in nat as in 0.nc, got bit; it is left out"):
        cube = load(study)
    assert missing(cube) == [{"seed": 1}]


def test_attributes_of_the_user_survive_and_those_that_differ_are_reported(study):
    for seed in SEEDS:
        labels = {**LABELS, "definition": "mean" if seed else "sum"}
        own = {"study": "mine", "description": "my words", "tries": seed, "nothing": None}
        add(study, seed, 1.0, labels, own=own)
    with pytest.warns(MixedAttributes) as warned:
        cube = load(study)
    assert 'loss.definition ("sum" in 0.nc, "mean" in 1.nc)' in str(warned[0].message)
    assert "tries (0 in 0.nc, 1 in 1.nc)" in str(warned[0].message)
    assert cube.attrs == {"run.recipe": "abc", "study": "mine", "description": "my words", "nothing": "null"}
    assert cube["loss"].attrs == LABELS


class TestRaggedRuns:
    """Runs that stop early have fewer epochs; this is normal."""

    LENGTHS = (4, 2, 4)

    def epochs(self, study, lengths=LENGTHS, start=(0, 0, 0)):
        for seed, length in enumerate(lengths):
            epoch = np.arange(length) + start[seed]
            add(study, seed, 10.0 * seed + epoch, dims=("epoch",), coords={"epoch": epoch})

    def test_the_runs_that_agree_make_the_cube_and_the_other_is_named_with_the_way_out(self, study):
        self.epochs(study)
        message = r"1.nc: expected 4 values along epoch as in 0.nc, got 2; it is left out \(join: pad or join: outer in"
        with pytest.warns(SkippedRunFile, match=message):
            cube = load(study)
        assert missing(cube) == [{"seed": 1}]
        np.testing.assert_array_equal(cube["loss"].sel(seed=2), [20, 21, 22, 23])

    def test_most_runs_count_also_where_the_odd_one_was_first(self, study):
        self.epochs(study, (2, 4, 4))
        with pytest.warns(SkippedRunFile, match=r"0.nc: expected 4 values along epoch as in 1.nc, got 2"):
            assert missing(load(study)) == [{"seed": 0}]

    @pytest.mark.parametrize("lengths", [(2, 4, 4), (4, 4, 2), (1, 2, 3)])
    @pytest.mark.parametrize("join", ["exact", "pad", "outer"])
    def test_the_cube_does_not_depend_on_the_order_in_which_runs_end(self, lengths, join, study):
        with warnings.catch_warnings(action="ignore", category=SkippedRunFile):
            self.epochs(study, lengths)
            expected = load(study, join=join)
            files = {path: path.read_bytes() for path in (study / "runs").iterdir()}
            for order in list(itertools.permutations(files))[::2]:
                for path in [*files, study / "cube.nc"]:
                    path.unlink(missing_ok=True)
                for path in order:
                    path.write_bytes(files[path])
                    made = load(study, join=join)
                xr.testing.assert_identical(made, expected)

    @pytest.mark.parametrize("join", ["pad", "outer"])
    @pytest.mark.parametrize("memory", [1 << 27, 0])
    def test_shorter_runs_are_padded_with_holes_where_that_is_asked_for(self, join, memory, study, monkeypatch):
        monkeypatch.setattr(assembly, "_MEMORY", memory)
        self.epochs(study)
        cube = load(study, join=join)
        assert missing(cube) == []
        assert cube["epoch"].values.tolist() == [0, 1, 2, 3]
        np.testing.assert_array_equal(cube["loss"].sel(seed=1), [10, 11, np.nan, np.nan])
        np.testing.assert_array_equal(cube["loss"].sel(seed=2), [20, 21, 22, 23])

    def test_an_outer_join_goes_by_value_and_padding_by_position(self, study):
        self.epochs(study, (3, 2, 3), start=(0, 5, 1))
        outer = load(study, join="outer")
        assert outer["epoch"].values.tolist() == [0, 1, 2, 3, 5, 6]
        np.testing.assert_array_equal(outer["loss"].sel(seed=1), [np.nan] * 4 + [15, 16])
        np.testing.assert_array_equal(outer["loss"].sel(seed=2), [np.nan, 21, 22, 23, np.nan, np.nan])
        padded = load(study, join="pad")
        assert padded["epoch"].values.tolist() == [0, 1, 2]
        np.testing.assert_array_equal(padded["loss"].sel(seed=1), [15, 16, np.nan])
        np.testing.assert_array_equal(padded["run.epoch"], [[np.nan] * 3, [5, 6, np.nan], [1, 2, 3]])

    def test_texts_and_dates_are_joined_too(self, study):
        for seed, day in enumerate(["2026-01-02", "2026-01-01", "2026-01-02"]):
            add(
                study,
                seed,
                [seed],
                dims=("day",),
                coords={"day": np.array([day], "M8[D]"), "word": ("day", [f"w{seed}"])},
            )
        cube = load(study, join="outer")
        assert [str(day)[:10] for day in cube["day"].values] == ["2026-01-01", "2026-01-02"]
        np.testing.assert_array_equal(cube["loss"], [[np.nan, 0], [1, np.nan], [np.nan, 2]])
        assert cube["word"].values.tolist() == [["", "w0"], ["w1", ""], ["", "w2"]]

    def test_the_spec_can_ask_for_it_or_leave_the_odd_run_out(self, study):
        self.epochs(study)
        spec = json.loads((study / "spec.yaml").read_text())
        (study / "spec.yaml").write_text(json.dumps({**spec, "join": "pad"}))
        assert missing(load(study)) == []
        (study / "spec.yaml").write_text(json.dumps({**spec, "exclude": [{"seed": 1}]}))
        assert missing(load(study)) == []
        with open_cube(study, join="outer") as cube:
            assert cube.sizes["epoch"] == 4

    def test_an_unknown_join_is_refused(self, study):
        with pytest.raises(CubeError, match="join: expected one of exact, outer, pad, got 'inner'"):
            compact(study, join="inner")


class TestSpecs:
    @pytest.mark.parametrize("text", ["", "[]", "{", "study: s", "grid: 3", "grid: {a: 3}", "\0", "a: b: c", "null"])
    def test_a_spec_that_is_none_is_one_message(self, text, study):
        add(study, 0)
        (study / "spec.yaml").write_text(text)
        with pytest.raises(CubeError, match=r"spec.yaml: expected the spec that a sweep wrote there, got"):
            compact(study)

    def test_no_spec_at_all_is_one_message(self, study):
        (study / "spec.yaml").unlink()
        with pytest.raises(CubeError, match=r"spec.yaml: expected the spec that a sweep wrote there, .*No such file"):
            compact(study)


UNFIT = ["a/b", "", " a", "a ", "a\n", "run.done", "e\u0301", "x" * 300, "-a", "a\0b", "\ud800"]
PLAIN = ["done", "planned", "device", "python", "git_commit", "wall_time", "packages", "index"]


class TestNothingIsReserved:
    """A user may call a variable as a cube calls its own."""

    @pytest.mark.parametrize("name", PLAIN)
    def test_a_variable_may_have_any_plain_name(self, name, study):
        for seed in SEEDS[:2]:
            value = xr.Dataset({name: ((), 10.0 + seed, LABELS)}).expand_dims(seed=[seed])
            write_run(value.assign_attrs({"run.recipe": "abc"}), study / "runs" / f"{seed}.nc")
        cube = load(study)
        assert cube[name].values[:2].tolist() == [10.0, 11.0]
        assert missing(cube) == [{"seed": 2}]

    @pytest.mark.parametrize("name", UNFIT)
    def test_a_name_that_netcdf_cannot_hold_is_refused_at_once(self, name):
        with pytest.raises(SchemaError, match=r"expected (a|no) name"):
            check(xr.Dataset({name: ((), 1.0, LABELS)}))
