"""The explorer under Voila, and as a page without a kernel."""

import pytest

import kdlandscape as kdl
from tests.browser import lab
from tests.browser.conftest import ARTEFACTS
from tests.synthetic import basins_cube
from tests.widgets.cubes import study_cube
from tests.widgets.hostile import CORPUS, hostile_cube


def assert_reached_by_tab(page):
    """Assert that Tab alone comes to each picture, slider and fold of a page."""
    wanted = page.evaluate("""() => {
      window.reached = new Set();
      document.activeElement.blur();
      return document.querySelectorAll("#sliders input, figure:not([hidden]) canvas:not([hidden]), summary").length;
    }""")
    for _ in range(2 * wanted):
        page.keyboard.press("Tab")
        if page.evaluate("() => window.reached.add(document.activeElement).size") > wanted:
            break  # every one, and the document itself
    reached = page.evaluate("() => [...window.reached].filter((one) => one !== document.body).length")
    assert reached >= wanted, (reached, wanted)


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
        page.locator(".widget-hslider", has_text="λ").locator(".noUi-handle").press("ArrowRight")
        lab.wait_redraw(page, serial)
        assert lab.picture_of(page) != before
        watched.shoot("voila")
        own = "The getter for the shared module is not a function"  # of Voila, about the extensions of Notebook 7
        watched.errors = [error for error in watched.errors if not (own in error and "/voila/static/" in error)]
        watched.assert_quiet()


@pytest.mark.parametrize(("scheme", "width"), [("light", 900), ("dark", 1600)])
def test_a_saved_page_opens_without_kernel_and_network_and_its_sliders_work(tmp_path, watch, scheme, width):
    explorer = kdl.explore(study_cube(num_lambda=5), view="story")
    path = explorer.save_page(tmp_path / "view.html")
    watched = watch(offline=True, color_scheme=scheme)
    page = watched.page
    page.set_viewport_size({"width": width, "height": 1000})
    page.goto(path.as_uri())
    page.locator(".kdl-board canvas").first.wait_for()
    share, seed, policy = (page.locator("#sliders label").nth(i) for i in range(3))
    before = lab.picture_of(page)
    share.locator("input").press("ArrowRight")
    assert share.locator("output").inner_text() == "0.25"
    assert lab.picture_of(page) != before
    curve = page.locator(".kdl-board canvas").nth(5)
    curve.scroll_into_view_if_needed()
    box = curve.bounding_box()
    curve.click(position={"x": box["width"] - 20, "y": box["height"] / 2})
    assert share.locator("output").inner_text() == "1"
    policy.locator("input").press("End")
    seed.locator("input").press("End")
    assert page.locator(".kdl-board .kdl-message").first.inner_text().startswith("missing: no run has filled seed = 2")
    seed.locator("input").press("Home")
    assert page.locator(".kdl-sentence").inner_text().startswith("seed = 0, learning-rate policy = scaled, λ = 1")
    assert_reached_by_tab(page)
    large = page.locator(".kdl-board canvas").first.bounding_box()
    assert large["width"] > (600 if width == 1600 else 280)
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    watched.page.screenshot(path=ARTEFACTS / f"page-{scheme}.png", full_page=True)
    watched.assert_quiet()


def test_a_point_and_a_line_are_chosen_on_a_saved_page_by_pointer_and_by_keys(tmp_path, watch):
    watched = watch(offline=True)
    page = watched.page
    page.goto(kdl.explore(study_cube(num_lambda=3, num=21, seeds=1)).save_page(tmp_path / "view.html").as_uri())
    plane = page.locator(".kdl-board canvas").first
    said = page.locator(".kdl-board figure").first.locator("output")
    titles = page.locator(".kdl-board figcaption:visible")
    plane.click(position={"x": 150, "y": 90})
    page.mouse.move(2, 2)
    x, y = (float(part.split("=")[1]) for part in said.inner_text().split(":")[0].split(","))
    assert float(said.inner_text().split(": ")[1]) == pytest.approx((x**2 + y**2 + 0.01), rel=1e-3)
    box = plane.bounding_box()
    page.mouse.move(box["x"] + 110, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 110, steps=3)
    page.mouse.up()
    assert titles.nth(2).inner_text().startswith("from (")
    watched.shoot("page-line")
    plane.press("Delete")
    assert not [title for title in titles.all_inner_texts() if title.startswith("from (")]
    plane.press("a")
    for _ in range(3):
        plane.press("ArrowRight")
    plane.press("b")
    start, end = titles.nth(2).inner_text().removeprefix("from ").split(" to ")
    assert [float(part) for part in start.strip("()").split(",")] == pytest.approx([x, y], abs=0.01)
    assert float(end.strip("()").split(",")[0]) == pytest.approx(x + 0.3, abs=0.01)
    watched.assert_quiet()


def test_a_study_at_a_glance_is_walked_by_pointer_and_by_keys(tmp_path, watch):
    watched = watch(offline=True)
    page = watched.page
    page.goto(kdl.explore(basins_cube(seeds=1), view="glance").save_page(tmp_path / "glance.html").as_uri())
    graph = page.locator(".kdl-board canvas").first
    partner = page.locator("#sliders label", has_text="partner")
    graph.press("ArrowRight")
    assert partner.locator("output").inner_text() == "λ = 0.5"
    before, box = lab.picture_of(page), graph.bounding_box()
    places = {"x": 0.5 + 0.5 * 0.86, "y": 0.5 - 0.5 * 0.5}  # outside all nodes: nothing happens
    graph.click(position={"x": box["width"] * places["x"], "y": box["height"] * places["y"]})
    assert lab.picture_of(page) == before
    graph.press("ArrowRight")
    assert partner.locator("output").inner_text() == "independent"
    assert page.locator(".kdl-message:visible").inner_text().startswith("This cube holds no plane through teacher")
    watched.shoot("glance")
    watched.assert_quiet()


def test_hostile_names_run_nothing_on_a_saved_page(tmp_path, watch):
    watched = watch()
    for i, text in enumerate(CORPUS):
        path = kdl.explore(hostile_cube(text), view="story").save_page(tmp_path / f"{i}.html")
        watched.page.goto(path.as_uri())
        watched.page.locator(".kdl-board canvas").first.wait_for()
        watched.page.locator("#sliders input").first.press("ArrowRight")
        watched.page.locator(".kdl-board canvas").first.hover(position={"x": 120, "y": 120})
        watched.assert_unharmed()
    watched.assert_quiet()


def test_the_policy_of_a_saved_page_stops_a_script_that_someone_adds(tmp_path, watch):
    path = kdl.explore(study_cube(num_lambda=2, num=5)).save_page(tmp_path / "view.html")
    added = "<script>window.hacked = 1</script><img src='x.png' onerror='window.hacked = 2'>"
    path.write_text(path.read_text(encoding="utf-8").replace("<h1>", f"{added}<h1>"), encoding="utf-8")
    watched = watch()
    watched.page.goto(path.as_uri())
    watched.page.locator(".kdl-board canvas").first.wait_for()
    assert watched.page.evaluate("() => window.hacked") is None
    assert any("Content Security Policy" in error for error in watched.errors)
