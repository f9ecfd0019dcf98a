"""What a notebook gets is what was checked; what it computed and what it read beside itself is recorded."""

import json
import math
import sys
from importlib.metadata import version

import pytest

from kdlandscape.cubes.runfile import read_run
from kdlandscape.cubes.store import open_cube
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.loading import load_spec, make_spec
from kdlandscape.sweeps.notebook import check_kernel
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.snapshot import status
from kdlandscape.sweeps.study import run_study
from kdlandscape.sweeps.witness import file_digest
from tests.tiny_study import write_notebook

PARAMETERS = """\
seed: int = 0
sched: dict[int, float] = {}
pair: tuple[int, float] = (1, 2.0)
pairs: list[tuple[int, str]] = []
nothing: int | None = 3
bad: float = 0.0
high: float = 0.0
deep: dict[str, dict[int, list[float | None]]] = {}
words: str = ""
size = 2 ** 5
share: float = 1 / 8
twice = 2 * size
kind = print
"""
BODY = """\
import helper
import numpy as np, xarray as xr
from kdlandscape.sweeps.record import record
text = open("data.csv").read()
with open("log.txt", "a") as log:
    log.write("x")
open("log.txt").read()
label = {"long_name": "l", "units": "1"}
got = repr([seed, sched, pair, pairs, nothing, bad, high, deep, words])
record(xr.Dataset({"got": ((), got, label), "value": ((), helper.value, label)}))
"""
GIVEN = {
    "sched": {1: 2, 10: 0.5},
    "pair": [3, 4],
    "pairs": [[1, "a"], [2, "b"]],
    "nothing": None,
    "bad": math.nan,
    "high": math.inf,
    "deep": {"a": {1: [1, None, -math.inf]}},
    "words": "a\n\"b\" 'c' \\n {x} λ \x1b",
}
ARRIVES = {
    "sched": {1: 2.0, 10: 0.5},
    "pair": (3, 4.0),
    "pairs": [(1, "a"), (2, "b")],
    "nothing": None,
    "bad": math.nan,
    "high": math.inf,
    "deep": {"a": {1: [1.0, None, -math.inf]}},
    "words": GIVEN["words"],
}


@pytest.fixture(scope="module", params=[False, True], ids=["cold", "warm"])
def delivered(request, tmp_path_factory):
    place = tmp_path_factory.mktemp("project")
    (place / "helper.py").write_text("import random\nvalue = 7.0\n")
    (place / "random.py").write_text("raise ImportError('the standard library comes first, as in Jupyter')\n")
    (place / "data.csv").write_text("1,2\n")
    notebook = write_notebook(place / "n.ipynb", PARAMETERS, "import helper", BODY)
    spec = {"study": "s", "notebook": str(notebook), "grid": {"seed": [5]}, "parameters": GIVEN}
    folder = run_study(spec, root=place / "studies", warm=request.param, progress=False)
    assert status(folder).done, [path.read_text() for path in (folder / "errors").iterdir()]
    (result,) = (folder / "runs").glob("*.nc")
    return place, folder, spec, read_run(result)


def test_every_value_arrives_with_its_type(delivered):
    _, _, _, run = delivered
    assert run.variables["got"].values.item() == repr([5, *ARRIVES.values()])


def test_a_module_beside_the_notebook_is_imported_as_in_jupyter(delivered):
    _, _, _, run = delivered
    assert run.variables["value"].values.item() == 7.0


def test_defaults_are_recorded_as_the_notebook_computed_them(delivered):
    _, _, _, run = delivered
    recorded = json.loads(run.attrs["run.parameters"])
    assert [recorded[name] for name in ("size", "share", "twice")] == [32, 0.125, 64]
    assert recorded["kind"] == "<built-in function print>"
    assert math.isnan(recorded["bad"])


def test_what_was_read_beside_the_notebook_is_noted_and_what_was_written_is_not(delivered):
    place, _, _, run = delivered
    read = json.loads(run.variables["run.inputs"].values.item())
    files = {name: file_digest(place / name) for name in ("data.csv", "helper.py")}
    packages = {f"//{name}": version(name) for name in ("kdlandscape", "numpy", "xarray")}
    assert {name: read[name] for name in read if name not in ("//scipy", "//torch")} == files | packages


def test_a_study_with_a_nan_goes_on(delivered):
    place, folder, spec, _ = delivered
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (folder / "runs").iterdir())
    run_study(spec, root=place / "studies", progress=False)
    run_study(folder, progress=False)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (folder / "runs").iterdir()) == before


class TestKernels:
    @pytest.mark.parametrize(
        ("kernelspec", "message"),
        [
            ({"name": "ir", "language": "R"}, "expected one in Python, got n.ipynb, which asks for a kernel in R"),
            ({"name": "other-env", "language": "python"}, "expected a kernel that is installed here, got n.ipynb"),
            ({"name": "elsewhere", "language": "python"}, r"expected a kernel of this environment \(.*'elsewhere' of"),
        ],
    )
    def test_a_kernel_of_another_language_or_environment_is_refused(self, kernelspec, message, tmp_path, monkeypatch):
        self.install(tmp_path, "/opt/elsewhere/bin/python", "elsewhere", monkeypatch)
        path = self.notebook(tmp_path, kernelspec)
        with pytest.raises(SpecError, match=message):
            make_spec({"study": "s", "notebook": str(path), "grid": {"seed": [0]}})

    def test_a_kernel_of_this_environment_may_have_any_name(self, tmp_path, monkeypatch):
        self.install(tmp_path, sys.executable, "mine", monkeypatch)
        for kernelspec in ({"name": "mine"}, {"name": "python3", "language": "python"}, {}, "odd", None):
            check_kernel(self.notebook(tmp_path, kernelspec))

    def install(self, folder, interpreter, name, monkeypatch):
        place = folder / "jupyter" / "kernels" / name
        place.mkdir(parents=True)
        spec = {"argv": [interpreter, "-m", "ipykernel_launcher"], "display_name": name, "language": "python"}
        (place / "kernel.json").write_text(json.dumps(spec))
        monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))

    def notebook(self, folder, kernelspec):
        path = write_notebook(folder / "n.ipynb", "seed: int = 0")
        content = json.loads(path.read_text())
        content["metadata"]["kernelspec"] = kernelspec
        path.write_text(json.dumps(content))
        return path


