"""A report answers from any study and any cube, and holds nothing that a stranger's mail should not."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import kdlandscape as kdl
from kdlandscape.commands.results import make_report
from kdlandscape.reports.document import text
from kdlandscape.reports.study_report import Reported, report_html
from kdlandscape.studies import CLAIMS, verdicts
from kdlandscape.studies.decisions import VERDICTS
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.study import run_study
from tests.synthetic import basins_cube, demo_cube
from tests.tiny_study import write_notebook, write_spec
from tests.widgets.cubes import other_cube, spectra_cube, study_cube
from tests.widgets.hostile import CORPUS, hostile_cube


def unfinished(cube):
    """Return a cube in which every number is missing."""
    return cube.map(lambda array: array.where(False) if array.dtype.kind == "f" else array)


CUBES = {
    "demo": demo_cube,
    "one seed": lambda: demo_cube(seeds=1),
    "one run": lambda: demo_cube().isel(seed=0, lr_policy=0, drop=True),
    "missing cells": study_cube,
    "spectra": spectra_cube,
    "basins": basins_cube,
    "other dims": other_cube,
    "all NaN": lambda: unfinished(study_cube()),
    "other dims, all NaN": lambda: unfinished(other_cube()),
    "no variables": xr.Dataset,
    "one number": lambda: xr.Dataset({"loss": ((), 2.5)}),
    "words alone": lambda: xr.Dataset({"name": ("i", ["a", "b"])}),
    "infinite": lambda: xr.Dataset({"loss": ("seed", [np.inf, 1.0, np.nan])}, {"seed": range(3)}),
}


def report_of(cube, path):
    before = plt.get_fignums()
    found = kdl.write_report(cube, path / "report.html").read_text(encoding="utf-8")
    assert plt.get_fignums() == before
    return found


@pytest.mark.parametrize("name", CUBES)
def test_every_cube_has_a_report_with_an_answer(tmp_path, name):
    html = report_of(CUBES[name](), tmp_path)
    answer = re.search(r"<h2>Answer</h2>(.*?)</section>", html, re.S)[1]
    assert len(re.sub("<[^>]*>", " ", answer).split()) > 4
    assert "nan" not in re.sub("<[^>]*>", " ", answer).lower().split()
    assert 'class="answer"' not in answer  # nobody asked a question of it


def test_the_answer_of_any_cube_is_where_its_numbers_are_least_and_greatest(tmp_path):
    loss = xr.DataArray([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]], dims=("site", "seed"), attrs={"units": "nat"})
    cube = xr.Dataset({"loss": loss}, {"site": ["moor", "hill"], "seed": range(3)})
    html = report_of(cube, tmp_path)
    half = 4.302653 / 3**0.5  # the 97.5 % point of t with two degrees of freedom, times s / √n with s = 1
    expected = (
        f"Loss goes from 2 nat ({2 - half:.4g} to {2 + half:.4g}) at site = moor to 5 nat (5 to 5) at site = hill"
    )
    assert expected in html
    assert "(mean and 95 % t interval over 3 values of seed)" in html


def test_the_report_of_claims_counts_their_verdicts_first_and_keeps_each_with_its_numbers(tmp_path):
    rng = np.random.default_rng(0)
    over = {"seed": range(6), "num_fresh": [0, 12000], "ensemble_size": [1, 3], "split": ["train", "test"]}
    numbers = (list(over), 0.5 + 0.01 * rng.random([6, 2, 2, 2]))
    study = xr.Dataset(dict.fromkeys(["agreement", "student_accuracy", "teacher_train_accuracy"], numbers), over)
    table = verdicts(CLAIMS, {"paper_data": study.assign_attrs(study="paper_data")})
    html = report_html(Reported(table.expand_dims(level=[0.95]), spec=load_spec("paper_small")))
    answer = re.search(r"<h2>Answer</h2>(.*?)</section>", html, re.S)[1]
    first, *others = re.findall(r"<li><b>(.*?)</b>(.*?)</li>", answer)
    assert first[0].startswith(f"{len(CLAIMS)} claims: ")
    assert [int(count) for count in re.findall(r"\d+", first[0])[1:]] == [
        int((table["verdict"] == one).sum()) for one in VERDICTS
    ]
    assert len(others) == len(CLAIMS)
    for claim, (said, below) in zip(CLAIMS, others, strict=True):
        assert text(claim.statement) in said
        assert text(claim.number.statistic) in below
        assert below.count('<p class="ground">') == 1


def test_a_report_asks_no_machine_and_runs_nothing_but_its_own_script(tmp_path):
    html = report_of(study_cube(), tmp_path)
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', html)[1]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not re.findall(r"https?://|@import|url\(", html)
    assert all(place.startswith(("data:image/png", "#")) for place in re.findall(r'(?:src|href)="(.*?)"', html))
    assert "style=" not in html.split('<script type="application/json"')[0]
    assert len(html) < 3_000_000


def test_no_text_of_a_cube_becomes_markup(tmp_path):
    words = " ".join(CORPUS)
    html = report_of(hostile_cube(words), tmp_path)
    body = html.split('<script type="application/json"')[0]
    assert "<img src=x" not in body
    assert not re.findall(r"<(?:script|svg|iframe|link|base)\b", body)
    assert text(words) in body


@pytest.fixture(scope="module")
def failed_study(tmp_path_factory):
    """Run a study of which one run fails, with the number that a table and a finding need."""
    root = tmp_path_factory.mktemp("study")
    write_notebook(root / "tiny.ipynb")
    spec = write_spec(
        root,
        description="Does <b>it</b> work?",
        grid={"seed": [0, 1], "mode": ["ok", "fail"]},
        parameters={"folder": str(root)},
        table={"rows": ["mode", "lam"], "over": "seed", "values": ["loss"]},
        findings=["onsets"],
    )
    return run_study(load_spec(spec), root=root / "runs", workers=1, progress=False)


def test_the_report_of_a_study_says_what_failed_and_why_and_how_to_run_it_again(failed_study):
    html = make_report(failed_study).read_text(encoding="utf-8")
    assert "<h1>Does &lt;b&gt;it&lt;/b&gt; work?</h1>" in html
    assert "2 of 4 runs are done." in html
    assert "2 failed:" in html
    assert "RuntimeError: a " in html
    assert "red" in html.split("RuntimeError: a ")[1][:40]
    assert "finding onsets cannot be taken from this cube" in html
    assert "<td>ok</td><td>0</td><td>0.500 ± 0.500</td>" in html
    assert "kdlandscape run tiny.yaml" in html
    assert '"mode": ["ok", "fail"]' in html.replace("&quot;", '"')
    assert "package versions" in html


def test_a_study_without_a_finished_run_has_a_report_that_says_so(tmp_path):
    write_notebook(tmp_path / "tiny.ipynb")
    spec = write_spec(tmp_path, grid={"seed": [0]}, parameters={"mode": "fail", "folder": str(tmp_path)})
    folder = run_study(load_spec(spec), root=tmp_path / "runs", workers=1, progress=False)
    html = make_report(folder, tmp_path / "elsewhere" / "r.html").read_text(encoding="utf-8")
    assert "There is no answer yet: no run is done." in html
    assert "1 failed:" in html


def test_the_home_folder_is_not_named(failed_study, monkeypatch):
    from kdlandscape.reports.origins import without_home

    monkeypatch.setenv("HOME", "/home/someone")
    assert without_home("in /home/someone/data.csv") == "in ~/data.csv"


def test_a_cube_needs_a_path_to_be_reported_to():
    with pytest.raises(ValueError, match="path: expected a file to write the report of a cube to"):
        kdl.write_report(demo_cube())
