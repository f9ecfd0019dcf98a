"""Whatever a figure shows can be read from the page alone: every figure is rendered, and its artists are looked at."""

import re
from functools import cache
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.axis import Axis, Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.legend import Legend
from matplotlib.text import Text

from kdlandscape import figures
from kdlandscape.cubes.spectra import density
from kdlandscape.figures.grids import inches_of, points_of
from kdlandscape.studies import CLAIMS, verdicts
from tests.figures.test_claim_figures import study
from tests.figures.test_spectra import rules
from tests.figures.test_training_path import recorded
from tests.studies.test_function_priors_kept import cube as function_prior_cube
from tests.studies.test_generalization import cube as generalization_cube
from tests.studies.test_mechanics_compared import cube as mechanics_cube
from tests.studies.test_posterior_distances import cube as posterior_cube
from tests.studies.test_shared_starts import cube as shared_starts_cube
from tests.studies.test_start_angles import cube as start_angles_cube
from tests.studies.test_subliminal import cube as subliminal_cube
from tests.synthetic import basins_cube, compared_cube, demo_cube
from tests.widgets.cubes import other_cube, study_cube


def plane():
    return demo_cube().isel(seed=0, lr_policy=0, init_lambda=0)


def draw_plane():
    figures.plane(plane()["plane_loss"] + 1, points=plane()["plane_points"])


def draw_fidelity():
    cube = demo_cube()
    figures.fidelity_accuracy(cube.assign(student_accuracy=0.5 * cube["agreement"]), hue="init_lambda")


def draw_many_cells():
    values = np.random.default_rng(0).random((17, 17))
    figures.heatmap(xr.DataArray(values, {"x": range(17), "y": range(17)}, ["x", "y"], "loss"), "x", "y")


FIGURES = {
    "agreement": lambda: figures.agreement(study()),
    "basins": lambda: figures.basins(basins_cube()),
    "basins of one network": lambda: figures.basins(basins_cube().isel(network=0)),
    "claims": lambda: figures.claims(verdicts(CLAIMS, {"demo": demo_cube()})),
    "eigenvalues": lambda: figures.eigenvalues(demo_cube()["student_eigenvalues"], hue="init_lambda"),
    "fidelity_accuracy": draw_fidelity,
    "function_prior": lambda: figures.function_prior(function_prior_cube()),
    "mechanics": lambda: figures.mechanics(mechanics_cube()),
    "posterior": lambda: figures.posterior(posterior_cube().expand_dims(data_set=["digits", "mnist1d"])),
    "generalization": lambda: figures.generalization(generalization_cube()),
    "heatmap": lambda: figures.heatmap(demo_cube()["barrier"], "init_lambda", "lr_policy"),
    "heatmap of many cells": draw_many_cells,
    "init_lambda": lambda: figures.init_lambda(demo_cube()),
    "init_lambda of one run": lambda: figures.init_lambda(demo_cube().isel(seed=0, lr_policy=0, drop=True)),
    "line": lambda: figures.line(demo_cube()["barrier"], "init_lambda", hue="lr_policy"),
    "line along seeds": lambda: figures.line(demo_cube()["barrier"], "seed", hue="init_lambda"),
    "line along words": lambda: figures.line(demo_cube()["barrier"], "lr_policy"),
    "overview": lambda: figures.overview(study_cube()),
    "overview of other dims": lambda: figures.overview(other_cube()),
    "panels": lambda: figures.panels(
        demo_cube()["agreement"], figures.line, row="split", col="lr_policy", x="init_lambda", hue="seed"
    ),
    "plane": draw_plane,
    "planes": lambda: figures.planes(demo_cube()),
    "network_plane": lambda: figures.network_plane(compared_cube()),
    "network_spectra": lambda: figures.network_spectra(compared_cube()),
    "pair_fidelity": lambda: figures.pair_fidelity(compared_cube()),
    "pair_paths": lambda: figures.pair_paths(compared_cube()),
    "removed_share": lambda: figures.removed_share(basins_cube()),
    "rescaling_ratios": lambda: figures.rescaling_ratios(generalization_cube().isel(depth=0, width=[0, 1])),
    "shared_starts": lambda: figures.shared_starts(shared_starts_cube()),
    "spectral_density": lambda: figures.spectral_density(density(rules(), width=0.05), hue="network"),
    "stability": lambda: figures.stability(recorded()),
    "start_angles": lambda: figures.start_angles(start_angles_cube()),
    "subliminal": lambda: figures.subliminal(subliminal_cube()),
    "training_path": lambda: figures.training_path(recorded()),
    "surface": lambda: figures.surface(plane()["plane_loss"] + 1),
}
NO_FIGURES = {"animate", "export", "export_study", "venue_style", "venues"}


