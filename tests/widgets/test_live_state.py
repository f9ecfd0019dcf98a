import re
import threading
import time

import numpy as np
import pytest

import kdlandscape as kdl
from kdlandscape.cubes.coarse_to_fine import filled
from kdlandscape.widgets.live_plane import layout_of, points_on
from kdlandscape.widgets.live_scene import readout

CENTRE = np.full(4, 0.1)


class Bowl:
    """A loss without a network: theta² summed, slow on request."""

    def __init__(self, seconds=0.0):
        self.theta, self.seconds, self.calls = CENTRE, seconds, 0
        self.lock = threading.Lock()

    def evaluate(self, thetas):
        assert self.lock.acquire(blocking=False), "a network may not be evaluated twice at once"
        time.sleep(self.seconds * len(thetas))
        self.calls += len(thetas)
        self.lock.release()
        return {"loss": (thetas**2).sum(1), "first": thetas[:, 0]}


@pytest.fixture
def explore():
    made = []

    def make(*arguments, **settings):
        made.append(kdl.explore_plane(*arguments, **settings))
        return made[-1]

    yield make
    for one in made:
        one.live.close()


def test_the_finished_surface_is_the_loss_on_the_plane(explore):
    live = explore(Bowl(), np.eye(2, 4), num=17, x=(-1, 2)).live
    live.wait()
    assert live.status == "finished"
    surface = live.surface()
    expected = (surface["x"] + 0.1) ** 2 + (surface["y"] + 0.1) ** 2 + 0.02
    np.testing.assert_allclose(surface, expected.transpose("y", "x"))
    assert surface.attrs == {"long_name": "loss", "units": "1"}
    assert live.metrics() == ["loss", "first"]
    assert live.done == live.total == 289


def test_what_is_not_computed_yet_is_drawn_like_its_nearest_neighbour_and_a_computed_nan_stays():
    values = np.full((3, 3), np.nan)
    known = np.zeros((3, 3), bool)
    values[0, 0], known[0, 0], known[2, 2] = 5, True, True
    drawn = filled(values, known)
    assert drawn[0, 1] == drawn[1, 0] == 5
    assert np.isnan(drawn[2, 2])


def test_cancel_stops_within_a_second_and_keeps_what_is_there(explore):
    bowl = Bowl(seconds=0.002)
    live = explore(bowl, np.eye(2, 4), num=129).live
    time.sleep(0.5)
    began = time.monotonic()
    live.cancel()
    assert live.status == f"cancelled at {live.done} of 16641 points"
    live.wait()
    assert time.monotonic() - began < 1
    calls, done = bowl.calls, live.done
    time.sleep(0.3)
    assert (bowl.calls, live.done) == (calls, done)
    assert 0 < done < 16641
    assert np.isfinite(live.surface()).sum() == done


def test_a_click_is_answered_between_two_chunks_of_the_surface(explore):
    widget = explore(Bowl(seconds=0.002), np.eye(2, 4), num=129)
    live = widget.live
    time.sleep(0.3)
    widget.board.picked = {"kind": "point", "x": 0.4, "y": -0.1, "serial": 1}
    end = time.monotonic() + 20
    while not live.found and time.monotonic() < end:
        time.sleep(0.01)
    assert live.found == pytest.approx({"loss": 0.25 + 0.02, "first": 0.5})
    assert live.status == "computing"
    assert readout(widget.live) == "x = 0.4, y = -0.1: loss = 0.27, first = 0.5"


def test_the_lines_through_a_point_take_the_computed_grid_lines_next_to_it(explore):
    widget = explore(Bowl(seconds=0.002), np.eye(2, 4), num=129)
    while widget.live.done < 81:
        time.sleep(0.01)
    widget.live.cancel()
    widget.live.wait()
    widget.live.probe(0.01, 0.01)
    along, _ = widget.scene()[2]["lines"]
    assert along["name"] == "along x, y = 0"
    np.testing.assert_allclose(along["y"], (np.array(along["x"]) + 0.1) ** 2 + 0.03)
    assert 9 <= len(along["x"]) < 129


def test_eigenvalues_come_on_demand(explore):
    widget = explore(Bowl(), np.eye(2, 4), num=9, eigenvalues=lambda theta: [4.0, theta[0]])
    widget.live.wait()
    assert widget.spectrum.disabled
    widget.live.probe(0.5, 0)
    widget.live.wait()
    widget.spectrum.click()
    widget.live.wait()
    assert widget.live.eigenvalues == pytest.approx([4, 0.6])
    assert widget.scene()[-1]["lines"][0]["y"] == pytest.approx([4, 0.6])


