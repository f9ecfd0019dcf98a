"""Pictures stay as they were looked at: each figure against a small kept one, and the README's against its data.

``python -m tests.figures.test_pictures`` draws the kept ones anew; look at them before they are committed.
"""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from matplotlib.testing.compare import compare_images

from kdlandscape import figures
from kdlandscape.cubes.store import open_cube
from tests.figures.test_readable import FIGURES
from tests.readme_picture import DATA, PICTURE, redraw

KEPT = Path(__file__).parent / "baselines"
LOOKED_AT = [name for name in FIGURES if name != "claims"]  # which has one more panel for each new claim
TOLERANCE = 3.0  # root mean square over pixels, of 255: less than one line of a figure, more than another FreeType


def picture(name, folder, change=lambda figure: None):
    """Draw a figure small, in fonts that come with matplotlib; return the file."""
    path = folder / f"{name.replace(' ', '_')}.png"
    with figures.venue_style(), mpl.rc_context({"font.family": "serif", "font.serif": ["STIXGeneral"]}):
        FIGURES[name]()
        figure = plt.gcf()
        change(figure)
        figure.savefig(path, dpi=50, metadata={"Software": None})
        plt.close(figure)
    return path


@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_figure_looks_as_it_did_when_it_was_looked_at(name, tmp_path):
    drawn = picture(name, tmp_path)
    assert compare_images(str(KEPT / drawn.name), str(drawn), TOLERANCE) is None


def test_a_figure_that_has_lost_a_line_is_seen(tmp_path):
    drawn = picture("init_lambda", tmp_path, lambda figure: figure.axes[2].lines[0].set_visible(False))
    assert compare_images(str(KEPT / drawn.name), str(drawn), TOLERANCE) is not None


def test_the_picture_of_the_readme_is_what_its_command_draws_from_its_data(tmp_path):
    with open_cube(DATA) as data:
        drawn = redraw(data, tmp_path)
    assert compare_images(str(PICTURE), str(drawn), TOLERANCE) is None


if __name__ == "__main__":
    KEPT.mkdir(exist_ok=True)
    for one in LOOKED_AT:
        print(picture(one, KEPT))
