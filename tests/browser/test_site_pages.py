"""The site in a browser: light and dark, narrow and wide, its search, and its live pages."""

import functools
import http.server
import threading

import pytest

from tests.browser.conftest import ARTEFACTS


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    handler = functools.partial(Quiet, directory=site / "html")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1600), ("dark", 900)])
def test_pages_fit_their_window_in_both_schemes_and_ask_no_other_machine(address, watch, scheme, width):
    watched = watch(color_scheme=scheme)
    watched.page.set_viewport_size({"width": width, "height": 1000})
    for page in ("index", "gallery/index", "gallery/basins", "api/kdl", "glossary", "benchmarks/goals", "live"):
        watched.page.goto(f"{address}/{page}.html")
        watched.page.locator("h1").first.wait_for()
        watched.page.screenshot(path=ARTEFACTS / f"site-{page.replace('/', '-')}-{scheme}.png")
        assert watched.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), page
    background = watched.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) > 380) == (scheme == "light")
    watched.assert_quiet()


def test_no_page_asks_another_machine_for_anything(site, address, watch):
    watched = watch()
    pages = sorted(path.relative_to(site / "html").as_posix() for path in (site / "html").rglob("*.html"))
    for page in pages:
        watched.page.goto(f"{address}/{page}")
    assert len(pages) > 30
    watched.assert_quiet()


def test_a_formula_is_drawn_and_a_search_finds_the_page(address, watch):
    watched = watch()
    watched.page.goto(f"{address}/api/kdl.html")
    formula = watched.page.locator("math").first
    formula.scroll_into_view_if_needed()
    assert formula.bounding_box()["width"] > 20
    watched.page.goto(f"{address}/search.html?q=barrier")
    watched.page.locator("#search-results li a").first.wait_for()
    assert watched.page.locator("#search-results li", has_text="barrier").count() > 1
    watched.assert_quiet()


@pytest.mark.parametrize("study", ["demo", "basins"])
def test_a_live_page_works_without_a_kernel(address, watch, study):
    watched = watch()
    watched.page.goto(f"{address}/live.html")
    frame = watched.page.frame_locator(f"iframe[src={study}_explorer\\.html]")
    board = frame.locator(".kdl-board canvas").first
    board.wait_for()
    sentence = frame.locator(".kdl-sentence")
    before = sentence.inner_text()
    frame.locator("#sliders input").first.press("End")
    assert sentence.inner_text() != before
    watched.assert_quiet()
