"""What a user does in explore.ipynb, in a real JupyterLab: the tests go on from one another, on one page."""

import json
import time
from pathlib import Path

import pytest

import kdlandscape as kdl
from kdlandscape.cubes.seals import seal
from tests.browser import lab
from tests.widgets.cubes import study_cube
from tests.widgets.hostile import CORPUS


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    (folder / "runs" / "demo").mkdir(parents=True)
    study_cube().to_netcdf(folder / "runs" / "demo" / "cube.nc")
    seal(folder / "runs" / "demo" / "cube.nc")
    lab.copy_notebook(folder, num_train=500, epochs=2, width=32, num_points=129)
    return folder


@pytest.fixture(scope="module")
def server(root):
    """Serve the folder; yields a function from a notebook's name to its address."""
    with lab.jupyterlab(root, lab.environment(root / "home", root / "runs")) as address:
        yield address


@pytest.fixture(scope="module")
def notebook(server, watch):
    """Open the notebook and run all its cells."""
    watched = watch()
    lab.run_all(watched.page, server("explore.ipynb"))
    watched.page.locator(".kdl-board").first.wait_for()
    return watched


def slider(page, name):
    return page.locator(".widget-hslider", has_text=name).first.locator(".noUi-handle")


def press(page, name):
    page.locator("button", has_text=name).first.click()


def see(page, board):
    page.locator(".kdl-board").nth(board).evaluate("(board) => board.parentElement.scrollIntoView()")


def test_every_cell_of_the_notebook_runs_and_both_boards_draw(notebook):
    page = notebook.page
    page.wait_for_function("() => document.querySelectorAll('.kdl-board').length === 2")
    for board in (0, 1):
        lab.wait_redraw(page, 0, board)
    see(page, 0)
    notebook.shoot("explore")


def test_moving_a_slider_changes_the_picture_and_what_it_says(notebook):
    page = notebook.page
    before, serial = lab.picture_of(page), lab.serial_of(page)
    slider(page, "λ").press("ArrowRight")
    lab.wait_redraw(page, serial)
    assert lab.picture_of(page) != before
    assert page.locator(".kdl-board figcaption").first.inner_text().endswith("λ = 0.1")


def test_a_click_on_the_plane_moves_the_lines_and_the_readout(notebook):
    page = notebook.page
    before, serial = lab.picture_of(page, 2), lab.serial_of(page)
    page.locator(".kdl-board canvas").first.click(position={"x": 120, "y": 100})
    lab.wait_redraw(page, serial)
    assert lab.picture_of(page, 2) != before
    page.mouse.move(5, 5)
    said = page.locator(".kdl-board output").first.inner_text()
    x, y = (float(part.split("=")[1]) for part in said.split(":")[0].split(","))
    loss = float(said.split(": ")[1].split()[0])
    assert loss == pytest.approx((x - 0.1) ** 2 + y**2 + 0.01, rel=1e-3)


def test_the_keyboard_moves_the_point_and_shows_where_it_is(notebook):
    page = notebook.page
    canvas = page.locator(".kdl-board canvas").first
    slider(page, "λ").focus()
    for _ in range(3):  # the slider's own number takes the focus first
        page.keyboard.press("Tab")
        if canvas.evaluate("(canvas) => canvas === document.activeElement"):
            break
    assert canvas.evaluate("(canvas) => canvas === document.activeElement")
    assert canvas.evaluate("(canvas) => getComputedStyle(canvas).outlineStyle") == "solid"
    said, serial = page.locator(".kdl-board output").first.inner_text(), lab.serial_of(page)
    page.keyboard.press("ArrowUp")
    lab.wait_redraw(page, serial)
    assert page.locator(".kdl-board output").first.inner_text() != said
    turned = lab.picture_of(page, 1)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    assert lab.picture_of(page, 1) != turned


def test_a_click_on_a_curve_goes_to_its_cell(notebook):
    page = notebook.page
    serial = lab.serial_of(page)
    curve = page.locator(".kdl-board canvas").nth(4)
    box = curve.bounding_box()
    curve.click(position={"x": box["width"] / 2, "y": 120})
    lab.wait_redraw(page, serial)
    where = page.locator(".kdl-board figcaption").first.inner_text()
    assert 0.3 <= float(where.split("λ = ")[1]) <= 0.7


def drag(page, board, start, end):
    """Drag over a board's first panel, from one place to another, as shares of its width and height."""
    canvas = page.locator(".kdl-board").nth(board).locator("canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    (x0, y0), (x1, y1) = ((box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end))
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2)
    page.mouse.move(x1, y1)
    page.mouse.up()


