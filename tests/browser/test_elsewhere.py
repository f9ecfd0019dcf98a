"""The explorer under Voila, and as a page without a kernel."""

import pytest

import kdlandscape as kdl
from tests.browser import lab
from tests.widgets.cubes import study_cube


def test_voila_shows_the_explorer_and_its_sliders_work(tmp_path, watch):
    study_cube(seeds=1).to_netcdf(tmp_path / "cube.nc")
    cells = ["import kdlandscape as kdl", "kdl.explore(kdl.open_cube('cube.nc'))"]
    notebook = lab.write_notebook(tmp_path / "page.ipynb", *cells)
    with lab.voila(notebook, lab.environment(tmp_path / "home", tmp_path)) as address:
        watched = watch()
        page = watched.page
        page.goto(address)
        page.locator(".kdl-board canvas").first.wait_for(timeout=60_000)
        lab.wait_redraw(page, 0)
        before, serial = lab.picture_of(page), lab.serial_of(page)
        page.locator(".widget-hslider", has_text="init_lambda").locator(".noUi-handle").press("ArrowRight")
        lab.wait_redraw(page, serial)
        assert lab.picture_of(page) != before
        watched.shoot("voila")
        watched.assert_quiet()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_saved_page_opens_without_kernel_and_network_and_its_slider_works(tmp_path, watch, scheme):
    explorer = kdl.explore(study_cube(num_lambda=5), view="story")
    path = explorer.save_page(tmp_path / "view.html")
    watched = watch(offline=True, color_scheme=scheme)
    page = watched.page
    page.goto(path.as_uri())
    page.locator(".kdl-board canvas").first.wait_for()
    before = lab.picture_of(page)
    page.locator("input[type=range]").press("ArrowRight")
    assert page.locator("#cell").inner_text() == "0.25"
    assert lab.picture_of(page) != before
    curve = page.locator(".kdl-board canvas").nth(5)
    curve.click(position={"x": curve.bounding_box()["width"] - 20, "y": 100})
    assert page.locator("#cell").inner_text() == "1"
    watched.shoot(f"page-{scheme}")
    watched.assert_quiet()
