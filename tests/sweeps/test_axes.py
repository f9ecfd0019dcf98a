"""Ranges, zips, exclusions, includes, and studies that take checkpoints from another."""

import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes.store import missing, open_cube
from kdlandscape.sweeps.errors import SpecError, StudyError
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.study import WaitingRuns, run_study
from kdlandscape.sweeps.upstream import bind
from tests.tiny_study import write_notebook, write_spec


def axis(tmp_path, name, value):
    return load_spec(write_spec(tmp_path, grid={name: value})).grid[name]


def test_a_range_is_pythons_and_its_decimals_are_what_one_would_have_written(tmp_path):
    assert axis(tmp_path, "seed", {"range": [0, 3]}) == [0, 1, 2]
    assert axis(tmp_path, "seed", {"range": [6, 0, -2]}) == [6, 4, 2]
    assert axis(tmp_path, "rate", {"range": [0.0, 0.5, 0.1]}) == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert axis(tmp_path, "rate", {"range": [0, 1, 0.5]}) == [0.0, 0.5]


BAD_AXES = {
    "no list": ({"rate": {"range": 3}}, "rate: expected a list of values or range: [start, stop]"),
    "another key": ({"rate": {"rang": [0, 1]}}, "rate: expected a list of values or range"),
    "one bound": ({"rate": {"range": [0]}}, "or range: [start, stop, step], got {'range': [0]}"),
    "text": ({"rate": {"range": [0, "a"]}}, "rate: expected a list of values or range"),
    "infinite": ({"rate": {"range": [0, float("inf")]}}, "rate: expected a list of values or range"),
    "no step": ({"rate": {"range": [0, 1, 0]}}, "rate: expected a step other than 0"),
    "empty": ({"rate": {"range": [1, 0]}}, "rate: expected an axis with at least one value"),
    "endless": ({"rate": {"range": [0, 10**12]}}, "rate: expected at most 1,000,000 values along an axis"),
    "long": ({"seed": [0] * 1_000_001}, "seed: expected at most 1,000,000 values along an axis"),
    "too many": (
        {"seed": {"range": [0, 1001]}, "rate": {"range": [0, 1000]}},
        "grid: expected at most 1,000,000 runs, got 1,001,000; vectorize an axis",
    ),
    "huge": (
        {name: {"range": [0, 10**6]} for name in ("seed", "rate", "where")},
        "grid: expected at most 1,000,000 runs, got about 10^18",
    ),
    "wide": ({"where": [2**63]}, "where: expected 64-bit integers along an axis, got one of 64 bits"),
    "NUL": ({"mode": ["a\0"]}, "mode: expected texts that netCDF can hold"),
    "surrogate": ({"mode": ["\ud800"]}, "mode: expected texts that netCDF can hold"),
}


@pytest.mark.parametrize("case", BAD_AXES)
def test_an_axis_that_no_cube_can_have_is_refused(case, tmp_path):
    from kdlandscape.sweeps.loading import make_spec

    grid, message = BAD_AXES[case]
    notebook = write_notebook(tmp_path / "tiny.ipynb")
    with pytest.raises(SpecError) as refused:
        make_spec({"study": "tiny", "notebook": str(notebook), "grid": grid})
    assert message in str(refused.value)


GRID = {"seed": [0, 1, 2], "rate": [0.1, 0.2], "width": [8, 9], "policy": ["constant", "constant"]}