NAMED = """\
seed: int = 0
layers: list[int] = [1]
width: int | None = 3
rate: float = 0.1
table: dict[str, int] = {}
"""


class TestAxesWithNames:
    def spec(self, tmp_path, grid, **more):
        notebook = write_notebook(tmp_path / "n.ipynb", NAMED)
        return make_spec({"study": "s", "notebook": str(notebook), "grid": grid, **more})

    @pytest.mark.parametrize(
        ("name", "axis", "labels", "values"),
        [
            ("width", [None, 8], ["None", "8"], [None, 8]),
            ("layers", [[10, 10], [20]], ["[10, 10]", "[20]"], [[10, 10], [20]]),
            ("layers", {"small": [10], "large": [10, 10]}, ["small", "large"], [[10], [10, 10]]),
            ("rate", {"none": math.nan, "some": 1}, ["none", "some"], [math.nan, 1.0]),
            ("table", [{"a": 1}, {}], ["{'a': 1}", "{}"], [{"a": 1}, {}]),
            ("width", {1: None, 2: 5}, [1, 2], [None, 5]),
        ],
    )
    def test_values_that_no_coordinate_can_be_go_by_names(self, name, axis, labels, values, tmp_path):
        spec = self.spec(tmp_path, {name: axis})
        runs = plan(spec)
        assert [run.coords[name] for run in runs] == labels
        assert repr([run.parameters[name] for run in runs]) == repr(values)

    def test_an_exclusion_names_them_by_value_or_by_name(self, tmp_path):
        grid = {"seed": [0, 1], "width": [None, 8], "layers": {"small": [1], "large": [2]}}
        for rule in ({"width": None, "layers": "small"}, {"width": "None", "layers": [[1]]}):
            runs = plan(self.spec(tmp_path, grid, exclude=[rule]))
            assert len(runs) == 6
            assert not [run for run in runs if run.parameters["width"] is None and run.parameters["layers"] == [1]]

    def test_a_study_with_names_runs_and_goes_on(self, tmp_path):
        body = BODY.partition("text = ")[0].replace("import helper\n", "") + (
            'label = {"long_name": "l", "units": "1"}\n'
            'record(xr.Dataset({"got": ((), repr([width, layers]), label)}))\n'
        )
        notebook = write_notebook(tmp_path / "n.ipynb", NAMED, body)
        spec = {"study": "s", "notebook": str(notebook), "grid": {"width": [None, 8], "layers": {"a": [1]}}}
        folder = run_study(spec, root=tmp_path, warm=True, progress=False)
        run_study(folder, progress=False)
        with open_cube(folder) as cube:
            assert cube["got"].sel(layers="a").values.tolist() == ["[None, [1]]", "[8, [1]]"]
            assert cube["width"].values.tolist() == ["None", "8"]


class TestTypedText:
    @pytest.fixture
    def path(self, tmp_path):
        write_notebook(
            tmp_path / "n.ipynb",
            "commit: str = ''\nname: str | None = None\nrate: float = 0.1\nseed: int = 0\n"
            "level: 'Literal[\"1\", \"2\"]' = '1'\nfree = print\nlam: list[float] = []",
        )
        (tmp_path / "s.yaml").write_text("study: s\nnotebook: n.ipynb\ngrid: {seed: [0]}\n")
        return tmp_path / "s.yaml"

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("commit=12e4567", "12e4567"),
            ("commit=007", "007"),
            ("commit=true", "true"),
            ("commit=null", "null"),
            ("commit=", ""),
            ("commit=[a", "[a"),
            ("commit=a: b", "a: b"),
            ("commit='quoted'", "quoted"),
            ("name=1.50", "1.50"),
            ("name=null", None),
            ("level=1", "1"),
            ("rate=1e-3", 0.001),
            ("rate=2", 2.0),
            ("free=12e1", 120.0),
            ("lam=[1, 2]", [1.0, 2.0]),
        ],
    )
    def test_a_parameter_takes_the_text_as_typed_where_only_that_has_its_type(self, text, value, path):
        name = text.partition("=")[0]
        found = load_spec(path, [text]).parameters[name]
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("commit=12e4567,abc", ["12e4567", "abc"]),
            ("commit=1:3", ["1:3"]),
            ("seed=0:4", [0, 1, 2, 3]),
            ("seed=6:0:-2", [6, 4, 2]),
            ("rate=0:0.3:0.1", [0.0, 0.1, 0.2]),
            ("seed={range: [2, 4]}", [2, 3]),
            ("seed={range: [2, 4]},9", [2, 3, 9]),
            ("name=null,a", ["None", "a"]),
            ("rate={low: 0.1, high: 1}", ["low", "high"]),
            ("lam=1,2", [1.0, 2.0]),
        ],
    )
    def test_an_axis_takes_texts_ranges_and_names(self, text, values, path):
        name = text.partition("=")[0]
        found = load_spec(path, grid=[text]).grid[name]
        assert found == values
        assert list(map(type, found)) == list(map(type, values))
