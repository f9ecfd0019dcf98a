"""What a dim is decides how it is drawn, and every panel shows the same named cell."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import kdlandscape as kdl
from kdlandscape.cubes.words import kind
from kdlandscape.widgets.dims import stories
from tests.synthetic import basins_cube
from tests.widgets.cubes import other_cube, spectra_cube, study_cube


def panels(explorer):
    return explorer.shown().panels


def titled(explorer, title):
    (found,) = [panel for panel in panels(explorer) if panel["title"] == title]
    return found


def roles(panel):
    return [line["role"] for line in panel["lines"]]


def test_a_dim_is_continuous_ordered_a_category_or_a_repeat():
    cube = study_cube()
    kinds = {dim: kind(cube, dim) for dim in ("x", "init_lambda", "seed", "lr_policy", "split", "eigenvalue")}
    assert kinds == {
        "x": "continuous",
        "init_lambda": "continuous",
        "seed": "repeat",
        "lr_policy": "category",
        "split": "category",
        "eigenvalue": "ordered",
    }
    assert [kind(other_cube(), dim) for dim in ("day", "wet", "temperature_c")] == ["ordered", "category", "continuous"]
    given = xr.Dataset(coords={"width": ("width", [1.0, 2.0], {"kind": "category"})})
    assert kind(given, "width") == "category"


@pytest.mark.parametrize(("x", "y"), [("init_lambda", "seed"), ("init_lambda", "lr_policy"), ("lr_policy", "seed")])
def test_seeds_and_words_are_never_interpolated(x, y):
    explorer = kdl.explore(study_cube(num=9), variable="barrier", x=x, y=y)
    seen, *others = panels(explorer)
    assert seen["kind"] == "plane"
    assert not seen["smooth"]
    assert seen["levels"] == []
    assert "surface" not in [panel["kind"] for panel in others]
    axis = seen["y"]
    assert axis["labels"] == {"seed": ["0", "1", "2"], "lr_policy": ["constant", "scaled"]}[y]
    assert axis["places"] == list(range(len(axis["labels"])))


def test_no_line_joins_seeds_or_words():
    explorer = kdl.explore(study_cube(num=9), variable="barrier", x="lr_policy", y="")
    assert not any(line["joined"] for line in panels(explorer)[0]["lines"])
    explorer.state.x = "init_lambda"
    assert all(line["joined"] for line in panels(explorer)[0]["lines"])


def test_a_curve_has_every_seed_thin_their_mean_and_its_t_interval():
    cube = study_cube(num=9)
    explorer = kdl.explore(cube, variable="barrier", at={"seed": 1})
    cube["barrier"] = cube["barrier"] + cube["seed"] / 10
    explorer = kdl.explore(cube, variable="barrier", at={"seed": 1})
    drawn = panels(explorer)[0]
    assert roles(drawn) == ["thin", "thin", "mean", "run"]
    values = cube["barrier"].sel(lr_policy="constant")
    assert [line["run"] for line in drawn["lines"]] == [0, 2, -1, 1]
    np.testing.assert_allclose(drawn["lines"][3]["y"], values.sel(seed=1))
    mean = drawn["lines"][2]
    np.testing.assert_allclose(mean["y"], values.mean("seed"))
    half = stats.t.ppf(0.975, 2) * values.std("seed", ddof=1) / 3**0.5
    np.testing.assert_allclose(mean["high"], values.mean("seed") + half)
    np.testing.assert_allclose(mean["low"], values.mean("seed") - half)
    explorer.state.spread = False
    assert roles(panels(explorer)[0]) == ["run"]


def test_a_click_on_a_thin_line_goes_to_that_run():
    explorer = kdl.explore(study_cube(num=9), variable="barrier")
    explorer.board.picked = {
        "kind": "story", "x": 0.42, "y": 0, "dim": "init_lambda", "run": 2, "repeat": "seed", "serial": 1,
    }  # fmt: skip
    assert (explorer.sliders["at", "seed"].value, explorer.sliders["at", "init_lambda"].value) == (2, 4)
    assert explorer.shown().sentence.startswith("seed = 2, learning-rate policy = constant, λ = 0.4")


@pytest.mark.parametrize(("seeds", "policy"), [(1, "constant"), (2, "scaled")])
def test_one_present_seed_has_no_interval_and_no_nan(seeds, policy):
    cube = study_cube(num=9, seeds=seeds)
    explorer = kdl.explore(cube, variable="barrier", view="story", at={"lr_policy": policy, "seed": 0})
    assert roles(panels(explorer)[0]) == ["run"]
    assert "nan" not in explorer.shown().sentence
    assert "barrier to the teacher 0.25 nat" in explorer.shown().sentence
    assert "mean" not in explorer.shown().sentence


def test_choosing_a_variable_keeps_a_slider_for_every_dim_that_a_panel_is_cut_at():
    explorer = kdl.explore(study_cube(num=9))
    for variable in explorer.controls["variable"].options:
        explorer.controls["variable"].value = variable[1]
        assert [dim for _, dim in explorer.sliders] == ["seed", "lr_policy", "init_lambda"]


def test_a_clicked_point_does_not_leak_into_a_variable_with_other_axes():
    explorer = kdl.explore(study_cube(num=9))
    explorer.board.picked = {"kind": "point", "x": 1.2, "y": 0.3, "serial": 1}
    assert explorer.state.point == (1.2, 0.3)
    explorer.state.variable = "barrier"
    assert explorer.state.point == ()
    assert explorer.state.at["init_lambda"] == 0


def test_a_click_on_a_map_over_the_cells_goes_to_that_cell():
    explorer = kdl.explore(study_cube(num=9), variable="barrier", x="init_lambda", y="seed")
    explorer.board.picked = {"kind": "point", "x": 0.7, "y": 1, "serial": 1}
    assert (explorer.state.at["init_lambda"], explorer.state.at["seed"], explorer.state.point) == (7, 1, ())
    seen = panels(explorer)[0]
    assert seen["point"] == pytest.approx([0.7, 1])
    assert seen["readout"] == "λ = 0.7, seed = 1: 0.075 nat"
    assert titled(explorer, "top-1 agreement with the teacher")["at"] == pytest.approx(0.7)


def test_the_story_keeps_its_scales_and_marks_barrier_chord_and_ends():
    explorer = kdl.explore(study_cube(num=9), view="story")
    title = "loss along the path from student (t = 0) to teacher (t = 1)"
    first = titled(explorer, title)
    assert first["ends"] == ["student", "teacher"]
    assert first["chord"] == pytest.approx([0, 0.1, 1, 0.1])
    assert first["bracket"]["text"] == "barrier 0.25 nat"
    assert (first["bracket"]["x"], first["bracket"]["low"], first["bracket"]["high"]) == pytest.approx((0.5, 0.1, 0.35))
    explorer.sliders["at", "init_lambda"].value = 9
    last = titled(explorer, title)
    assert last["limits"] == first["limits"] == pytest.approx([0.1, 0.35])
    assert last["bracket"]["text"] == "barrier 0.025 nat"


def test_words_symbols_and_units_come_from_the_labels_of_the_data():
    cube = study_cube(num=9)
    cube["init_lambda"].attrs = {"long_name": "share", "symbol": "ϑ", "units": "%"}
    cube["agreement"].attrs["long_name"] = "sameness"
    explorer = kdl.explore(cube, view="story")
    assert dict(explorer.controls["view"].options)["ϑ story"] == "story"
    assert explorer.sliders["at", "init_lambda"].description == "ϑ"
    assert ("number: sameness", "agreement") in explorer.controls["curve"].options
    assert titled(explorer, "barrier")["x"]["name"] == "share, ϑ [%]"
    assert "init_lambda" not in explorer.shown().sentence
    assert [name.split(":")[0] for name, _ in explorer.controls["variable"].options] == [
        *["surface"], *["path"], *["spectrum"] * 2, *["number"] * 5
    ]  # fmt: skip


def test_the_list_sets_errors_and_diagnostics_apart_and_tells_equal_words_apart():
    cube = spectra_cube()
    cube["trace"].attrs["long_name"] = cube["eigenvalues"].attrs["long_name"]
    options = [name for name, _ in kdl.explore(cube).controls["variable"].options]
    assert options[-1] == "error or diagnostic: standard error of the trace"
    assert "spectrum: Hessian eigenvalue (trace)" in options


def test_the_story_of_spectra_runs_along_the_path():
    explorer = kdl.explore(spectra_cube(), view="story")
    assert explorer.state.story == "t"
    along = titled(explorer, "Hessian eigenvalue along the path from teacher (t = 0) to student (t = 1)")
    names = [line["name"] for line in along["lines"] if line["role"] == "run"]
    assert names == [f"eigenvalue = {k}" for k in range(4)]
    explorer.sliders["at", "t"].value = 4
    spectrum = titled(explorer, "top eigenvalues")
    np.testing.assert_allclose([line["y"] for line in spectrum["lines"]], [[10, 9, 8, 7], [11, 10, 9, 8]])
    assert dict(explorer.controls["story"].options)["member"] == "member"
    explorer.controls["story"].value = "member"
    assert dict(explorer.controls["view"].options)["member story"] == explorer.state.view == "story"
    assert next(iter(explorer.sliders)) == ("at", "member")
    assert titled(explorer, "trace of the curvature of the mean loss")["x"]["labels"] == ["teacher", "0.0", "1.0"]


def test_the_story_of_basins_goes_from_partner_to_partner():
    explorer = kdl.explore(basins_cube(), view="story")
    assert explorer.state.story == "partner"
    barrier = titled(explorer, "barrier")
    assert barrier["x"]["labels"] == ["λ = 0", "λ = 0.5", "independent"]
    assert [line["name"] for line in barrier["lines"] if line["role"] == "run"] == [
        f"alignment: {how}" for how in ("none", "weights", "activations")
    ]
    assert explorer.shown().sentence.startswith("seed = 0, partner = λ = 0")


def test_any_cube_has_a_story():
    explorer = kdl.explore(other_cube(), view="story")
    assert stories(other_cube()) == ["day", "temperature_c", "site", "wet"]
    assert panels(explorer)[-1]["x"]["labels"][0].startswith("2026-01-01")
    explorer.controls["story"].value = "temperature_c"
    assert panels(explorer)[-1]["x"]["name"] == "temperature [°C]"


def test_an_axis_of_ratios_is_logarithmic():
    explorer = kdl.explore(spectra_cube(), variable="path_effective_dimension", x="z", y="")
    assert panels(explorer)[0]["x"]["log"]