def test_zipped_axes_advance_together_and_the_first_may_not_repeat(tmp_path):
    spec = load_spec(write_spec(tmp_path, grid=GRID, zip=[["rate", "width", "policy"]]))
    coords = [tuple(run.coords.values()) for run in plan(spec)]
    assert coords == [(seed, *rest) for seed in range(3) for rest in ((0.1, 8, "constant"), (0.2, 9, "constant"))]
    with pytest.raises(SpecError, match="policy: expected each value once along an axis"):
        load_spec(write_spec(tmp_path, grid=GRID, zip=[["policy", "rate"]]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zip": [["rate", "wdth"]]}, "zip: expected axes of the grid that are not vectorized"),
        ({"zip": [["rate"]]}, "zip: expected groups of at least two axes of equal length, got {'rate': 2}"),
        ({"zip": [[]]}, "zip: expected groups of at least two axes"),
        ({"zip": [["seed", "rate"]]}, "of equal length, got {'seed': 3, 'rate': 2}"),
        ({"zip": [["rate", "width"], ["seed", "rate"]]}, "zip: expected each axis once"),
        ({"zip": [["lam", "rate"]], "vectorize": ["lam"]}, "zip: expected axes of the grid that are not vectorized"),
        ({"exclude": [{}]}, "exclude: expected axes with values in each entry, got an empty one"),
        ({"exclude": [{"sed": 1}]}, "Did you mean 'seed'?"),
        ({"exclude": [{"seed": [1, 7]}]}, "exclude: expected values of the axis seed, got 7"),
        ({"exclude": [{"seed": {"a": []}}]}, "exclude: expected values of the axis seed, got {'a': []}"),
        ({"exclude": [{"seed": [0, 1, 2]}]}, "exclude: expected at least one run to be left, got none"),
    ],
)
def test_a_zip_or_exclusion_that_fits_no_axis_is_refused(changes, message, tmp_path):
    grid = {"seed": [0, 1, 2], "rate": [0.1, 0.2], "width": [8, 9], "lam": [0.0, 1.0]}
    with pytest.raises(SpecError) as refused:
        load_spec(write_spec(tmp_path, grid=grid, **changes))
    assert message in str(refused.value)


def test_a_zipped_axis_is_a_coordinate_of_the_cube_and_an_excluded_cell_is_not_missing(tmp_path):
    path = write_spec(
        tmp_path,
        grid={"seed": [0, 1], "rate": [0.1, 0.2], "policy": ["constant", "constant"], "mode": ["ok", "fail"]},
        zip=[["rate", "policy"]],
        exclude=[{"seed": 1, "rate": [0.2]}, {"seed": 0, "mode": "fail"}],
        parameters={"folder": str(tmp_path)},
    )
    folder = run_study(path, root=tmp_path, warm=True, progress=False)
    with open_cube(folder) as cube:
        assert cube["loss"].dims == ("seed", "rate", "mode", "lam")
        assert cube["policy"].dims == ("rate",)
        assert cube["policy"].values.tolist() == ["constant", "constant"]
        assert cube["rate"].values.tolist() == [0.1, 0.2]
        assert missing(cube) == [{"seed": 1, "rate": 0.1, "mode": "fail"}]
        assert int(cube["run.done"].sum()) == 3
        assert int(cube["run.planned"].sum()) == 4
    with pytest.raises(StudyError, match=r"zip: .* then, \[\] now"):
        run_study(
            load_spec(write_spec(tmp_path, grid={"seed": [0]} | {}, parameters={"folder": str(tmp_path)})),
            root=tmp_path,
        )


def test_an_include_lies_below_the_file_that_names_it(tmp_path):
    base = {"grid": {"seed": [0, 1], "rate": [0.1]}, "parameters": {"width": 3, "flag": True}, "study": "base"}
    (tmp_path / "deep").mkdir()
    write_spec(tmp_path / "deep", **base)
    above = write_spec(tmp_path, study="above", notebook=None, include="deep/tiny.yaml", grid={"width": [1, 2]})
    above.write_text(above.read_text() + "parameters: {rate: 0.5}\n")
    spec = load_spec(above)
    assert spec.study == "above"
    assert spec.notebook == str(tmp_path / "deep" / "tiny.ipynb")
    assert spec.grid == {"seed": [0, 1], "width": [1, 2]}
    assert spec.parameters == {"flag": True, "rate": 0.5}


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ("tiny.yaml", "include: expected files that do not include each other, got tiny.yaml again"),
        ("none.yaml", "include: expected a YAML file, got"),
        (3, "include: expected a file or a list of files, got 3"),
        (["a", 3], "include: expected a file or a list of files"),
    ],
)
def test_an_include_that_cannot_be_read_is_refused(include, message, tmp_path):
    with pytest.raises(SpecError) as refused:
        load_spec(write_spec(tmp_path, include=include))
    assert message in str(refused.value)


READER = """\
import numpy as np, xarray as xr
from kdlandscape.sweeps.record import record
with xr.open_dataset(checkpoints, group="checkpoints") as weights:
    total = float(weights["theta"].sum()) + seed
label = {"long_name": "loss", "units": "nat"}
record(xr.Dataset({"total": ("lam", total + np.array(lam), label)}, {"lam": lam}))
"""
READER_PARAMETERS = "seed: int = 0\nlam: list[float] = [0.0]\ncheckpoints: str = ''\nnumber: int = 0"


