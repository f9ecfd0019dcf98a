"""One Chromium for all browser tests; every page notes its console errors and where its requests go."""

import importlib.util
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ARTEFACTS = Path(__file__).parent / "artefacts"
NEEDED = ("playwright", "jupyterlab", "notebook", "anywidget", "voila", "marimo")


@pytest.fixture(scope="session")
def chromium():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    absent += [] if path else ["chromium"]
    if absent:
        message = f"browser tests need {', '.join(absent)}: pip install '.[test]', apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    ARTEFACTS.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page with its console errors and the machines it asked for something."""

    def __init__(self, browser, **settings):
        self.context = browser.new_context(viewport={"width": 1280, "height": 1000}, **settings)
        self.page = self.context.new_page()
        self.page.set_default_timeout(90_000)  # a machine with other work is several times slower
        self.errors, self.outside, self.asked = [], set(), []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("websocket", lambda socket: self._asked(socket.url))

    def _said(self, message):
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _asked(self, url):
        self.asked.append(url)
        if urlsplit(url).hostname not in ("127.0.0.1", "", None):  # a file and data inside the page have no host
            self.outside.add(url)

    def shoot(self, name):
        self.page.screenshot(path=ARTEFACTS / f"{name}.png")

    def assert_quiet(self):
        assert not self.errors
        assert not self.outside

    def assert_unharmed(self):
        """Assert that no name became a script, an element or a request."""
        assert self.page.evaluate("() => window.hacked") is None
        harmful = "img[src=x], [onerror], [onload], [onfocus], [onmouseover], iframe[srcdoc], a[href^=javascript]"
        assert self.page.locator(harmful).count() == 0
        assert not [url for url in self.asked if "leak" in url or url.endswith("/x")]
        assert not self.outside


@pytest.fixture(scope="module")
def watch(chromium):
    """Make watched pages; they are closed after the module."""
    made = []

    def make(**settings):
        made.append(Watched(chromium, **settings))
        return made[-1]

    yield make
    for one in made:
        one.context.close()
