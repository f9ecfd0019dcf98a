"""Bad input, by property: a clear error each time, and finished runs stay."""

import json
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdlandscape.cubes.store import SkippedRunFile, compact, missing, open_cube
from kdlandscape.cubes.yaml_file import read_yaml
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.loading import load_spec, make_spec
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.snapshot import status
from kdlandscape.sweeps.study import run_study
from kdlandscape.sweeps.workspace import clean
from tests.tiny_study import write_notebook, write_spec

# The same examples on every machine, however slow: a test that fails fails again.
FEW = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda some: st.lists(some, max_size=3)
)
KEYS = st.sampled_from(["study", "notebook", "grid", "parameters", "vectorize", "zip", "exclude", "from", "table"])


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    return str(write_notebook(tmp_path_factory.mktemp("n") / "tiny.ipynb"))


def refused_or_planned(make):
    """A spec is either refused by a SpecError, or has a plan of safe and unique names."""
    try:
        spec = make()
    except SpecError:
        return
    runs = plan(spec)
    assert len({run.id for run in runs}) == len(runs) > 0
    safe = set(string.ascii_letters + string.digits + "_.,+=-")
    assert all(set(run.id) <= safe and len(run.id) < 200 for run in runs)


@FEW
@given(text=st.text(max_size=80) | st.text(alphabet="[]{}:,-&*!|>'\"%@`# \n\tab1", max_size=80))
def test_any_text_as_a_spec_is_an_error_of_the_spec(text, tmp_path):
    path = tmp_path / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    refused_or_planned(lambda: load_spec(path))


@FEW
@given(key=KEYS, value=VALUES | st.dictionaries(st.text(max_size=5), VALUES, max_size=3))
def test_any_value_under_any_key_is_refused_or_planned(key, value, notebook):
    content = {"study": "s", "notebook": notebook, "grid": {"seed": [0, 1]}}
    refused_or_planned(lambda: make_spec({**content, key: value}))


@FEW
@given(values=st.lists(VALUES, max_size=4), name=st.sampled_from(["seed", "rate", "mode", "where"]))
def test_any_axis_is_refused_or_planned(values, name, notebook):
    refused_or_planned(lambda: make_spec({"study": "s", "notebook": notebook, "grid": {name: values}}))


@FEW
@given(name=st.text(max_size=20) | st.sampled_from(["../x", "a/b", "/etc", "..", ".", "a\n", "a\0b", "C:\\x", "é"]))
def test_a_study_is_named_by_a_plain_file_name_or_refused(name, notebook, tmp_path):
    try:
        spec = make_spec({"study": name, "notebook": notebook, "grid": {"seed": [0]}})
    except SpecError:
        return
    assert (tmp_path / spec.study).parent == tmp_path
    assert not spec.study.startswith(".")


@FEW
@given(bounds=st.lists(st.integers() | st.floats() | st.text(max_size=3), max_size=4))
def test_any_range_is_refused_or_of_bounded_length(bounds, notebook):
    refused_or_planned(
        lambda: make_spec({"study": "s", "notebook": notebook, "grid": {"where": {"range": bounds}}, "parameters": {}})
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("finished")
    path = write_spec(place, grid={"seed": [0, 1], "mode": ["ok", "é λ\n"]}, parameters={"folder": str(place)})
    return run_study(path, root=place, workers=1, warm=True, progress=False), path


@settings(FEW, max_examples=100)
@given(data=st.data())
def test_a_run_file_with_any_damage_is_left_out_and_the_others_stay(data, finished):
    folder, _ = finished
    path = sorted((folder / "runs").glob("*.nc"))[0]
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    damage = data.draw(st.sampled_from(["cut", "zeros", "noise", "flip"]))
    broken = {
        "cut": content[:cut],
        "zeros": content[:cut] + bytes(min(600, len(content) - cut)) + content[cut + 600 :],
        "noise": content[:cut] + data.draw(st.binary(min_size=1, max_size=40)) + content[cut:],
        "flip": content[:cut] + bytes([content[cut] ^ 1]) + content[cut + 1 :],
    }[damage]
    try:
        replace(path, broken)
        (folder / "cube.nc").unlink()
        compact_quietly(folder)
        with open_cube(folder) as cube:
            assert int(cube["run.done"].sum()) == 3 + (broken == content)  # zeros may be written over zeros
    finally:
        replace(path, content)


def replace(path, content):
    """Put another file in the place of one; HDF5 takes a file that is changed in place for the one it has open."""
    path.unlink()
    path.write_bytes(content)


def compact_quietly(folder):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedRunFile)
        compact(folder)


def test_a_truncated_run_file_is_named_cleaned_away_and_run_again(finished):
    folder, path = finished
    broken = sorted((folder / "runs").glob("*.nc"))[0]
    replace(broken, broken.read_bytes()[:500])
    (folder / "errors" / f"{broken.stem}.json").write_text("{}")
    (folder / "errors" / "of-no-run.json").write_text("{}")
    with pytest.warns(SkippedRunFile, match="clean --corrupt"):
        compact(folder)
    assert {path.name for path in clean(folder)} == {f"{broken.stem}.json", "of-no-run.json"}
    assert clean(folder, corrupt=True) == [broken]
    assert len(status(folder).missing) == 1
    run_study(path, root=folder.parent, warm=True, progress=False)
    with open_cube(folder) as cube:
        assert missing(cube) == []
        assert sorted(cube["mode"].values.tolist()) == ["ok", "é λ\n"]


HOSTILE = """\
import os, sys, time
import numpy as np, xarray as xr
from kdlandscape.sweeps.record import record
if mode == "floods":
    for _ in range(1000):
        print("x" * 100_000)
if mode == "floods at once":
    print("x" * 100_000_000)
    print("y" * 10, file=sys.stderr)
if mode == "never ends":
    time.sleep(1000)
if mode == "exits":
    os._exit(3)
record(xr.Dataset({"loss": ((), 1.0, {"long_name": "loss", "units": "nat"})}))
"""
HOSTILE_MODES = ["floods", "floods at once", "never ends", "exits", "fine"]


def test_notebooks_that_flood_never_end_or_exit_cost_no_other_run(tmp_path):
    notebook = write_notebook(tmp_path / "n.ipynb", "mode: str = ''", HOSTILE)
    spec = {"study": "hostile", "notebook": str(notebook), "grid": {"mode": HOSTILE_MODES}}
    folder = run_study(spec, root=tmp_path, cell_limit=45, workers=2, warm=True, progress=False)
    assert [run.coords["mode"] for run in status(folder).done] == ["floods", "floods at once", "fine"]
    records = [json.loads(path.read_text()) for path in (folder / "errors").glob("*.json")]
    names = {record["coords"]["mode"]: record for record in records}
    assert names["never ends"]["name"] == "CellTimeoutError"
    assert "45" in names["never ends"]["value"]
    assert names["exits"]["name"] == "KernelDied"
    for executed in (folder / "runs").glob("mode=floods*.ipynb"):
        assert executed.stat().st_size < 3_000_000
        assert "expected at most 1,000,000 characters on stdout; the rest is cut" in executed.read_text()


def test_a_spec_file_may_hold_any_unicode_and_is_found_again_as_it_was(tmp_path):
    path = write_spec(tmp_path, grid={"mode": ["λ", "日本", "a b/c", "'\"\\", ""]})
    spec = load_spec(path)
    assert read_yaml(path)["grid"]["mode"] == spec.grid["mode"]
    assert len({run.id for run in plan(spec)}) == 5