def test_a_drag_on_the_plane_lays_a_line_and_delete_takes_it_away(notebook):
    page = notebook.page
    see(page, 0)
    drag(page, 0, (0.3, 0.3), (0.5, 0.6))
    titles = page.locator(".kdl-board").first.locator("figcaption:visible")
    titles.filter(has_text="loss from (").wait_for()
    assert titles.filter(has_text="curvature from (").count() == 1
    notebook.shoot("line")
    page.locator(".kdl-board canvas").first.press("Delete")
    titles.filter(has_text="loss from (").wait_for(state="hidden")


def test_a_cell_without_a_run_says_so(notebook):
    page = notebook.page
    serial = lab.serial_of(page)
    press(page, "scaled")
    lab.wait_redraw(page, serial)
    serial = lab.serial_of(page)
    slider(page, "seed").press("End")
    lab.wait_redraw(page, serial)
    said = page.locator(".kdl-board .kdl-message").first
    assert said.inner_text().startswith("missing: no run has filled seed = 2, learning-rate policy = scaled")
    notebook.shoot("missing")
    press(page, "constant")
    serial = lab.serial_of(page)
    slider(page, "seed").press("Home")
    lab.wait_redraw(page, serial)


def test_two_cells_are_compared_and_the_story_is_told(notebook):
    page = notebook.page
    for name, count in {"Compare": 5, "At a glance": 3, "λ story": 7}.items():
        serial = lab.serial_of(page)
        press(page, name)
        lab.wait_redraw(page, serial)
        shown = page.locator(".kdl-board").first.locator("figure:visible")
        assert shown.count() == count
        lab.wait_drawn(page)
        notebook.shoot(name.split()[-1].lower())
    serial, before = lab.serial_of(page), [lab.picture_of(page, panel) for panel in range(7)]
    slider(page, "λ").press("ArrowRight")
    lab.wait_redraw(page, serial)
    after = [lab.picture_of(page, panel) for panel in range(7)]
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_export_writes_the_pdf_that_the_preview_showed(notebook, root):
    page = notebook.page
    page.locator("text=Figure preview").first.click()
    preview = page.locator(".kdl-preview").first
    preview.locator("button", has_text="Preview").click()
    preview.locator(".kdl-picture img, img.kdl-picture").wait_for(timeout=60_000)
    preview.locator("button", has_text="Export").click()
    preview.locator("text=wrote").wait_for(timeout=60_000)
    preview.scroll_into_view_if_needed()
    notebook.shoot("paper")
    assert (root / "figures" / "board.pdf").read_bytes().startswith(b"%PDF")
    assert (root / "figures" / "board.png").stat().st_size > 10_000


def test_cancel_stops_a_live_computation_within_a_second(notebook):
    page = notebook.page
    see(page, 1)
    live = page.locator(".kdl-controls", has=page.locator("button[title=Compute]"))
    for _ in range(5):  # other tests load the machine now and then
        live.locator("button[title=Compute]").click()
        page.wait_for_function("() => document.querySelectorAll('.kdl-board')[1].dataset.busy === 'computing'")
        live.locator("text=/computing: [1-9]\\d* of 16641 points/").wait_for()
        began = time.monotonic()
        live.locator("button", has_text="Cancel").click()
        live.locator("text=/cancelled at \\d+ of 16641 points/").wait_for()
        took = time.monotonic() - began
        stopped = live.locator("text=/cancelled at/").inner_text()
        page.wait_for_function("() => document.querySelectorAll('.kdl-board')[1].dataset.busy.startsWith('cancelled')")
        assert live.locator("text=/cancelled at/").inner_text() == stopped
        if took < 1:
            break
    assert took < 1, took
    print(f"cancel took {took:.2f} s: {stopped}")


def test_a_point_of_the_live_surface_has_loss_metrics_and_eigenvalues(notebook):
    page = notebook.page
    live = page.locator(".kdl-controls", has=page.locator("button[title=Compute]"))
    page.locator(".kdl-board").nth(1).locator("canvas").first.click(position={"x": 150, "y": 100})
    page.mouse.move(5, 5)
    page.locator("text=/x = .*: loss = .*, accuracy = /").wait_for()
    live.locator("button", has_text="Top eigenvalues").click()
    page.locator(".kdl-board").nth(1).locator("figcaption", has_text="top eigenvalues").wait_for()
    notebook.shoot("live")


