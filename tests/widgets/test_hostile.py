"""No text becomes markup, a formula or code.  The browser itself is asked in tests/browser."""

import ast
import json
import re
from html.parser import HTMLParser

import ipywidgets as ipw
import numpy as np
import pytest

import kdlandscape as kdl
from kdlandscape.widgets import picture
from tests.widgets.hostile import CORPUS, hostile_cube

OURS = {"html", "head", "meta", "title", "style", "body", "h1", "div", "details", "summary", "pre", "script", "span"}


class Elements(HTMLParser):
    """Collects the elements of a page, the attributes they have, and what stands in its scripts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.attributes = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.attributes |= {name for name, _ in attrs}


def html_of(widget):
    """Yield the markup of every HTML widget inside another one."""
    if isinstance(widget, ipw.HTML):
        yield widget.value
    for child in getattr(widget, "children", ()):
        yield from html_of(child)


@pytest.mark.parametrize("text", CORPUS)
def test_a_saved_page_has_no_element_but_its_own(text, tmp_path):
    explorer = kdl.explore(hostile_cube(text), view="story")
    page = explorer.save_page(tmp_path / "page.html").read_text(encoding="utf-8")
    parsed = Elements(page)
    assert set(parsed.found) <= OURS
    assert parsed.found.count("script") == 2
    assert parsed.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "id", "type"}
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
    assert "<" not in data
    assert json.loads(data)["scenes"]


@pytest.mark.parametrize("text", CORPUS)
def test_what_a_widget_says_is_escaped(text, tmp_path):
    explorer = kdl.explore(hostile_cube(text))
    (tmp_path / "file").write_text("")
    explorer.page_path.value = explorer.preview.path.value = str(tmp_path / "file" / text.replace("\0", ""))
    explorer.page_button.click()
    explorer.preview.write()

    def evaluate(thetas):
        raise RuntimeError(text)

    live = kdl.explore_plane(evaluate, {text: np.eye(2, 3)}, origin=np.zeros(3), num=3)
    live.live.wait()
    live.path.value = str(tmp_path / "file" / "surface.nc")
    live.keep_surface()
    live.live.close()
    said = [value for widget in (explorer, live) for value in html_of(widget) if value]
    assert len(said) >= 3
    for value in said:
        assert Elements(value).found == ["span"]
        assert re.fullmatch(r"<span class='kdl-(bad|said)'>[^<>]*</span>", value)


@pytest.mark.parametrize("text", CORPUS)
def test_the_code_of_a_view_is_code_whatever_the_names(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cube = hostile_cube(text)
    cube.encoding["source"] = str(tmp_path / f'a"{text}.nc')
    explorer = kdl.explore(cube)
    for code in (explorer.code, explorer.preview.code.code):
        calls = [node.func.attr for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
        assert set(calls) <= {"open_cube", "explore", "figure", "venue_style", "export"}


@pytest.mark.parametrize("text", [CORPUS[0], CORPUS[11], CORPUS[14]])
def test_a_picture_shows_names_as_they_are(text):
    assert picture.png(*kdl.explore(hostile_cube(text), view="story").shown(), dpi=30).startswith(b"\x89PNG")
