"""The board with its controls as one anywidget says and does what the explorer's own controls do."""

import numpy as np
import pytest

import kdlandscape as kdl
from tests.widgets.cubes import spectra_cube, study_cube


@pytest.fixture
def explorer():
    return kdl.explore(study_cube(num_lambda=3, num=9))


def ask(board, key, value):
    board.asked = [*board.asked, {"key": key, "value": value, "serial": board.answered + 1}]


def form(board, key):
    return next((one for one in board.forms if one["key"] == key), None)


def test_it_shows_the_controls_and_panels_of_the_explorer(explorer):
    board = explorer.alone()
    assert board.scene == explorer.board.scene
    assert board.code == explorer.code
    assert form(board, "at init_lambda")["options"] == ["0", "0.5", "1"]
    assert form(board, "at lr_policy")["kind"] == "buttons"
    assert form(board, "view")["options"] == ["Explore", "Compare", "λ story", "At a glance"]
    assert form(board, "log") | {"kind": "check", "value": True} == form(board, "log")
    explorer.sliders["at", "init_lambda"].value = 2
    assert form(board, "at init_lambda")["value"] == 2
    assert board.scene["panels"][0]["title"].endswith("λ = 1")


def test_what_is_done_on_it_is_done_in_the_explorer(explorer):
    board = explorer.alone()
    ask(board, "at init_lambda", 1)
    assert explorer.state.at["init_lambda"] == 1
    ask(board, "view", 2)
    assert explorer.state.view == "story"
    assert form(board, "at init_lambda")["play"]
    assert form(board, "curve") is None
    ask(board, "log", False)
    assert explorer.state.log is False
    board.picked = {"kind": "story", "x": 1.0, "dim": "init_lambda", "serial": 1}
    assert explorer.sliders["at", "init_lambda"].value == 2
    board.angle = [0.1, 0.5, 2.0]
    assert explorer.state.angle == (0.1, 0.5, 2.0)
    with pytest.raises(ValueError, match="expected a position below 3, got 9"):
        ask(board, "at init_lambda", 9)


def test_files_are_written_from_it_and_named_without_markup(explorer, tmp_path):
    board = explorer.alone()
    ask(board, "page", str(tmp_path / "<i>.html"))
    ask(board, "save page", True)
    assert (tmp_path / "<i>.html").exists()
    assert form(board, "saved")["value"].endswith("<i>.html")  # the browser writes it as text
    ask(board, "export to", str(tmp_path / "board"))
    ask(board, "export", True)
    assert (tmp_path / "board.pdf").exists()


def test_a_cube_of_another_study_has_its_own_controls():
    board = kdl.explore(spectra_cube()).alone()
    assert {one["key"] for one in board.forms} >= {"view", "variable", "at seed", "at data_set"}
    for key in [one["key"] for one in board.forms]:
        one = form(board, key)
        if one and one["kind"] in ("list", "range", "buttons") and not one["tool"] and not one["disabled"]:
            ask(board, one["key"], len(one["options"]) - 1)
            assert board.scene["panels"]


def test_a_live_surface_stands_alone_too():
    live = kdl.explore_plane(lambda thetas: {"loss": (thetas**2).sum(1)}, np.eye(2, 3), origin=np.zeros(3), num=5)
    board = live.alone()
    try:
        live.live.wait()
        board.renew()
        assert "finished" in form(board, "said")["value"]
        ask(board, "x from", "-2")
        ask(board, "x to", "2")
        ask(board, "compute", True)
        live.live.wait()
        assert live.live.x_range == (-2, 2)
        assert board.scene["panels"][0]["x"]["places"][0] == -2
        board.picked = {"kind": "point", "x": 1.0, "y": 0.0, "serial": 1}
        live.live.wait()
        assert live.live.found == {"loss": 1.0}
    finally:
        live.live.close()
