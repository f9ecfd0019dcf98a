"""A problem of one's own in a shipped spec: what it replaces, its options as axes, and the template to start from."""

import subprocess
import sys

import pytest

import kdlandscape as kdl
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.factory_check import check_factory
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.own_problem import OURS
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.templates import new_problem

MINE = ["problem=mine.py:make"]


@pytest.mark.parametrize("name", ["demo", "basins", "spectra", "paper_domain", "paper_network", "paper_fig6b_gpu"])
def test_axes_that_choose_among_our_data_and_networks_fall_away_beside_a_problem_of_ones_own(name):
    ours, mine = load_spec(name), load_spec(name, MINE)
    replaced = set(OURS)
    assert replaced & ({*ours.grid} | {*ours.parameters})
    assert not replaced & ({*mine.grid} | {*mine.parameters})
    assert {axis: mine.grid[axis] for axis in mine.grid} == {a: v for a, v in ours.grid.items() if a not in replaced}
    assert mine.table.rows == [row for row in ours.table.rows if row not in replaced]


def test_the_options_of_a_problem_are_parameters_and_axes_of_any_shipped_spec():
    for name in ("demo", "basins", "spectra", "paper_temperature"):
        spec = load_spec(name, [*MINE, "options.depth=3"], ["options.width=4,8", "seed=0"])
        assert spec.grid["options.width"] == [4, 8]
        assert spec.parameters["options"] == {"depth": 3}
        assert spec.table.rows[0] == "options.width"
        runs = [run for run in plan(spec) if run.coords.get("lr_policy", "constant") == "constant"]
        assert {run.parameters["options"]["width"] for run in runs} == {4, 8}
        assert all(run.parameters["options"]["depth"] == 3 for run in runs)
        assert all("options.width" not in run.parameters for run in runs)
        assert "options.width=8" in runs[-1].id


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (["device.width=3"], "device.width: expected device to be a mapping of distill_init.ipynb"),
        (["optoins.width=3"], "expected a parameter of distill_init.ipynb .*Did you mean 'options'"),
        (["problem=mine.py:make", "width=8"], r"width: expected no choice among our own .*, say options\.width"),
        (["options.width=[1]"], r"options.width: expected int \| float \| str"),
    ],
)
def test_an_entry_that_is_none_is_refused(parameters, message):
    with pytest.raises(SpecError, match=message):
        load_spec("demo", parameters, ["seed=0"])


def test_an_entry_is_an_axis_or_fixed(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "study: s\ninclude: demo.yaml\nparameters: {options: {width: 3}}\ngrid: {options.width: [3, 4]}\n"
    )
    with pytest.raises(SpecError, match=r"options.width: expected it in grid or in parameters, got it in both"):
        load_spec(tmp_path / "s.yaml")


@pytest.mark.parametrize("template", ["demo", "basins", "paper_init"])
def test_the_template_of_a_problem_makes_one_and_its_spec_can_be_run(template, tmp_path, monkeypatch):
    spec, _ = new_problem("mine", template, tmp_path / "made")
    checked = load_spec(spec)
    assert checked.study == "mine"
    assert checked.parameters["problem"] == "mine.py:make"
    monkeypatch.chdir(tmp_path / "made")
    p = kdl.problem("mine.py:make", options={"width": 4})
    assert p.num_classes == 10
    assert p.model[0].out_channels == 4
    with pytest.raises(SpecError, match=r"expected a name that is free, got .*mine\.yaml"):
        new_problem("mine", template, tmp_path / "made")


def test_a_problem_is_written_by_the_command_line_for_a_study_that_takes_one(tmp_path):
    command = [sys.executable, "-c", "from kdlandscape.cli import main; main()", "new", "mine", "--problem"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "problem: mine.py" in done.stdout
    assert "run it: kdlandscape run mine.yaml" in done.stdout
    with pytest.raises(SpecError, match="whose notebook has the parameter problem, got paper_small, which"):
        new_problem("mine", "paper_small", tmp_path / "other")


FILE = "from torch import nn as networks\n\ndef make(width=4, *, depth=2):\n    return None\n"


@pytest.mark.parametrize(
    ("problem", "parameters", "grid", "message"),
    [
        ("mine.py:make", ["options.width=3"], ["options.depth=1,2"], None),
        ("mine.py:networks", [], [], None),
        ("your.py:make", [], [], r"problem: expected a Python file at .*your\.py, got nothing there"),
        ("mine.py:mak", [], [], r"problem: expected a function of mine.py \(make\), got 'mak'. Did you mean 'make'"),
        ("bad.py:make", [], [], r"problem: expected Python in .*bad\.py, got"),
        (
            "mine.py:make",
            ["options.widht=3"],
            [],
            r"options.widht: expected an argument of make in mine",
        ),
        ("mine.py:make", [], ["options.heads=1,2"], r"options.heads: expected an argument of make in mine.py"),
    ],
)
def test_a_problem_is_looked_up_before_any_run_is_started(problem, parameters, grid, message, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "bad.py").write_text("def make(:")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    spec = load_spec("demo", [f"problem={problem}", *parameters], grid)
    if message is None:
        check_factory(spec)
        return
    with pytest.raises(SpecError, match=message):
        check_factory(spec)