def test_a_line_on_the_live_surface_is_exact(notebook):
    page = notebook.page
    drag(page, 1, (0.3, 0.3), (0.5, 0.5))
    board = page.locator(".kdl-board").nth(1)
    board.locator("figcaption", has_text="curvature from (").wait_for(timeout=60_000)
    said = board.locator("output:visible").all_inner_texts()
    assert "exact at 33 points of the line" in said
    assert "Hessian product u'Hu, exact at 33 points of the line" in said
    notebook.shoot("live-line")


def test_keep_gives_the_dataset_a_file_and_the_code_that_opens_it(notebook, root):
    page = notebook.page
    live = page.locator(".kdl-controls", has=page.locator("button[title=Compute]"))
    live.locator("button", has_text="Keep and save").click()
    live.locator("text=/kept\\[0\\], and surface.nc/").wait_for()
    with kdl.open_cube(root / "surface.nc") as cube:
        assert {"loss", "accuracy"} <= set(cube.data_vars)
    live.locator("text=Code of the kept surface").click()
    code = live.locator("pre:visible").inner_text()
    assert 'cube = kdl.open_cube("surface.nc")' in code
    assert "variable='loss'" in code
    assert "line=(" in code
    live.locator("text=Code of the kept surface").scroll_into_view_if_needed()
    notebook.shoot("live-kept")


def test_the_dark_theme_redraws_in_its_own_colours(notebook):
    page = notebook.page
    command = "() => { window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'}); }"
    see(page, 0)
    before = lab.picture_of(page, 3)
    page.evaluate(command)
    page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
    page.wait_for_function(
        "(before) => document.querySelectorAll('.kdl-board')[0].querySelectorAll('canvas')[3].toDataURL() !== before",
        arg=before,
    )
    notebook.shoot("dark")


def test_a_notebook_without_its_kernel_shows_pictures(root, server, notebook, watch):
    page = notebook.page
    see(page, 0)
    stands_in = ".jp-OutputArea-child:has(.jp-RenderedImage img)"
    assert page.locator(stands_in).count() == 2
    assert not any(one.is_visible() for one in page.locator(stands_in).all())
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
    saved = json.loads((root / "explore.ipynb").read_text(encoding="utf-8"))
    (root / "reopened.ipynb").write_text(json.dumps(saved), encoding="utf-8")
    again = watch()
    again.page.goto(server("reopened.ipynb"))
    again.page.locator(stands_in).first.wait_for(timeout=60_000)
    again.page.locator(stands_in).first.scroll_into_view_if_needed()
    again.page.wait_for_function(lab.READY, timeout=60_000)
    lab.wait_drawn(again.page)
    assert again.page.locator(stands_in).first.is_visible()
    assert again.page.locator(".kdl-board").count() == 0
    again.shoot("reopened")


def test_no_console_error_and_no_request_left_the_machine(notebook):
    notebook.assert_quiet()


HOSTILE = """
import sys
sys.path.insert(0, {folder!r})
import ipywidgets as ipw
import numpy as np
import kdlandscape as kdl
from tests.widgets.hostile import CORPUS, hostile_cube
explorers = [kdl.explore(hostile_cube(text), view="story") for text in CORPUS]
def fail(text):
    def evaluate(thetas):
        raise RuntimeError(text)
    return evaluate
lives = [kdl.explore_plane(fail(text), {{text: np.eye(2, 3)}}, origin=np.zeros(3), num=3) for text in CORPUS]
for text, one in zip(CORPUS, explorers):
    one.preview.path.value = one.page_path.value = f"explore.ipynb/{{text}}"
    one.preview.write()
    one.page_button.click()
    one.tools.selected_index = 0
    one.preview.said.add_class("hostile-said")
ipw.VBox([*explorers, *lives])
"""


def test_hostile_names_run_nothing_in_the_explorer_and_its_preview(root, server, watch):
    lab.write_notebook(root / "hostile.ipynb", HOSTILE.format(folder=str(Path(__file__).parents[2])))
    watched = watch()
    page = watched.page
    lab.run_all(page, server("hostile.ipynb"))
    count = 2 * len(CORPUS)
    page.wait_for_function("(n) => document.querySelectorAll('.kdl-board[data-serial]').length === n", arg=count)
    page.wait_for_function("(n) => document.querySelectorAll('.hostile-said .kdl-bad').length === n", arg=len(CORPUS))
    for board in (0, len(CORPUS) - 1):
        see(page, board)
        page.locator(".kdl-board").nth(board).locator("canvas").first.hover(position={"x": 90, "y": 90})
    lab.wait_drawn(page)
    lab.wait_failed_pictures(page)
    watched.shoot("hostile")
    watched.assert_unharmed()
    watched.assert_quiet()