def test_another_plane_and_range_are_computed_on_request(explore):
    planes = {"first": np.eye(2, 4), "doubled": lambda: 2 * np.eye(2, 4)}
    widget = explore(Bowl(), planes, num=9)
    widget.live.wait()
    widget.direction.value, widget.num.value = "doubled", 17
    widget.ranges["x_range"][0].value, widget.ranges["x_range"][1].value = "-1", "3"
    widget.compute.click()
    widget.live.wait()
    surface = widget.live.surface()
    assert surface.shape == (17, 17)
    np.testing.assert_allclose(surface.sel(x=3, y=0), (6.1) ** 2 + 0.03)
    assert widget.progress.value == 289
    widget.metric.value = "first"
    assert widget.scene()[0]["label"] == "first"


def test_a_plane_of_the_package_brings_its_origin_and_its_points(explore):
    torch = pytest.importorskip("torch")
    a, b, c = torch.tensor([[0.0, 0, 0], [2.0, 0, 0], [0.0, 1, 0]], dtype=torch.float64)
    plane = kdl.plane_through(a, b, c)
    live = explore(lambda thetas: {"loss": (thetas**2).sum(1)}, plane, num=9, names=["teacher", "student", "init"]).live
    live.wait()
    assert live.status == "finished"
    assert [mark["name"] for mark in live.layout.marks] == ["teacher", "student", "init"]
    np.testing.assert_allclose([(mark["x"], mark["y"]) for mark in live.layout.marks], [(0, 0), (1, 0), (0, 0.5)])
    assert float(live.surface().sel(x=1, y=0)) == pytest.approx(4)
    assert live.x_range == pytest.approx((-0.3, 1.3))
    assert live.y_range == pytest.approx((-0.3, 0.8))


def test_points_lie_where_the_plane_says():
    layout = layout_of(np.array([[1.0, 0, 0, 0], [0, 0, 2.0, 0]]), CENTRE, ())
    np.testing.assert_allclose(points_on(layout, [1, 2], [0, 3]), [[1.1, 0.1, 0.1, 0.1], [2.1, 0.1, 6.1, 0.1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Bowl(), {}), "planes: expected at least one plane by name, got none"),
        ((lambda thetas: {}, np.eye(2, 4)), r"origin: expected a point \(P,\), got none"),
    ],
)
def test_a_surface_without_plane_or_origin_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        kdl.explore_plane(*arguments)


def failing(thetas):
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("objective", "plane", "settings", "message"),
    [
        (Bowl(), np.eye(2, 3), {}, "failed: ValueError: expected directions of shape (2, 4), got (2, 3)"),
        (Bowl(), np.eye(2, 4), {"x": (1, 1)}, "failed: expected a range of x from low to high, got 1 to 1; change it"),
        (Bowl(), np.eye(2, 4), {"num": 1}, "failed: expected at least two points along each axis, got 1"),
        (failing, np.eye(2, 4), {"origin": CENTRE}, "failed: RuntimeError: out of memory"),
    ],
)
def test_what_goes_wrong_in_the_background_is_said_on_the_board(explore, objective, plane, settings, message):
    widget = explore(objective, plane, **settings)
    widget.live.wait()
    assert widget.live.status == message
    assert widget.scene()[0]["text"] == message


def test_a_surface_that_is_nowhere_finite_says_so(explore):
    widget = explore(lambda thetas: {"loss": thetas[:, 0] * np.nan}, np.eye(2, 4), origin=CENTRE, num=3)
    widget.live.wait()
    assert widget.scene()[0]["text"] == "every value so far is NaN or infinite"


def broken(thetas):
    """Return the squared length, except far from the origin, where there is no memory for it."""
    if float(np.abs(thetas).max()) > 5:
        raise RuntimeError("out of memory")
    return {"loss": (thetas**2).sum(1), "accuracy": np.full(len(thetas), 0.5) + thetas[:, 0] / 100}


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (("2", "1"), "failed: expected a range of x from low to high, got 2 to 1"),
        (
            ("0", "x"),
            "failed: expected two numbers for the range of x, or nothing for an automatic one; got '0' to 'x'",
        ),
        (("0", "99"), "failed: RuntimeError: out of memory"),
    ],
)
def test_an_error_keeps_the_picture_and_is_said_beside_it(explore, ends, said):
    widget = explore(broken, np.eye(2, 4), origin=CENTRE, num=9)
    widget.live.wait()
    before = widget.scene()[0]
    for box, text in zip(widget.ranges["x_range"], ends, strict=True):
        box.value = text
    widget.compute.click()
    widget.live.wait()
    assert said.replace("'", "&#x27;") in widget.said.value
    assert before["kind"] == "plane"
    assert widget.scene()[0] == before


