"""The line between two points of a plane: its values, its barrier and its curvature against those known by hand."""

import numpy as np
import pytest
import torch
import xarray as xr

import kdlandscape as kdl
from kdlandscape.widgets.cuts import bending
from tests.widgets.cubes import other_cube, study_cube


def drag(board, *line, names=("", "")):
    """Do what a drag on the plane sends."""
    board.picked = {"kind": "line", "line": list(line), "names": list(names), "panel": 0, "serial": 1}


def panel(explorer, start):
    (found,) = [one for one in explorer.shown().panels if one["title"].startswith(start)]
    return found


def test_a_dragged_line_shows_the_loss_of_the_grid_and_its_barrier():
    cube = study_cube(num_lambda=3, num=21)
    hill = 1 - cube["x"] ** 2 - cube["y"] ** 2  # concave: the line through its top has a barrier
    cube["plane_loss"] = (cube["plane_loss"] * 0 + hill + 2).assign_attrs(cube["plane_loss"].attrs)
    explorer = kdl.explore(cube)
    drag(explorer.board, -0.5, 0.0, 0.5, 0.0)
    seen = panel(explorer, "loss from (-0.5, 0) to (0.5, 0)")
    plane = cube["plane_loss"].isel(seed=0, lr_policy=0, init_lambda=0)
    expected = plane.interp(y=0.0).interp(x=np.linspace(-0.5, 0.5, 65))
    np.testing.assert_allclose(seen["lines"][0]["y"], expected, rtol=1e-6)
    assert seen["bracket"]["text"] == "barrier 0.25 nat"
    assert seen["readout"] == "between the points of the plane's grid: interpolated (bilinear)"
    assert seen["x"]["name"] == "place on the line, t"


def test_the_curvature_along_a_line_is_that_of_a_quadratic_surface():
    x, y = np.array([-1.0, -0.4, 0.1, 1.0]), np.array([0.0, 0.7, 1.0, 2.0])  # no even spacing
    z = 3 * x**2 + 2 * x * y[:, None] - 0.5 * y[:, None] ** 2
    u = np.array([0.6, 0.8])
    hessian = np.array([[6.0, 2.0], [2.0, -1.0]])
    np.testing.assert_allclose(bending(z, x, y, u), np.full((4, 4), u @ hessian @ u), atol=1e-12)


def test_a_line_between_two_networks_follows_them_from_cell_to_cell():
    explorer = kdl.explore(study_cube(num_lambda=3, num=21))
    drag(explorer.board, 0.0, 0.0, 1.0, 0.0, names=("teacher", "student"))
    assert explorer.state.line == ("teacher", "student")
    assert explorer.controls["line"].label == "teacher to student"
    explorer.sliders["at", "init_lambda"].value = 1
    assert explorer.shown().panels[0]["line"] == [[0, 0], [0.5, 0]]
    loss = panel(explorer, "loss from teacher to student")
    assert loss["ends"] == ["teacher", "student"]
    assert loss["lines"][0]["y"][0] == pytest.approx(0.25 + 0.01, abs=1e-6)  # (0 - λ)² + the seed's hundredth
    assert loss["lines"][0]["y"][-1] == pytest.approx(0.01, abs=1e-6)
    curved = panel(explorer, "curvature from teacher to student")
    np.testing.assert_allclose(curved["lines"][0]["y"], 2, rtol=1e-3)
    assert curved["label"] == "curvature of the loss [nat / (teacher–random distance)²]"


def test_two_cells_are_compared_along_the_same_line():
    explorer = kdl.explore(study_cube(num_lambda=3, num=21), view="compare", line=(0.0, 0.0, 1.0, 0.5))
    assert [line["name"] for line in panel(explorer, "loss from (0, 0)")["lines"]] == ["A", "B"]


