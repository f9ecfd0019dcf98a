import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import kdlandscape as kdl
from kdlandscape.cubes.spectra import density
from kdlandscape.widgets import selection
from tests.synthetic import demo_cube
from tests.widgets.cubes import study_cube


def panels(explorer):
    return explorer.board.scene["panels"]


def surface(panel):
    shape = (len(panel["y"]["places"]), len(panel["x"]["places"]))
    return np.frombuffer(panel["z"], "<f4").reshape(shape)


def test_moving_a_slider_sends_the_plane_of_that_cell_to_the_board():
    cube = study_cube()
    explorer = kdl.explore(cube)
    explorer.sliders["at", "init_lambda"].value = 7
    seen, side, *_ = panels(explorer)
    expected = cube["plane_loss"].sel(seed=0, lr_policy="constant", init_lambda=0.7)
    np.testing.assert_array_equal(surface(seen), expected)
    assert side["kind"] == "surface"
    assert side["z"] == seen["z"]
    assert seen["title"] == "loss: seed = 0, learning-rate policy = constant, λ = 0.7"


@pytest.mark.parametrize("view", ["explore", "story"])
def test_a_slider_change_asks_the_cube_for_each_variable_once(monkeypatch, view):
    explorer, asked = kdl.explore(study_cube(), view=view), []
    at_cell = selection.at_cell
    monkeypatch.setattr(selection, "at_cell", lambda array, *rest: asked.append(array.name) or at_cell(array, *rest))
    explorer.sliders["at", "init_lambda"].value = 7
    assert asked.count("plane_loss") == 1
    assert len(asked) == len(set(asked)), asked


def test_a_click_on_the_plane_moves_the_lines_and_the_readout():
    explorer = kdl.explore(study_cube())
    explorer.board.picked = {"kind": "point", "x": 0.5, "y": 1.01, "serial": 1}
    seen, _, lines, *_ = panels(explorer)
    assert seen["point"] == pytest.approx([0.5, 1.02])
    assert seen["readout"] == "x = 0.5, y = 1.02: 1.3 nat"
    np.testing.assert_allclose(
        lines["lines"][0]["y"], np.array(lines["lines"][0]["x"]) ** 2 + 1.02**2 + 0.01, rtol=1e-5
    )


def test_a_click_on_a_curve_goes_to_its_cell_and_the_slider_follows():
    explorer = kdl.explore(study_cube())
    explorer.board.picked = {"kind": "story", "x": 0.42, "y": 0.0, "serial": 1}
    assert explorer.sliders["at", "init_lambda"].value == 4
    assert panels(explorer)[-1]["at"] == 0.4


def test_a_comparison_draws_both_cells_on_one_scale():
    cube = study_cube()
    explorer = kdl.explore(cube, view="compare", other={"seed": 1, "init_lambda": 0.5})
    a, b, change, lines, spectrum = panels(explorer)
    assert a["limits"] == b["limits"]
    np.testing.assert_array_equal(surface(b), cube["plane_loss"].sel(seed=1, lr_policy="constant", init_lambda=0.5))
    assert [line["name"] for line in lines["lines"]] == ["A", "B"]
    assert [line["name"] for line in spectrum["lines"]] == ["A student", "A teacher", "B student", "B teacher"]
    assert explorer.shown().sentence == (
        "A: seed = 0, learning-rate policy = constant, λ = 0; B: seed = 1, learning-rate policy = constant, λ = 0.5"
    )
    assert change["limits"] == [-max(change["limits"]), max(change["limits"])]
    np.testing.assert_allclose(surface(change), surface(b) - surface(a))
    explorer.sliders["other", "init_lambda"].value = 0
    np.testing.assert_array_equal(
        surface(panels(explorer)[1]), cube["plane_loss"].isel(seed=1, lr_policy=0, init_lambda=0)
    )


def test_a_cube_of_quadrature_rules_shows_the_density_of_the_cell():
    nodes = np.array([[[0.0, 1.0], [0.5, 1.0]], [[0.0, 2.0], [np.nan, np.nan]]])
    values = {"nodes": nodes, "weights": np.where(np.isfinite(nodes), 0.5, 0.0), "trace": [1.0, 2.0]}
    dims = {"nodes": ("member", "draw", "node"), "weights": ("member", "draw", "node"), "trace": ("member",)}
    coords = {"member": ["teacher", "student"], "draw": [0, 1], "node": [0, 1]}
    cube = xr.Dataset({name: (dims[name], value) for name, value in values.items()}, coords)
    explorer = kdl.explore(cube, variable="trace")
    (shown,) = [panel for panel in panels(explorer) if panel["title"] == "spectral density"]
    (drawn,) = shown["lines"]
    places, heights = (np.array([np.nan if y is None else y for y in drawn[key]]) for key in ("x", "y"))
    found = density(cube.isel(member=explorer.state.at["member"]))
    np.testing.assert_array_equal(places, found["grid"])
    kept = np.isfinite(heights)
    np.testing.assert_array_equal(heights[kept], found["density"].values[kept])
    assert (found["density"].values[~kept] <= 1e-6 * found["density"].values.max()).all()
    assert 0 < kept.sum() < kept.size
    assert shown["log"]


