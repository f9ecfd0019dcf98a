import numpy as np
import pytest
import xarray as xr

import kdlandscape as kdl
from kdlandscape.widgets import selection
from kdlandscape.widgets.dims import default_axes
from kdlandscape.widgets.state import make_state
from kdlandscape.widgets.view import read
from tests.widgets.cubes import study_cube


def test_a_cube_opens_on_its_plane_at_the_first_cell_that_is_done():
    cube = study_cube()
    cube["run.done"].values[0, 0] = False
    state = make_state(cube)
    assert (state.variable, state.x, state.y, state.story, state.curve) == (
        "plane_loss",
        "x",
        "y",
        "init_lambda",
        "agreement",
    )
    assert (state.at["seed"], state.at["lr_policy"]) == (0, 1)
    assert state.log


def test_setting_a_cell_selects_its_plane():
    cube = study_cube()
    state = make_state(cube)
    state.at = {**state.at, "seed": 1, "init_lambda": 4}
    plane = selection.plane(cube, state)
    assert plane.dims == ("y", "x")
    expected = cube["plane_loss"].sel(seed=1, lr_policy="constant", init_lambda=0.4)
    np.testing.assert_array_equal(plane, expected)


def test_any_two_dims_of_a_variable_are_axes():
    cube = study_cube()
    state = make_state(cube, variable="barrier", at={"lr_policy": "scaled"}, choices={"x": "seed", "y": "init_lambda"})
    plane = selection.plane(cube, state)
    np.testing.assert_array_equal(plane, cube["barrier"].sel(lr_policy="scaled").transpose("init_lambda", "seed"))


def test_the_lines_run_through_the_grid_point_next_to_the_click():
    cube = study_cube()
    state = make_state(cube, at={"init_lambda": 0.2})
    state.point = (0.511, 0.231)
    cell = read(cube, state).cells[""]
    assert cell.point == pytest.approx((0.5, 0.22))
    np.testing.assert_allclose(cell.row, (cube["x"] - 0.2) ** 2 + 0.22**2 + 0.01, rtol=1e-5)
    np.testing.assert_allclose(cell.column, 0.3**2 + cube["y"] ** 2 + 0.01, rtol=1e-5)


def test_before_a_click_the_lines_run_through_the_student():
    cube = study_cube()
    state = make_state(cube, at={"init_lambda": 0.5})
    assert read(cube, state).cells[""].point == pytest.approx((0.5, 0), abs=0.021)


def test_marks_are_where_the_cube_says():
    cube = study_cube()
    state = make_state(cube, at={"init_lambda": 0.5})
    marks = {mark["name"]: (mark["x"], mark["y"]) for mark in selection.marks(cube, state, state.at)}
    assert marks == {"teacher": (0, 0), "init": pytest.approx((0.3, 0.25)), "student": (0.5, 0)}


def test_spectra_and_curves_follow_the_cell():
    cube = study_cube()
    view = read(cube, make_state(cube, at={"seed": 1, "init_lambda": 0.3}))
    spectra = view.cells[""].spectra
    np.testing.assert_allclose(spectra["student_eigenvalues"], [20.3, 10.3, 5.3])
    np.testing.assert_allclose(spectra["teacher_eigenvalues"], [25, 12, 6])
    ((agreement, control),) = view.curves.values()
    assert (agreement.x, agreement.hue, agreement.repeat, agreement.here) == ("init_lambda", "split", "seed", 1)
    np.testing.assert_allclose(
        agreement.values.sel(seed=1, split="test").transpose("init_lambda"), 0.58 + 0.3 * cube["init_lambda"]
    )
    assert (control.values.isel(seed=1) == 0.5).all()


def test_one_colour_scale_holds_for_all_cells_of_the_story_or_for_both_of_a_comparison():
    cube = study_cube()
    whole = cube["plane_loss"].sel(seed=0, lr_policy="constant")
    state = make_state(cube, choices={"log": False})
    assert selection.limits(cube, state) == pytest.approx((float(whole.min()), float(whole.max())))
    state.shared = False
    one = whole.sel(init_lambda=0)
    assert selection.limits(cube, state) == pytest.approx((float(one.min()), float(one.max())))
    state.view, state.other = "compare", {**state.at, "seed": 1}
    both = cube["plane_loss"].isel(seed=[0, 1], lr_policy=0, init_lambda=0)
    assert selection.limits(cube, state) == pytest.approx((float(both.min()), float(both.max())))


def test_a_logarithmic_scale_starts_three_decades_below_the_top_at_most():
    values = np.array([0.0, 1e-9, 5.0, np.inf, np.nan])
    assert selection.finite_limits(values, log=True) == (5e-3, 5.0)
    assert selection.finite_limits(values, log=False) == (0.0, 5.0)
    assert selection.finite_limits(values[3:], log=True) is None


def test_a_large_plane_is_thinned_to_what_a_screen_shows():
    cube = xr.Dataset({"loss": (("y", "x"), np.zeros((600, 1000)))}, {"y": np.arange(600.0), "x": np.arange(1000.0)})
    plane = selection.plane(cube, make_state(cube))
    assert plane.shape == (200, 250)


def test_a_hole_is_named_by_its_coordinates():
    cube = study_cube()
    state = make_state(cube, at={"seed": 2, "lr_policy": "scaled"})
    assert selection.hole(cube, state.at) == (
        "missing: no run has filled seed = 2, learning-rate policy = scaled; "
        "run the study again to execute what is missing"
    )
    assert selection.hole(cube, make_state(cube).at) == ""


def test_a_variable_without_x_and_y_gets_its_inner_numeric_dims_as_axes():
    cube = study_cube()
    assert default_axes(cube, "path_loss") == ("t", "init_lambda")
    assert default_axes(cube, "agreement") == ("init_lambda", "")
    assert default_axes(cube.isel(seed=0, lr_policy=0), "barrier") == ("init_lambda", "")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"variable": "plane_los"}, r"variable: expected one of .*, got 'plane_los'. Did you mean 'plane_loss'?"),
        ({"at": {"sed": 0}}, r"at: expected a dim of .*, got 'sed'. Did you mean 'seed'?"),
        ({"at": {"seed": 7}}, r"at: expected a coordinate of seed among \[0, 1, 2\], got 7"),
        ({"x": "t"}, r"x: expected one of .*, got 't'"),
        ({"colors": "jet"}, r"colors: expected one of \['viridis', 'cividis', 'magma'\], got 'jet'"),
    ],
)
def test_a_wrong_choice_is_refused_by_naming_the_right_ones(choices, message):
    with pytest.raises(ValueError, match=message):
        kdl.explore(study_cube(), **choices)
