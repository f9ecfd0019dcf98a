import math
import os
import subprocess
import sys

import pytest

from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.loading import load_spec, make_spec
from kdlandscape.sweeps.places import find_spec
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.spec import Spec
from tests.tiny_study import write_notebook, write_spec

WRONG = {
    "unknown key": ({"parameter": {}}, ["parameter: expected one of", "Did you mean 'parameters'?"]),
    "unknown table key": (
        {"table": {"rows": [], "values": [], "ovr": "seed"}},
        ["table.ovr: expected one of rows, over, values", "Did you mean 'over'?"],
    ),
    "missing table key": ({"table": {"rows": []}}, ["table.values: expected a value, got none"]),
    "missing study": ({"study": None}, ["study: expected a value, got none"]),
    "wrong kind": ({"grid": {"seed": 3}}, ["grid.seed: expected a valid list, got 3"]),
    "path as study": ({"study": "../out"}, ["study: expected a plain file name", "got '../out'"]),
    "hidden study": ({"study": ".x"}, ["study: expected a plain file name", "got '.x'"]),
    "missing notebook": (
        {"notebook": "tinny.ipynb"},
        ["notebook: expected", "'tinny.ipynb'", "Did you mean 'tiny.ipynb'?"],
    ),
    "absolute notebook": (
        {"notebook": "/no/such.ipynb"},
        ["notebook: expected", "'/no/such.ipynb', which does not exist"],
    ),
    "empty grid": ({"grid": {}}, ["grid: expected at least one axis"]),
    "no grid": ({"grid": None}, ["grid: expected at least one axis"]),
    "empty axis": ({"grid": {"seed": []}}, ["seed: expected an axis with at least one value"]),
    "repeated value": ({"grid": {"seed": [1, 2, 1]}}, ["seed: expected each value once along an axis, got 1 again"]),
    "repeated number": ({"grid": {"rate": [1, 1.0]}}, ["rate: expected each value once along an axis, got 1.0 again"]),
    "nan": ({"grid": {"rate": [math.nan]}}, ["rate: expected finite values along an axis, got nan"]),
    "infinite": ({"grid": {"rate": [math.inf]}}, ["rate: expected finite values along an axis, got inf"]),
    "null": ({"grid": {"seed": [None]}}, ["seed: expected int", "got None (NoneType)"]),
    "nested": ({"grid": {"seed": [[0]]}}, ["seed: expected int", "got [0] (list)"]),
    "named and vectorized": (
        {"grid": {"lam": [[0.0]]}, "vectorize": ["lam"]},
        ["lam: expected numbers, texts or booleans along an axis in vectorize, got values with names"],
    ),
    "text key": ({"parameters": {"table": {1: 2}}}, ["table[1]: expected dict[str, int]", "got 1 (int)"]),
    "mixed": ({"grid": {"seed": [1, "a"]}}, ["seed: expected values of one type along an axis, got int, str"]),
    "no identifier": (
        {"grid": {"se-ed": [1]}},
        ["grid: expected an axis name that is a Python identifier, got 'se-ed'"],
    ),
    "in both": ({"parameters": {"seed": 1}}, ["seed: expected it in grid or in parameters, got it in both"]),
    "vectorize": ({"vectorize": ["sed"]}, ["vectorize: expected axes of the grid (seed)", "Did you mean 'seed'?"]),
    "vectorize twice": (
        {"grid": {"lam": [1.0]}, "vectorize": ["lam", "lam"]},
        ["vectorize: expected each axis once, got ['lam', 'lam']"],
    ),
    "vectorize a scalar": ({"vectorize": ["seed"]}, ["seed: expected a parameter of type list[int]", "take it out of"]),
    "figure": ({"figures": ["init_lamda"]}, ["figures: expected some of", "Did you mean 'init_lambda'?"]),
    "unknown parameter": ({"parameters": {"widht": 3}}, ["widht: expected a parameter", "Did you mean 'width'?"]),
    "unknown axis": ({"grid": {"sed": [1]}}, ["sed: expected a parameter", "Did you mean 'seed'?"]),
    "text for int": ({"parameters": {"width": "3"}}, ["width: expected int | None", "got '3' (str)"]),
    "bool for int": ({"grid": {"seed": [True]}}, ["seed: expected int", "got True (bool)"]),
    "bool for float": ({"parameters": {"rate": True}}, ["rate: expected float", "got True (bool)"]),
    "float for int": ({"grid": {"seed": [0.5]}}, ["seed: expected int", "got 0.5 (float)"]),
    "literal": ({"parameters": {"policy": "scald"}}, ["policy: expected Literal", "Did you mean 'scaled'?"]),
    "item": ({"parameters": {"lam": [0.0, "a"]}}, ["lam[1]: expected list[float]", "got 'a' (str)"]),
    "pair": ({"parameters": {"pair": [1]}}, ["pair[1]: expected tuple[int, float]"]),
    "vectorized item": ({"grid": {"lam": ["a"]}, "vectorize": ["lam"]}, ["lam[0]: expected list[float]"]),
    "quoted annotation": ({"parameters": {"free": [1]}}, ["free[0]: expected", "list[str]", "got 1 (int)"]),
    "mapping": ({"parameters": {"table": {"a": "b"}}}, ["table: expected dict[str, int]", "got 'b' (str)"]),
    "type of default": ({"parameters": {"flag": 1}}, ["flag: expected bool", "got 1 (int)"]),
    "snapshot": ({"resolved": {}}, ["resolved: expected a spec as written by hand"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_spec_is_refused_by_naming_the_culprit(case, tmp_path):
    changes, messages = WRONG[case]
    path = write_spec(tmp_path, **changes)
    with pytest.raises(SpecError) as refused:
        load_spec(path)
    for message in messages:
        assert message in str(refused.value)


HEAD = "study: a\nnotebook: tiny.ipynb\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "grid:\n  seed: [1]\n  seed: [2]\n", "seed: expected each key once, got it again in line 5"),
        (HEAD + "grid: [", "tiny.yaml: expected YAML, got"),
        ("- 1", "tiny.yaml: expected keys with values, got list"),
        ("!!python/object:os.system {}", "tiny.yaml: expected YAML, got"),
        (HEAD + "grid: {2024-01-01: [1]}", "grid: expected an axis name that is a Python identifier, got '2024-01-01'"),
    ],
)
def test_a_file_that_is_no_spec_is_refused(text, message, tmp_path):
    path = write_spec(tmp_path)
    path.write_text(text)
    with pytest.raises(SpecError) as refused:
        load_spec(path)
    assert message in str(refused.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"study: \xff")
    with pytest.raises(SpecError, match=r"bad.yaml: expected UTF-8 text"):
        load_spec(path)


def test_a_spec_that_does_not_exist_is_refused_with_the_nearest_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(SpecError, match=r"'mime.yaml', which does not exist. Did you mean 'mine.yaml'\?"):
        load_spec("mime.yaml")


def test_a_shipped_spec_is_found_by_name():
    assert find_spec("demo") == find_spec("demo.yaml")


def test_numbers_and_texts_mean_what_they_look_like(tmp_path):
    path = write_spec(tmp_path)
    path.write_text("study: a\nnotebook: tiny.ipynb\nparameters: {rate: 1e-3, mode: no}\ngrid: {seed: [1]}\n")
    assert load_spec(path).parameters == {"rate": 1e-3, "mode": "no"}


def test_a_mix_of_int_and_float_along_an_axis_is_float(tmp_path):
    spec = load_spec(write_spec(tmp_path, grid={"rate": [0, 0.5]}))
    assert [type(value) for value in spec.grid["rate"]] == [float, float]


def test_overrides_go_through_the_same_checks(tmp_path):
    path = write_spec(tmp_path, parameters={"rate": 0.5, "policy": "constant"})
    spec = load_spec(path, ["rate=1e-2"], ["seed=3,4,5", "policy=constant,scaled"], study="other")
    assert spec.parameters == {"rate": 0.01}
    assert spec.grid == {"seed": [3, 4, 5], "policy": ["constant", "scaled"]}
    assert spec.study == "other"
    for parameters, grid, message in [
        (["seed=3"], [], "seed: expected a fixed parameter after -p, got an axis; use -g seed=3"),
        (["rte=3"], [], "Did you mean 'rate'?"),
        (["rate"], [], "-p: expected name=value, got 'rate'"),
        ([], ["seed"], "-g: expected name=v1,v2, got 'seed'"),
        ([], ["seed="], "seed: expected an axis with at least one value"),
        ([], ["seed=1,x"], "seed: expected values of one type"),
        (["rate=["], [], "-p rate=[: expected YAML"),
    ]:
        with pytest.raises(SpecError) as refused:
            load_spec(path, parameters, grid)
        assert message in str(refused.value)


def test_an_override_of_a_malformed_grid_is_refused(tmp_path):
    with pytest.raises(SpecError, match="grid: expected names with values, got 3"):
        load_spec(write_spec(tmp_path, grid=3), grid=["seed=1"])


def test_an_unchecked_spec_has_no_plan():
    with pytest.raises(SpecError, match="expected one made by load_spec or make_spec"):
        plan(Spec(study="a", notebook="b", grid={"seed": [1]}))


def test_a_mistake_shows_in_under_two_seconds_without_heavy_imports(tmp_path):
    path = write_spec(tmp_path, parameters={"widht": 3})
    code = (
        "import sys\nfrom kdlandscape.sweeps.loading import load_spec\n"
        f"try: load_spec({str(path)!r})\n"
        "except ValueError as error: print(error)\n"
        "print(sorted({'torch', 'papermill', 'matplotlib', 'xarray'} & set(sys.modules)))"
    )
    before = sum(os.times()[2:4])  # seconds of work of processes that have ended
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sum(os.times()[2:4]) - before < 2
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Did you mean 'width'?" in done.stdout
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny.ipynb", "tiny.yaml"]


class TestPlan:
    def test_outer_axes_become_runs_and_vectorized_ones_stay_whole(self, tmp_path):
        grid = {"seed": [0, 1], "lam": [0.0, 0.5], "policy": ["constant", "scaled"]}
        runs = plan(load_spec(write_spec(tmp_path, grid=grid, vectorize=["lam"], parameters={"rate": 0.5})))
        assert [run.coords for run in runs] == [
            {"seed": seed, "policy": policy} for seed in (0, 1) for policy in ("constant", "scaled")
        ]
        assert runs[1].parameters == {"seed": 0, "policy": "scaled", "lam": [0.0, 0.5], "rate": 0.5}

    def test_an_outer_axis_over_a_list_parameter_gives_one_element_lists(self, tmp_path):
        runs = plan(load_spec(write_spec(tmp_path, grid={"lam": [0.0, 0.5]})))
        assert [(run.coords, run.parameters) for run in runs] == [
            ({"lam": 0.0}, {"lam": [0.0]}),
            ({"lam": 0.5}, {"lam": [0.5]}),
        ]

    def test_a_run_has_a_readable_safe_and_unique_name(self, tmp_path):
        modes = ["../a b", "../a/b", "λ", "x" * 300]
        runs = plan(load_spec(write_spec(tmp_path, grid={"mode": modes})))
        assert len({run.id for run in runs}) == 4
        assert runs[0].id.startswith("mode=.._a_b-")
        assert all("/" not in run.id and len(run.id) < 150 and run.id.isascii() for run in runs)

    def test_a_grid_that_is_all_vectorized_is_one_run(self, tmp_path):
        runs = plan(load_spec(write_spec(tmp_path, grid={"lam": [0.0, 0.5]}, vectorize=["lam"])))
        assert [(run.id[:4], run.coords) for run in runs] == [("all-", {})]


def test_a_spec_can_be_given_as_a_mapping(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb")
    assert make_spec({"study": "a", "notebook": str(path), "grid": {"seed": [1]}}).facts.notebook_path == str(path)