def test_the_list_chooses_a_line_and_takes_it_away():
    explorer = kdl.explore(study_cube(num_lambda=3, num=21))
    box = explorer.controls["line"]
    assert [label for label, _ in box.options] == [
        "none: drag one",
        "teacher to init",
        "teacher to student",
        "init to student",
    ]
    box.value = ("init", "student")
    assert panel(explorer, "loss from init to student")
    drag(explorer.board, 0.0, 0.0, 1.0, 0.5)
    assert box.label == "(0, 0) to (1, 0.5)"
    box.value = ()
    assert not any(one["title"].startswith("curvature") for one in explorer.shown().panels)


def test_a_line_that_leaves_the_grid_or_meets_a_gap_has_gaps():
    cube = study_cube(num_lambda=3, num=21).copy(deep=True)
    cube["plane_loss"][0, 0, 0, 5, 5] = np.nan
    explorer = kdl.explore(cube, line=(-0.5, -0.5, 3.5, 3.5))
    drawn = panel(explorer, "loss from (-0.5, -0.5)")
    values = drawn["lines"][0]["y"]
    assert values[-1] is None
    assert None in values[:20]
    assert "chord" not in drawn


def test_categories_and_dates_are_not_cut():
    explorer = kdl.explore(other_cube(), variable="growth", x="day", y="site")
    drag(explorer.board, 0.0, 0.0, 1.0, 1.0)
    assert not any("from" in one["title"] for one in explorer.shown().panels)


def test_the_code_brings_the_line_back():
    cube = study_cube(num_lambda=3, num=9)
    explorer = kdl.explore(cube, line=("teacher", "init"))
    again = eval(explorer.explore_code(), {"kdl": kdl, "cube": cube})
    assert again.shown().panels == explorer.shown().panels


@pytest.mark.parametrize("line", [("teacher",), (0, 1, 2), (0, 1, 2, np.nan), "ab", 3])
def test_a_line_is_two_names_or_four_numbers(line):
    with pytest.raises(ValueError, match="line: expected two names of networks on the plane, or four numbers"):
        kdl.explore(study_cube(num_lambda=3, num=9), line=line)


def test_the_live_line_is_exact_and_its_curvature_a_product_with_the_hessian():
    draw = torch.Generator().manual_seed(0)
    matrix = torch.randn(5, 5, generator=draw, dtype=torch.float64)
    matrix = matrix + matrix.T

    class Quadratic:
        theta, units = torch.zeros(5, dtype=torch.float64), "nat"

        def evaluate(self, thetas):
            return {"loss": ((thetas @ matrix) * thetas).sum(1) / 2, "first": thetas[:, 0]}

        def hvp(self, theta, v):
            return matrix @ v

    points = torch.randn(3, 5, generator=draw, dtype=torch.float64)
    widget = kdl.explore_plane(Quadratic(), kdl.plane_through(*points), num=5)
    live = widget.live
    try:
        live.wait()
        drag(widget.board, 0.0, 0.0, 1.0, 0.0, names=("teacher", "student"))
        live.wait()
        for _ in range(40):  # the line hands on from point to point
            live.wait()
        t = torch.linspace(0, 1, 33, dtype=torch.float64)[:, None]
        on = (1 - t) * points[0] + t * points[1]
        np.testing.assert_allclose(live.cut.value, ((on @ matrix) * on).sum(1) / 2, rtol=1e-10)
        plane = kdl.plane_through(*points)
        way = plane.directions[0]
        np.testing.assert_allclose(live.cut.curvature, np.full(33, float(way @ matrix @ way)), rtol=1e-9)
        titles = [one["title"] for one in widget.scene()]
        assert "loss from teacher to student" in titles
        assert "curvature from teacher to student" in titles
        live.metric = "first"
        np.testing.assert_allclose(live.cut.value, on[:, 0], rtol=1e-10)
        np.testing.assert_allclose(live.cut.curvature, 0, atol=1e-9)  # of differences: it is linear
    finally:
        live.close()


def test_a_cut_of_an_unlabelled_plane_needs_no_unit():
    x = np.linspace(0, 1, 5)
    cube = xr.Dataset({"loss": (("y", "x"), x[:, None] + x)}, {"x": x, "y": x})
    assert panel(kdl.explore(cube, line=(0, 0, 1, 1)), "curvature")["label"] == "curvature of the loss"
