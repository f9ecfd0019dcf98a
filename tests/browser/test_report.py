"""A report in a real browser: without a kernel, without a network, at the widths of a window and of a screen."""

import pytest

import kdlandscape as kdl
from tests.browser import lab
from tests.browser.conftest import ARTEFACTS
from tests.widgets.cubes import study_cube
from tests.widgets.hostile import CORPUS, hostile_cube


@pytest.mark.parametrize(("scheme", "width"), [("light", 900), ("dark", 1600)])
def test_a_report_opens_without_kernel_and_network_answers_first_and_its_board_works(tmp_path, watch, scheme, width):
    path = kdl.write_report(study_cube(num_lambda=3, num=11, seeds=2), tmp_path / "report.html")
    watched = watch(offline=True, color_scheme=scheme)
    page = watched.page
    page.set_viewport_size({"width": width, "height": 1000})
    page.goto(path.as_uri())
    answer = page.locator("section", has=page.locator("h2", has_text="Answer")).bounding_box()
    assert answer["y"] < 400  # on the first screen
    picture = page.locator("section > figure img").first
    assert picture.evaluate("image => image.complete && image.naturalWidth") > 500
    page.locator(".kdl-board canvas").first.wait_for()
    before = lab.picture_of(page)
    page.locator("#sliders input").first.press("ArrowRight")
    assert lab.picture_of(page) != before
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    page.screenshot(path=ARTEFACTS / f"report-{scheme}.png", full_page=True)
    watched.assert_quiet()


def test_hostile_names_run_nothing_in_a_report(tmp_path, watch):
    watched = watch()
    path = kdl.write_report(hostile_cube(" ".join(CORPUS)), tmp_path / "report.html")
    watched.page.goto(path.as_uri())
    watched.page.locator(".kdl-board canvas").first.wait_for()
    watched.assert_unharmed()
    watched.assert_quiet()


def test_a_report_without_scripts_shows_a_picture_of_the_board(tmp_path, watch):
    path = kdl.write_report(study_cube(num_lambda=2, num=5, seeds=1), tmp_path / "report.html")
    watched = watch(java_script_enabled=False)
    watched.page.goto(path.as_uri())
    assert watched.page.locator("noscript img, section img").count() >= 2
    watched.assert_quiet()