def test_an_empty_range_holds_the_networks_which_lie_on_the_grid(explore):
    torch = pytest.importorskip("torch")
    ends = torch.tensor([[0.0, 0, 0], [3.0, 0, 0], [1.0, 2, 0]], dtype=torch.float64)
    planes = {"small": kdl.plane_through(*(ends / 10)), "large": kdl.plane_through(*ends)}
    widget = explore(lambda thetas: {"loss": (thetas**2).sum(1)}, planes, num=17)
    widget.live.wait()
    widget.direction.value = "large"
    assert [box.value for box in widget.ranges["x_range"]] == ["", ""]
    widget.compute.click()
    widget.live.wait()
    surface = widget.live.surface()
    for mark, end in zip(widget.live.layout.marks, ends, strict=True):
        own = float((end**2).sum())
        assert float(surface.sel(x=mark["x"], y=mark["y"])) == pytest.approx(own, abs=1e-12)
    assert [float(box.value) for box in widget.ranges["x_range"]] == pytest.approx(widget.live.x_range, rel=1e-3)


def test_while_it_computes_it_says_points_rate_and_time_left(explore):
    widget = explore(Bowl(seconds=0.002), np.eye(2, 4), num=129)
    while widget.live.done < 100:
        time.sleep(0.01)
    said = widget.live.progress()
    assert re.fullmatch(r"computing: \d+ of 16641 points, [\d.e+]+ points/s, about \d+ s left", said), said
    assert "points/s" in widget.said.value


def test_a_loss_gets_a_logarithmic_scale_and_an_accuracy_a_linear_one(explore):
    widget = explore(broken, np.eye(2, 4), origin=CENTRE * 1e-3, num=9)
    widget.live.wait()
    assert widget.scene()[0]["log"]
    widget.metric.value = "accuracy"
    assert not widget.scene()[0]["log"]
    widget.scale.value = "log"
    assert widget.scene()[0]["log"]


def test_a_kept_surface_is_a_cube_that_the_explorer_opens(explore, tmp_path):
    torch = pytest.importorskip("torch")
    ends = torch.tensor([[0.0, 0, 0], [2.0, 0, 0], [0.0, 1, 0]], dtype=torch.float64)
    widget = explore(lambda thetas: {"loss": (thetas**2).sum(1)}, kdl.plane_through(*ends), num=9)
    widget.live.wait()
    widget.path.value = str(tmp_path / "deep" / "surface.nc")
    widget.keep.click()
    assert "kdl.explore(kdl.open_cube(" in widget.kept_said.value
    with kdl.open_cube(tmp_path / "deep" / "surface.nc") as cube:
        seen = kdl.explore(cube).shown().panels[0]
        assert cube.attrs["status"] == "finished"
    assert [mark["name"] for mark in seen["marks"]] == ["teacher", "student", "init"]
    assert seen["z"] == widget.scene()[0]["z"]
    assert widget.kept[0].identical(widget.live.dataset())


def test_the_code_of_a_kept_surface_brings_back_what_was_shown_and_stands_beside_its_figure(
    explore, tmp_path, monkeypatch
):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    ends = torch.tensor([[0.0, 0, 0], [2.0, 0, 0], [0.0, 1, 0]], dtype=torch.float64)
    widget = explore(lambda thetas: {"loss": 0.1 + (thetas**2).sum(1)}, kdl.plane_through(*ends), num=9)
    widget.live.wait()
    widget.live.probe(0.5, 0.25)
    widget.live.lay(("teacher", "student"))
    widget.live.wait()
    widget.colors.value = "magma"
    widget.preview.export.click()
    assert widget.lines.code == widget.code
    found = {}
    exec(widget.code.replace("kdl.explore(", "seen = kdl.explore("), found)
    plane, own = found["seen"].shown().panels[0], widget.scene()[0]
    for key in ("z", "limits", "log", "map", "marks", "line", "label"):
        assert plane[key] == own[key], key
    assert np.hypot(*np.subtract(plane["point"], own["point"])) < 0.5  # the grid point next to it
    code = (tmp_path / "figures" / "board.py").read_text(encoding="utf-8")
    (tmp_path / "figures" / "board.pdf").unlink()
    exec(code, {})
    assert (tmp_path / "figures" / "board.pdf").exists()
