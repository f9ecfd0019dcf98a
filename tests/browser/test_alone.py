"""The board with its controls in a front end of forty lines that knows anywidget, and no ipywidgets and no Jupyter."""

import json
import re
from base64 import b64encode

import pytest

import kdlandscape as kdl
from kdlandscape.widgets.lone_board import LoneBoard
from tests.browser.conftest import ARTEFACTS
from tests.synthetic import basins_cube
from tests.widgets.cubes import study_cube
from tests.widgets.hostile import CORPUS, hostile_cube

HOST = """<!DOCTYPE html><html style="color-scheme: light dark"><body><div id="here"></div></body></html>"""
# What anywidget asks of a front end: a model with get, set, save_changes, on and off, and an element to render into.
MOUNT = """async ([esm, css, state]) => {
  const hooks = {}, changed = {};
  const model = {
    get: (name) => state[name],
    set: (name, value) => { state[name] = changed[name] = value; },
    on: (name, hook) => { (hooks[name] = hooks[name] || []).push(hook); },
    off: () => {},
    save_changes: async () => {
      await new Promise((later) => setTimeout(later, 100)); // what is set meanwhile goes in one message, as in marimo
      if (!Object.keys(changed).length) return;
      const sent = JSON.stringify(changed);
      for (const name of Object.keys(changed)) delete changed[name];
      const answer = JSON.parse(await window.kernel(sent));
      for (const [name, value] of Object.entries(answer)) {
        if (JSON.stringify(state[name]) === JSON.stringify(value)) continue;
        state[name] = value;
        for (const hook of hooks[`change:${name}`] || []) hook();
      }
    },
  };
  const style = document.createElement("style");
  style.textContent = css;
  document.head.append(style);
  const module = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  module.default.render({ model, el: document.getElementById("here") });
}"""


MOVE = "(slider) => { slider.value = Number(slider.value) + 1; slider.dispatchEvent(new Event('input')); }"


def state_of(board):
    """Return the traits that a front end sees, as it would get them: bytes travel as base64 here."""
    seen = {name: getattr(board, name) for name in ("scene", "forms", "asked", "answered", "picked", "angle", "code")}
    return json.loads(json.dumps(seen, default=lambda value: b64encode(value).decode()))


@pytest.fixture
def host(watch):
    """Return a function that shows a board on a page and joins the two."""

    def show(board: LoneBoard, **settings):
        watched = watch(**settings)
        page = watched.page

        def kernel(sent):
            for name, value in json.loads(sent).items():
                setattr(board, name, value)
            return json.dumps(state_of(board))

        page.expose_function("kernel", kernel)
        page.set_content(HOST)
        page.evaluate(MOUNT, [board._esm, board._css, state_of(board)])
        page.locator(".kdl-board[data-serial] canvas").first.wait_for()
        return watched

    return show


def control(page, label):
    named = page.locator("span", has_text=re.compile(f"^{label}$"))
    return page.locator(".kdl-forms label", has=named).locator("input, select")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1600), ("dark", 900)])
def test_every_control_works_without_ipywidgets(host, scheme, width, tmp_path):
    explorer = kdl.explore(study_cube(num_lambda=3, num=21, seeds=2))
    watched = host(explorer.alone(), color_scheme=scheme)
    page = watched.page
    page.set_viewport_size({"width": width, "height": 1000})
    titles = page.locator(".kdl-board figcaption:visible")
    control(page, "λ").press("ArrowRight")
    titles.filter(has_text="λ = 0.5").wait_for()
    assert explorer.state.at["init_lambda"] == 1
    page.locator(".kdl-forms button", has_text="scaled").click()
    titles.filter(has_text="learning-rate policy = scaled").wait_for()
    control(page, "line").select_option(label="teacher to student")
    titles.filter(has_text="loss from teacher to student").wait_for()
    page.locator(".kdl-board canvas").first.press("Delete")
    titles.filter(has_text="loss from teacher to student").wait_for(state="hidden")
    control(page, "mean over seeds").uncheck()
    page.locator(".kdl-alone pre", has_text="spread=False").wait_for(state="attached")
    assert explorer.state.spread is False
    page.screenshot(path=ARTEFACTS / f"alone-{scheme}.png", full_page=True)
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    page.locator(".kdl-forms button", has_text="λ story").click()
    page.locator(".kdl-forms button", has_text="▶").click()
    titles.filter(has_text="λ = 1").wait_for()
    page.locator("summary").click()
    page.locator(".kdl-code label", has_text="file").last.locator("input").fill(str(tmp_path / "view.html"))
    page.locator(".kdl-code button", has_text="Save HTML").click()
    page.locator("output", has_text="wrote").wait_for()
    assert (tmp_path / "view.html").exists()
    page.locator(".kdl-alone pre", has_text="view='story'").wait_for()
    watched.assert_quiet()


def test_no_answer_is_lost_where_a_front_end_sends_the_last_state_only(host, tmp_path):
    explorer = kdl.explore(study_cube(num_lambda=3, num=21, seeds=2))
    watched = host(explorer.alone())
    page = watched.page
    page.locator("summary").click()
    name = page.locator(".kdl-code label", has_text="file").last.locator("input")
    name.fill(str(tmp_path / "given.html"))
    control(page, "λ").evaluate(MOVE)
    titles = page.locator(".kdl-board figcaption:visible")
    titles.filter(has_text="λ = 0.5").wait_for()  # what was asked earlier has come back while the name stands unsent
    assert name.input_value() == str(tmp_path / "given.html")
    page.locator(".kdl-code button", has_text="Save HTML").click()  # leaves the field, so both answers go together
    page.locator("output", has_text="wrote").wait_for()
    assert [path.name for path in tmp_path.iterdir()] == ["given.html"]
    watched.assert_quiet()


def test_the_networks_of_a_study_are_chosen_by_a_click(host):
    explorer = kdl.explore(basins_cube(seeds=1), view="glance")
    watched = host(explorer.alone())
    graph = watched.page.locator(".kdl-board canvas").first
    graph.press("ArrowRight")
    watched.page.locator("figcaption", has_text="the plane through teacher, λ = 0.5").wait_for()
    assert explorer.state.trio == ("λ = 0.5",)
    watched.assert_quiet()


def test_hostile_names_run_nothing_in_its_controls(host):
    explorer = kdl.explore(hostile_cube(CORPUS[0]), view="story")
    watched = host(explorer.alone())
    for i, text in enumerate(CORPUS[1:4]):
        watched.page.evaluate(MOUNT, [LoneBoard._esm, "", state_of(kdl.explore(hostile_cube(text)).alone())])
        watched.page.locator(".kdl-alone").nth(i + 1).wait_for()
    watched.assert_unharmed()
    watched.assert_quiet()
