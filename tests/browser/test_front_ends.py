"""The explorer in other front ends: one anywidget in marimo, which knows no ipywidgets, and both ways in Notebook 7."""

import re
from pathlib import Path

import pytest

from tests.browser import lab
from tests.widgets.cubes import study_cube

MARIMO = """import marimo

app = marimo.App(width="full")


@app.cell
def _():
    import kdlandscape as kdl

    kdl.explore(kdl.open_cube({cube!r})).alone()
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.fixture
def place(tmp_path):
    study_cube(num_lambda=3, num=21, seeds=2).to_netcdf(tmp_path / "cube.nc")
    return tmp_path


def walk(watched, name):
    """Move a slider, choose a variable, click the plane, change the view: the board follows each."""
    page = watched.page
    page.locator(".kdl-board canvas").first.wait_for(timeout=180_000)
    page.locator(".kdl-board[data-serial]").wait_for()
    title = page.locator(".kdl-board figcaption:visible").first
    page.locator(".kdl-forms label", has_text="λ").locator("input").press("ArrowRight")
    page.locator("figcaption", has_text="λ = 0.5").first.wait_for()
    assert title.inner_text() == "loss: seed = 0, learning-rate policy = constant, λ = 0.5"
    watched.shoot(f"alone-{name}")
    page.locator(".kdl-forms button", has_text="scaled").click()
    page.locator("figcaption", has_text="learning-rate policy = scaled").first.wait_for()
    page.locator(".kdl-board canvas").first.click(position={"x": 150, "y": 120})
    page.locator("output", has_text="nat").first.wait_for()
    page.locator(".kdl-forms label", has=page.locator("span", has_text=re.compile("^line$"))).locator(
        "select"
    ).select_option(label="teacher to student")
    page.locator("figcaption", has_text="loss from teacher to student").wait_for()
    page.locator(".kdl-forms button", has_text="At a glance").click()
    page.locator("figcaption", has_text="top-1 agreement").first.wait_for()
    page.locator(".kdl-code summary").click()
    page.locator(".kdl-alone pre", has_text="view='glance'").wait_for()  # a message of its own, after the picture's
    page.locator(".kdl-alone label", has_text="file").last.locator("input").fill(f"{name}.html")
    page.locator(".kdl-alone button", has_text="Save HTML").click()
    page.locator("output", has_text=f"wrote {name}.html").wait_for()
    watched.assert_quiet()


def test_marimo_shows_the_board_with_its_controls(place, watch):
    app = place / "app.py"
    app.write_text(MARIMO.format(cube=str(place / "cube.nc")), encoding="utf-8")
    with lab.marimo(app, lab.environment(place / "home", place)) as address:
        watched = watch()
        watched.page.goto(address, wait_until="commit")
        walk(watched, "marimo")
    assert Path(place, "marimo.html").stat().st_size > 10_000


CELLS = ("import kdlandscape as kdl\ncube = kdl.open_cube('cube.nc')", "kdl.explore(cube)", "kdl.explore(cube).alone()")


def test_notebook_7_shows_the_explorer_of_widgets_and_the_lone_board(place, watch):
    lab.write_notebook(place / "page.ipynb", *CELLS)
    with lab.notebook7(place, lab.environment(place / "home", place)) as address:
        watched = watch()
        page = watched.page
        lab.run_all(page, address("page.ipynb"))
        boards = page.locator(".kdl-board[data-serial]")
        sliders = (
            page.locator(".widget-hslider", has_text="λ").locator(".noUi-handle"),
            page.locator(".kdl-forms label", has_text="λ").locator("input"),
        )
        for i, slider in enumerate(sliders):
            boards.nth(i).locator("canvas").first.wait_for()
            slider.scroll_into_view_if_needed()
            before, serial = lab.picture_of(page, board=i), lab.serial_of(page, i)
            slider.press("ArrowRight")
            lab.wait_redraw(page, serial, i)
            boards.nth(i).locator("figcaption", has_text="λ = 0.5").first.wait_for()
            assert lab.picture_of(page, board=i) != before
            watched.shoot(f"notebook7-{i}")
        own = "Cannot read properties of undefined (reading 'schema')"  # of Notebook 7.6, also where a cell says 1 + 1
        watched.errors = [error for error in watched.errors if error != own]
        watched.assert_quiet()
