"""Rank correlations, rescaled copies and double descent, planted in a cube."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import kdlandscape as kdl
from kdlandscape.cubes import dataset, variable
from kdlandscape.landscape.sharpness.capacity import CAPACITY
from kdlandscape.studies.generalization import MEASURES, correlations, descent, findings, kendall

DIMS = ("member", "seed", "width", "depth", "label_noise", "optimizer")
COORDS = {
    "member": ["network", "student", "rescaled copy"],
    "seed": [0, 1, 2, 3, 4],
    "width": [8, 16, 32, 64],
    "depth": [1, 2],
    "label_noise": [0.0, 0.2],
    "optimizer": ["sgd", "adam"],
}


def cube(noise=0.02):
    """Return a cube in which the trace follows the gap, the path norm its opposite, and the rest is noise."""
    draw = np.random.default_rng(0)
    shape = tuple(map(len, COORDS.values()))
    gap = 0.3 + 0.2 * draw.random(shape)
    gap[:] = gap[:1]
    values = {name: variable(DIMS, np.exp(draw.standard_normal(shape)), CAPACITY[name]) for name in MEASURES}
    values["trace"] = variable(DIMS, gap + noise * draw.standard_normal(shape), CAPACITY["trace"])
    values["path_norm"] = variable(DIMS, 1 - gap, CAPACITY["path_norm"])
    sharper = np.array([2.0, 2.0, 8.0]).reshape(3, 1, 1, 1, 1, 1)
    values["lambda_max"] = variable(DIMS, sharper * gap, CAPACITY["lambda_max"])
    values["fisher_rao"] = variable(DIMS, np.broadcast_to(2.0 + gap[:1], shape), CAPACITY["fisher_rao"])
    peak = np.array([0.2, 0.5, 0.4, 0.1]).reshape(4, 1, 1, 1) + 0.01 * draw.standard_normal(shape[1:])
    values["gap"] = variable(DIMS, gap, "generalization gap")
    values["end_test_error"] = variable(DIMS[1:], peak, "test error")
    values["reached"] = variable(DIMS[1:], np.ones(shape[1:], dtype=bool), "reached")
    return dataset(values, COORDS, factor=4.0)


def test_kendall_is_that_of_scipy_without_ties_and_counts_a_tie_as_zero():
    draw = np.random.default_rng(0)
    a, b = draw.standard_normal((2, 30))
    assert kendall(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)
    assert kendall(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 3)
    assert kendall(np.array([1.0, np.nan, 2.0]), np.array([1.0, 9.0, 3.0])) == 1.0
    assert np.isnan(kendall(np.array([1.0]), np.array([1.0])))


def test_what_is_planted_is_found_overall_and_granulated():
    found = correlations(cube())
    assert (found["overall"].sel(measure="trace") > 0.7).all()
    assert (found["granulated"].sel(measure="trace") > 0.4).all()
    assert (found["overall"].sel(measure="path_norm") == -1).all()
    assert (found["granulated"].sel(measure="path_norm") == -1).all()
    assert (abs(found["overall"].sel(measure="pac_bayes")) < 0.5).all()
    assert (found["pairs"] == 32 * 31 / 2).all()


def test_a_measure_that_follows_one_setting_alone_scores_less_granulated():
    """Jiang et al. 2020, section 3.2: the gap depends on width, the measure on width alone."""
    planted = cube()
    width = xr.DataArray(np.arange(4.0), dims="width")
    rest = 0.05 * planted["gap"]
    planted["gap"] = (width + rest).transpose(*DIMS)
    planted["pac_bayes"] = width + 0 * rest
    found = correlations(planted).sel(measure="pac_bayes")
    assert (found["overall"] > 0.7).all()
    assert (found["granulated"] == 0.25).all()  # 1 along width, ties along the three others


def test_networks_that_did_not_reach_the_loss_are_left_out_and_too_few_say_so():
    planted = cube()
    planted["reached"] = (planted["width"] == 8) & (planted["depth"] == 1) & planted["reached"]
    assert (correlations(planted)["pairs"] == 4 * 3 / 2).all()
    said = findings(planted)
    assert said[0].endswith("over 20 networks; 140 of 160 networks never reached the training loss and are left out")
    assert "  trace of the Hessian: not testable here, 0 seeds have at least 10 pairs" in said


def test_the_double_descent_of_a_planted_peak_is_measured_on_the_other_seeds():
    planted = cube()
    found = descent(planted, 0.2)
    np.testing.assert_allclose(found["rise"], 0.3, atol=0.03)
    np.testing.assert_allclose(found["fall"], 0.4, atol=0.03)
    assert descent(planted.isel(width=[0, 1]), 0.2)["rise"].isnull().all()
    falling = planted.assign(end_test_error=planted["end_test_error"] * 0 + 1 / planted["width"])
    assert (descent(falling, 0.2)["rise"] < 0).all()


def test_the_sentences_tell_double_descent_and_which_measure_is_blind_to_scale():
    said = findings(cube())
    assert any(
        one.startswith("rescaled copies (units times 4), largest Hessian eigenvalue: 4 times, not blind")
        for one in said
    )
    assert "rescaled copies (units times 4), Fisher–Rao norm: 1 times, blind to scale" in said
    assert any(one.startswith("students, Fisher–Rao norm: 1.00 (1.00 to 1.00)") for one in said)
    assert any("label noise 0.2" in one and one.endswith(": shown") for one in said)


def test_the_figures_draw_a_cube_and_one_run():
    axes = kdl.figures.generalization(cube())
    assert [ax.get_xlabel().replace("\n", " ") for ax in axes[:2]] == [
        "Kendall's τ with the gap, networks",
        "Kendall's τ with the gap, students",
    ]
    run = cube().isel(width=0, depth=0, label_noise=0, optimizer=0)
    assert len(kdl.figures.rescaling_ratios(run).lines) == 2 * len(MEASURES) + 1
    assert kdl.studies.generalization_of_run(run)[0].startswith("5 of 5 networks reached the training loss")


def test_a_cube_without_the_measures_is_refused():
    with pytest.raises(ValueError, match="trace missing"):
        findings(cube().drop_vars("trace"))