@cache
def rendered(name, venue):
    """Render a figure once for all tests."""
    with figures.venue_style(venue):
        FIGURES[name]()
        figure = plt.gcf()
        plt.close(figure)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        canvas.draw()  # the layout has seen every text now
        figure.boxes = boxes(figure)  # in the venue's style, since ticks are chosen anew whenever they are asked for
    return figure


@pytest.fixture(params=["neurips2024", "icml2024"])
def venue(request):
    return request.param


def shown(text):
    return bool(text.get_visible() and text.get_text().strip())


def axes_of(ax):
    return [getattr(ax, f"{which}axis") for which in "xyz" if hasattr(ax, f"{which}axis")]


def reads(axis):
    """Whether an axis has a label and at least one number or word beside its ticks."""
    return shown(axis.label) and any(shown(tick) for tick in axis.get_ticklabels())


def neighbours(ax, which):
    """Axes below (of x) or to the left (of y) in the same grid that share the scale."""
    group = ax.get_shared_x_axes() if which == "x" else ax.get_shared_y_axes()
    own = ax.get_subplotspec()
    for other in ax.figure.axes:
        spec = other.get_subplotspec()
        if other is ax or spec is None or not other.get_visible() or not group.joined(ax, other):
            continue
        same, beyond = ("colspan", "rowspan") if which == "x" else ("rowspan", "colspan")
        aligned = list(getattr(spec, same)) == list(getattr(own, same))
        offset = getattr(spec, beyond).start - getattr(own, beyond).start
        if aligned and (offset > 0 if which == "x" else offset < 0):
            yield other


def label_of(ax, which):
    """The label of an axis, or that of the whole figure where all axes share one."""
    own = getattr(ax, f"{which}axis").label.get_text()
    return own or getattr(ax.figure, f"get_sup{which}label")()


def test_every_figure_function_is_looked_at():
    assert {name.split()[0] for name in FIGURES} == set(figures.__all__) - NO_FIGURES


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_has_a_label_and_ticks_or_a_neighbour_that_shows_the_same(name, venue):
    figure = rendered(name, venue)
    for ax in figure.axes:
        if not ax.get_visible() or ax.get_label() == "<colorbar>":
            continue
        for axis in axes_of(ax):
            which = axis.axis_name
            if not axis.get_visible() or reads(axis):
                continue
            ticks = any(shown(tick) for tick in axis.get_ticklabels())
            if ticks and not axis.label.get_text() and label_of(ax, which):
                continue  # named once for the whole figure
            same = [other for other in neighbours(ax, which) if label_of(other, which) == label_of(ax, which)]
            assert label_of(ax, which), f"{which} axis of {ax.get_title()!r} says nothing"
            assert any(shown(tick) for other in same for tick in getattr(other, f"{which}axis").get_ticklabels())


@pytest.mark.parametrize("name", FIGURES)
def test_every_colour_bar_has_a_name_and_numbers(name, venue):
    for ax in rendered(name, venue).axes:
        if ax.get_label() == "<colorbar>":
            assert shown(ax.yaxis.label)
            assert any(shown(tick) for tick in ax.get_yticklabels())


