"""Series stay apart for eyes that see other colours, and in greyscale: by colour, or else by marker or dashes."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

from kdlandscape import figures
from tests.figures.test_readable import FIGURES

#: Of linear RGB, for full dichromacy: Machado, Oliveira & Fernandes 2009, table 1; and luminance for greyscale.
VISION = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "greyscale": [[0.2126, 0.7152, 0.0722]] * 3,
    "all colours": np.eye(3),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
APART = 8.0  # CIE 1976 difference in Lab; 2.3 is just noticeable side by side


def seen(color, vision):
    """The colour that an eye sees, in CIE Lab."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(np.array(VISION[vision]) @ linear, 0, 1) / XYZ.sum(1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def drawn(handle):
    """The line or the bar that a legend shows of a series."""
    if isinstance(handle, Line2D):
        return handle
    return (getattr(handle, "lines", None) and handle.lines[0]) or getattr(handle, "patches", [handle])[0]


def shape(handle):
    """What tells a series apart without any colour."""
    one = drawn(handle)
    if not isinstance(one, Line2D):
        return (getattr(one, "get_hatch", lambda: None)(),)
    return one.get_marker(), one.get_linestyle(), str(one._unscaled_dash_pattern), one.get_markerfacecolor() == "none"


def colour(handle):
    one = drawn(handle)
    if isinstance(one, Line2D):
        return one.get_color()
    return one.get_facecolor()[0] if np.ndim(one.get_facecolor()) > 1 else one.get_facecolor()


@pytest.mark.parametrize("name", FIGURES)
def test_series_of_one_figure_stay_apart(name):
    with figures.venue_style():
        FIGURES[name]()
    figure = plt.gcf()
    plt.close(figure)
    for ax in figure.axes:
        entries = dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
        for (one, a), (other, b) in combinations(entries.items(), 2):
            for vision in VISION:
                far = np.linalg.norm(seen(colour(a), vision) - seen(colour(b), vision))
                assert far > APART or shape(a) != shape(b), f"{one} and {other} look alike: {vision}"


def test_two_series_that_differ_by_red_and_green_alone_are_found():
    for vision, other in (("deuteranopia", "#a08000"), ("greyscale", "#595959")):
        far = np.linalg.norm(seen("#b35900", vision) - seen(other, vision))
        assert far < 3 * APART < np.linalg.norm(seen("#b35900", "all colours") - seen("#00b359", "all colours"))


@pytest.mark.parametrize("vision", VISION)
def test_the_colour_map_of_surfaces_keeps_its_order(vision):
    lightness = [seen(color, vision)[0] for color in plt.get_cmap("viridis")(np.linspace(0, 1, 32))]
    assert (np.diff(lightness) > 0).all()
