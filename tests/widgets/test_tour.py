"""Every cube opens, and every control of its explorer leads to a picture or to a sentence that says what is missing."""

from itertools import combinations

import numpy as np
import pytest
import xarray as xr

import kdlandscape as kdl
from kdlandscape.widgets import picture
from kdlandscape.widgets.html_page import write_page
from tests.figures.test_colours import APART, VISION, seen
from tests.figures.test_training_path import recorded
from tests.studies.test_function_priors_kept import cube as function_prior_cube
from tests.studies.test_generalization import cube as generalization_cube
from tests.studies.test_shared_starts import cube as shared_starts_cube
from tests.studies.test_start_angles import cube as start_angles_cube
from tests.studies.test_subliminal import cube as subliminal_cube
from tests.synthetic import basins_cube, compared_cube, demo_cube
from tests.widgets.cubes import other_cube, spectra_cube, study_cube

CUBES = {
    "demo": lambda: study_cube(num_lambda=3, num=5),
    "a missing run beside a single one": lambda: study_cube(num_lambda=3, num=5, seeds=2),
    "a value of one run only": lambda: xr.Dataset(
        {"loss": (("seed", "policy"), [[np.nan, np.nan], [1.0, 2.0]])}, {"seed": [0, 1], "policy": ["a", "b"]}
    ),
    "one seed": lambda: study_cube(num_lambda=3, num=5, seeds=1),
    "unlabelled": lambda: demo_cube(2),
    "spectra": spectra_cube,
    "basins": basins_cube,
    "angles": start_angles_cube,
    "compare": compared_cube,
    "flatness": lambda: generalization_cube().isel(seed=[0, 1], width=[0, 1], optimizer=[0]),
    "function_prior": function_prior_cube,
    "shared_starts": shared_starts_cube,
    "subliminal": subliminal_cube,
    "training_path": recorded,
    "another subject": other_cube,
    "all NaN": lambda: study_cube(num_lambda=3, num=5).drop_vars("run.done") * np.nan,
    "nothing done": lambda: study_cube(num_lambda=3, num=5).assign({"run.done": lambda cube: cube["run.done"] & False}),
    "one cell": lambda: study_cube(num_lambda=3, num=5).isel(seed=[0], lr_policy=[0], init_lambda=[0]),
    "scalars": lambda: study_cube(num_lambda=3, num=5).isel(seed=0, lr_policy=0, init_lambda=0),
    "single numbers": lambda: xr.Dataset({"loss": ("seed", [1.0])}),
    "truth values": lambda: xr.Dataset({"ok": (("seed", "site"), [[True, False]])}, {"site": ["a", "b"]}),
}


def whole(explorer):
    """Assert that no panel is blank: it says something, or it has a finite number, ticks and labels."""
    shown = explorer.shown()
    assert shown.panels
    for panel in shown.panels:
        assert panel["title"], panel
        if panel["kind"] == "message":
            assert panel["text"]
        elif panel["kind"] == "graph":
            assert panel["label"]
            assert all(np.isfinite(edge["value"]) for edge in panel["edges"])
            assert len(panel["nodes"]) > 1
        elif panel["kind"] == "lines":
            assert panel["x"]["name"]
            assert panel["label"]
            assert any(value is not None for line in panel["lines"] for value in line["y"])
            apart(panel["lines"])
        else:
            assert panel["x"]["name"]
            assert panel["y"]["name"]
            assert panel["label"]
            assert np.isfinite(np.frombuffer(panel["z"], "<f4")).any()


def apart(lines):
    """Assert that two series with names differ by dash and marker, or by colour for every eye."""
    named = {line["name"]: line for line in lines if line["name"] and line["role"] != "thin"}
    for (one, a), (other, b) in combinations(named.items(), 2):
        for vision in VISION:
            far = np.linalg.norm(seen(a["color"], vision) - seen(b["color"], vision))
            assert far > APART or a["style"] % 5 != b["style"] % 5, f"{one} and {other} look alike: {vision}"


def tour(explorer):
    """Choose each view, variable, story and curve, the last place of each slider, and each pair of axes."""
    for view in ("compare", "story", "glance", "explore"):
        explorer.state.view = view
        whole(explorer)
    for _, variable in explorer.controls["variable"].options:
        explorer.controls["variable"].value = variable
        whole(explorer)
    for slider in list(explorer.sliders.values()):
        slider.value = len(slider.options) - 1
        whole(explorer)
    for name, view in (("curve", "explore"), ("story", "story")):
        explorer.state.view = view
        for _, value in list(explorer.controls[name].options):
            explorer.controls[name].value = value
            whole(explorer)
    explorer.state.view = "explore"
    for _, x in explorer.controls["x"].options:
        for _, y in explorer.controls["y"].options:
            explorer.state.x, explorer.state.y = x, y
            assert explorer.shown().panels


@pytest.mark.parametrize("name", CUBES)
def test_every_cube_is_toured_without_an_error_or_a_blank(name, tmp_path):
    explorer = kdl.explore(CUBES[name]())
    assert picture.png(*explorer.shown(), dpi=20).startswith(b"\x89PNG")
    assert write_page(explorer.held, explorer.state, tmp_path / "page.html", cells=3).stat().st_size > 10_000
    tour(explorer)
    assert explorer.code