def boxes(figure):
    """All texts that are drawn, with their boxes on the rendered picture."""
    axes = {axis for ax in figure.axes if ax.get_visible() for axis in axes_of(ax) if axis.get_visible()}
    hidden = {label for tick in figure.findobj(Tick) for label in (tick.label1, tick.label2)}
    hidden |= {text for axis in figure.findobj(Axis) if axis not in axes for text in axis.findobj(Text)}
    found = {}
    for text in (set(figure.findobj(Text)) - hidden) | {label for axis in axes for label in numbers(axis)}:
        if shown(text) and (text.axes is None or text.axes.get_visible()):
            box = text.get_window_extent()
            if box.width > 1 and box.height > 1:
                found[text] = box
    return found


def numbers(axis):
    """What stands beside the ticks of an axis within its range; those of three dimensions are left out."""
    low, high = sorted(axis.get_view_interval())
    room = 1e-6 * (high - low)
    if axis.axes.name != "3d":
        for tick in axis.get_major_ticks() + axis.get_minor_ticks():
            if low - room <= tick.get_loc() <= high + room:
                yield from (tick.label1, tick.label2)


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_over_another_or_beyond_the_page(name, venue):
    figure = rendered(name, venue)
    found = figure.boxes
    assert found
    width, height = figure.bbox.size
    for text, box in found.items():
        inside = box.x0 > -2 and box.y0 > -2 and box.x1 < width + 2 and box.y1 < height + 2
        assert inside, f"{text.get_text()!r} is cut off"
    for (one, a), (other, b) in combinations(found.items(), 2):
        over = max(0, min(a.x1, b.x1) - max(a.x0, b.x0)) * max(0, min(a.y1, b.y1) - max(a.y0, b.y0))
        share = over / min(a.width * a.height, b.width * b.height)
        assert share < 0.1, f"{one.get_text()!r} and {other.get_text()!r} overlap by {share:.0%}"


@pytest.mark.parametrize("name", FIGURES)
def test_no_legend_lies_over_axes_and_each_entry_is_seen(name, venue):
    figure = rendered(name, venue)
    for legend in figure.findobj(Legend):
        box = legend.get_window_extent()
        assert all(shown(text) for text in legend.get_texts())
        for ax in figure.axes:
            if ax.get_visible():
                inner = ax.get_window_extent()
                over = min(box.x1, inner.x1) > max(box.x0, inner.x0) + 1
                assert not (over and min(box.y1, inner.y1) > max(box.y0, inner.y0) + 3)


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_in_axes_reaches_out_of_them(name, venue):
    for ax in rendered(name, venue).axes:
        inner = ax.get_window_extent()
        for text in ax.texts:
            box = text.get_window_extent()
            assert inner.y0 - 2 < box.y0 <= box.y1 < inner.y1 + 2, f"{text.get_text()!r} is cut off"


@pytest.mark.parametrize("name", FIGURES)
def test_no_mark_is_cut_by_the_frame(name, venue):
    for ax in rendered(name, venue).axes:
        low, high = sorted(ax.get_ylim())
        held = [place for bars in ax.containers for place in np.ravel(getattr(bars[0], "get_ydata", list)())]
        held = [place for place in held if low <= place <= high]  # beyond: a range that the figure chose
        room = 0.3 * points_of("small") / 72 / inches_of(ax)[1] * (high - low) if ax.get_yscale() == "linear" else 0
        assert not held or low + room <= min(held) <= max(held) <= high - room


#: Names of a program, as they would be read where a label was left out.
RAW = re.compile(r"_|\b(nan|init lambda|lr policy|cos start|lambda max|pac bayes|fisher rao|path kl|plane loss)\b")


@pytest.mark.parametrize("name", FIGURES)
def test_no_figure_says_nan_or_a_raw_name(name, venue):
    words = [text.get_text().replace("\n", " ") for text in rendered(name, venue).boxes]
    assert not [word for word in words if RAW.search(word.replace("log$_", "").replace("log_{10}", ""))]