@pytest.fixture
def two(tmp_path):
    """Specs of a study that makes checkpoints and of one that reads them."""
    first = write_spec(tmp_path / "first", grid={"seed": [0, 1], "mode": ["ok"]}, parameters={"folder": str(tmp_path)})
    write_notebook(tmp_path / "reader.ipynb", READER_PARAMETERS, READER)

    def second(**source):
        changes = {"study": "second", "notebook": "reader.ipynb", "from": {"study": "tiny", **source}}
        return load_spec(write_spec(tmp_path, grid={"seed": [0, 1], "lam": [0.0, 1.0]}, vectorize=["lam"], **changes))

    return first, second


class TestCheckpointsOfAnotherStudy:
    def test_each_run_reads_the_run_that_it_shares_its_axes_with_once_that_is_done(self, two, tmp_path):
        first, second = two
        source = {"share": ["seed"], "at": {"mode": "ok"}}
        run_study(load_spec(first), shard="1/2", root=tmp_path, warm=True, progress=False)
        with pytest.warns(WaitingRuns, match="1 runs wait for runs of tiny that are not done"):
            folder = run_study(second(**source), root=tmp_path, warm=True, progress=False)
        run_study(first, root=tmp_path, warm=True, progress=False)
        run_study(folder, warm=True, progress=False)
        with open_cube(folder) as cube:
            np.testing.assert_array_equal(cube["total"].values, [[3, 4], [4, 5]])
        changed = load_spec(first, ["rate=0.7"])
        for path in (tmp_path / "tiny" / "runs").iterdir():
            path.unlink()
        (tmp_path / "tiny" / "spec.yaml").unlink()
        run_study(changed, root=tmp_path, shard="1/2", warm=True, progress=False)
        with pytest.raises(StudyError, match="from: the study tiny has been run with another recipe since"):
            run_study(folder, progress=False)
        with pytest.raises(StudyError, match=r"from: \{.*then, \{.*now"):
            run_study(second(at={"mode": "ok"}), root=tmp_path, progress=False)

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ({}, "from: expected the shared axis mode in this study's grid too"),
            ({"share": ["sed"]}, "from: expected axes between the runs of tiny (seed, mode), got 'sed'"),
            ({"share": [], "at": {"mode": "ok"}}, "expected one run of tiny for all runs, got 2 in its grid; add seed"),
            ({"at": {"mode": "no"}}, "expected one run of tiny for seed=0, got 0 in its grid"),
        ],
    )
    def test_a_run_without_exactly_one_counterpart_is_refused(self, source, message, two, tmp_path):
        from kdlandscape.sweeps.adoption import adopt

        first, second = two
        adopt(load_spec(first), tmp_path / "tiny")
        with pytest.raises(SpecError) as refused:
            bind(second(**source), tmp_path)
        assert message in str(refused.value)

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ({"parameter": "chekpoints"}, "Did you mean 'checkpoints'?"),
            ({"parameter": "number"}, "number: expected int"),
            ({"shre": ["seed"]}, "from.shre: expected one of study, share, at, parameter"),
        ],
    )
    def test_a_notebook_that_takes_no_path_is_refused(self, source, message, two):
        with pytest.raises(SpecError) as refused:
            two[1](**source)
        assert message in str(refused.value)


def test_a_path_that_the_study_fills_may_not_be_given_too(tmp_path):
    write_notebook(tmp_path / "tiny.ipynb", READER_PARAMETERS, READER)
    path = write_spec(tmp_path, parameters={"checkpoints": "x"}, **{"from": {"study": "a"}})
    with pytest.raises(SpecError, match="checkpoints: expected it to be filled by from"):
        load_spec(path)


def test_a_zipped_axis_may_not_be_a_variable_of_the_result(monkeypatch, tmp_path):
    import json

    from kdlandscape.cubes.schema import SchemaError
    from kdlandscape.sweeps.record import CONTEXT_VARIABLE, record

    context = {"run": "a", "result": str(tmp_path / "r.nc"), "coords": {"seed": 1, "rate": 2.0}}
    context |= {"vectorized": {}, "labels": {}}
    context |= {"along": {"rate": "seed"}, "parameters": "{}", "spec_hash": "", "notebook_hash": "", "folder": "."}
    (tmp_path / "c.json").write_text(json.dumps({**context, "started": 0}))
    monkeypatch.setenv(CONTEXT_VARIABLE, str(tmp_path / "c.json"))
    label = {"long_name": "l", "units": "1"}
    with pytest.raises(SchemaError, match="rate: expected no variable or dim with the name of a zipped axis"):
        record(xr.Dataset({"rate": ((), 1.0, label)}))
