"""Every text that a board draws is seen whole and apart from the others: measured on the canvases of a real browser."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.path import Path as Outline

import kdlandscape as kdl
from tests.studies.test_start_angles import cube as start_angles_cube
from tests.synthetic import basins_cube, compared_cube
from tests.widgets.cubes import spectra_cube, study_cube

CUBES = {
    "demo": lambda: study_cube(num_lambda=5, num=21),
    "spectra": spectra_cube,
    "basins": basins_cube,
    "compare": compared_cube,
    "angles": start_angles_cube,
}
VIEWS = ("explore", "story", "compare", "glance")
SHRUNK = 0.8  # of a text's box: descenders may touch the line below
# Each text with the corners of its box in pixels of the canvas; a board that is drawn anew begins with setTransform.
RECORD = """() => {
  const texts = new Map(), proto = CanvasRenderingContext2D.prototype;
  const { fillText, setTransform } = proto;
  proto.setTransform = function (...matrix) {
    texts.set(this.canvas, []);
    return setTransform.apply(this, matrix);
  };
  proto.fillText = function (text, x, y, ...rest) {
    const size = this.measureText(text), m = this.getTransform();
    const [left, right] = [x - size.actualBoundingBoxLeft, x + size.actualBoundingBoxRight];
    const [top, bottom] = [y - size.actualBoundingBoxAscent, y + size.actualBoundingBoxDescent];
    const corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
      .map(([u, v]) => [m.a * u + m.c * v + m.e, m.b * u + m.d * v + m.f]);
    const list = texts.get(this.canvas);
    if (list && text.trim()) list.push([text, corners]);
    return fillText.call(this, text, x, y, ...rest);
  };
  window.drawnTexts = () => [...texts].filter(([canvas]) => canvas.isConnected && canvas.clientWidth)
    .map(([canvas, list]) => ({ label: canvas.getAttribute("aria-label"), size: [canvas.width, canvas.height], list }));
}"""


def shrunk(corners):
    corners = np.asarray(corners)
    middle = corners.mean(0)
    return Outline([*(middle + SHRUNK * (corners - middle)), middle], closed=True)


def faults(canvas):
    """Yield what a reader could not read on a canvas."""
    width, height = canvas["size"]
    for text, corners in canvas["list"]:
        x, y = np.transpose(corners)
        if x.min() < -1 or y.min() < -1 or x.max() > width + 1 or y.max() > height + 1:
            yield f"{text!r} is cut off"
    for (one, first), (two, second) in combinations(canvas["list"], 2):
        if shrunk(first).intersects_path(shrunk(second), filled=True):
            yield f"{one!r} lies over {two!r}"


@pytest.mark.parametrize("name", CUBES)
def test_every_text_of_a_board_is_seen_whole_and_apart_from_the_others(name, tmp_path, watch):
    cube, watched = CUBES[name](), watch(offline=True)
    watched.page.add_init_script(f"({RECORD})()")
    found, drawn = {}, 0
    for view in VIEWS:
        path = kdl.explore(cube, view=view).save_page(tmp_path / f"{view}.html")
        for width in (900, 1600):
            watched.page.set_viewport_size({"width": width, "height": 1000})
            watched.page.goto(path.as_uri())
            watched.page.locator(".kdl-board").first.wait_for()
            for canvas in watched.page.evaluate("() => window.drawnTexts()"):
                drawn += len(canvas["list"])
                if wrong := list(faults(canvas)):
                    found[view, width, canvas["label"][:60]] = wrong
    assert drawn > 100
    assert not found, "\n".join(f"{place}: {wrong}" for place, wrong in found.items())
    watched.assert_quiet()


def test_a_text_over_another_or_beyond_its_canvas_is_found():
    box = [[0, 0], [50, 0], [50, 10], [0, 10]]
    beside = [[60, 0], [90, 0], [90, 10], [60, 10]]
    across = [[20, -20], [24, -20], [24, 40], [20, 40]]
    told = list(faults({"size": [80, 50], "list": [["loss", box], ["λ", beside], ["tick", across]]}))
    assert told == ["'λ' is cut off", "'tick' is cut off", "'loss' lies over 'tick'"]