def test_in_the_story_one_slider_moves_plane_path_spectrum_agreement_and_distance():
    explorer = kdl.explore(study_cube(), view="story")
    assert next(iter(explorer.sliders)) == ("at", "init_lambda")
    before = panels(explorer)
    explorer.sliders["at", "init_lambda"].value = 5
    after = panels(explorer)
    titles = [
        "loss along the path from student (t = 0) to teacher (t = 1)",
        "top eigenvalues",
        "agreement with the teacher",
        "distance to the teacher",
        "barrier",
    ]
    assert [panel["title"] for panel in after[2:]] == titles
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert before[0]["limits"] == after[0]["limits"]


def test_choosing_a_variable_adapts_axes_sliders_and_scale():
    explorer = kdl.explore(study_cube())
    explorer.controls["variable"].value = "path_loss"
    assert (explorer.controls["x"].value, explorer.controls["y"].value) == ("t", "init_lambda")
    explorer.controls["variable"].value = "barrier"
    assert explorer.controls["log"].value is False
    assert (explorer.controls["x"].value, explorer.controls["y"].value) == ("init_lambda", "")
    assert panels(explorer)[0]["kind"] == "lines"
    explorer.controls["x"].value = "lr_policy"
    assert panels(explorer)[0]["x"]["labels"] == ["constant", "scaled"]


def test_missing_cells_are_shown_as_missing():
    explorer = kdl.explore(study_cube(), at={"seed": 2, "lr_policy": "scaled"})
    assert panels(explorer)[0]["kind"] == "message"
    assert panels(explorer)[0]["text"].startswith("missing: no run has filled seed = 2, learning-rate policy = scaled")


def test_gaps_in_a_plane_stay_gaps():
    cube = study_cube().copy(deep=True)
    cube["plane_loss"][0, 0, 0, 3, 4] = np.nan
    cube["plane_loss"][0, 0, 0, 3, 5] = np.inf
    seen, _, lines, *_ = panels(kdl.explore(cube, point=(cube["x"][4], cube["y"][3])))
    assert np.isnan(surface(seen)[3, 4])
    assert lines["lines"][0]["y"][4] is None
    assert lines["lines"][0]["y"][5] is None
    assert seen["readout"].endswith("missing (NaN)")


def only(cube, message):
    (told, *_) = panels(kdl.explore(cube))
    assert told["kind"] == "message"
    assert message in told["text"]


def test_a_cube_without_numbers_says_what_it_needs():
    only(xr.Dataset(), "expected a cube with numbers over at least one dim, got no variable")
    only(xr.Dataset({"name": ("seed", ["a", "b"])}), "got name")


def test_a_cube_of_nothing_but_gaps_says_so():
    cube = study_cube().drop_vars("run.done")
    only(
        cube * np.nan,
        "final student is missing (NaN) or infinite here; choose another cell",
    )


def test_an_axis_of_one_point_says_so():
    only(study_cube().isel(x=[3]), "expected at least two points along x, got 1")


def test_a_cube_without_a_plane_still_shows_its_curves():
    cube = study_cube().drop_vars(["plane_loss", "plane_points", "path_loss"]).isel(seed=0, lr_policy=0)
    explorer = kdl.explore(cube, variable="barrier")
    first = panels(explorer)[0]
    assert first["title"] == "linear barrier to the teacher: λ = 0"
    np.testing.assert_allclose(first["lines"][0]["y"], cube["barrier"])
    assert panels(explorer)[-1]["title"] == "top-1 agreement with the teacher"


def test_the_same_dim_twice_is_told_and_not_raised():
    explorer = kdl.explore(study_cube())
    explorer.controls["x"].value = "y"
    assert "expected two different axes, got y twice" in panels(explorer)[0]["text"]


def test_the_code_of_a_view_brings_the_view_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study_cube().to_netcdf("cube.nc")
    with kdl.open_cube("cube.nc") as cube:
        explorer = kdl.explore(cube, at={"seed": 1, "init_lambda": 0.3})
        explorer.state.point = (0.1, 0.2)
        explorer.state.colors = "cividis"
        explorer.state.view = "compare"
        lines = explorer.code
        assert 'kdl.open_cube("cube.nc")' in lines
        scope = {}
        exec(lines.replace("kdl.explore(\n", "again = kdl.explore(\n"), scope)
        assert scope["again"].board.scene["panels"] == panels(explorer)
        scope["cube"].close()


def test_the_code_says_when_a_cube_came_from_no_file():
    assert "cube = ...  # this cube was not opened from a file" in kdl.explore(demo_cube()).code


def test_the_widgets_never_import_torch(tmp_path):
    demo_cube().to_netcdf(tmp_path / "cube.nc")
    script = (
        "import sys\nimport kdlandscape as kdl\n"
        f"kdl.explore(kdl.open_cube({str(tmp_path / 'cube.nc')!r})); kdl.explore_plane\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_the_lab_extra_the_error_says_what_to_install():
    script = "import sys; sys.modules['anywidget'] = None\nimport kdlandscape as kdl\nkdl.explore\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "pip install 'kdlandscape[lab]'" in done.stderr
