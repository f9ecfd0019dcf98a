"""Sentences, claims and figure of the posterior study, from planted cubes."""

import numpy as np
import pytest

import kdlandscape as kdl
from kdlandscape.cubes import dataset, variable
from kdlandscape.studies.posterior_distances import contrasts, findings, largest_ensemble
from kdlandscape.studies.thread import CLAIMS
from tests.studies.test_thread import decided

#: The distance of each predictive, on test inputs; off the data it is twice that.
PLANTED = {
    "HMC, half of the chains": 0.02,
    "network": 0.2,
    "ensemble of 2": 0.15,
    "ensemble of 16": 0.1,
    "SGD iterates": 0.18,
    "SWAG": 0.16,
    "Laplace": 0.4,
    "student": 0.25,
    "student of the ensemble": 0.12,
    "linearized Laplace": 0.05,
}


def cube(r_hat=1.02, seeds=5):
    draw = np.random.default_rng(0)
    base = np.array(list(PLANTED.values()))
    distance = base * np.array([1.0, 2.0])[:, None] + 0.002 * draw.standard_normal((seeds, 2, len(base)))
    axes = ("seed", "inputs", "predictive")
    values = {
        "total_variation": variable(axes, distance, "total variation distance"),
        "agreement": variable(axes, 1 - distance, "top-1 agreement with the teacher"),
        "ece": variable(axes, distance / 2, "expected calibration error"),
        "reference_ece": variable(axes[:2], distance[..., 0], "expected calibration error"),
        "r_hat": variable(axes[:2], np.full((seeds, 2), r_hat), "R-hat"),
    }
    return dataset(values, {"seed": range(seeds), "inputs": ["test", "off the data"], "predictive": list(PLANTED)})


def test_which_of_two_predictives_is_nearer_is_said_on_and_off_the_data():
    said = findings(cube())
    assert said[0] == "the chains have met: R-hat of function values is at most 1.020 in 5 runs"
    assert said[1].startswith(
        "test: total variation distance to the chains, nearest first: HMC, half of the chains 0.019, linear"
    )
    for words in ("one network is farther than the ensemble of 16", "SWAG is farther than the ensemble of 16"):
        for place in ("test", "off the data"):
            assert [one.endswith("yes") for one in said if one.startswith(f"{place}: {words}, by +")] == [True]
    assert [one.endswith("no, it is nearer") for one in said if "a network is farther than its student" in one] == [
        True
    ] * 2
    assert sum("calibration error of HMC" in one for one in said) == 2


def test_where_chains_have_not_met_nothing_is_said_about_distances():
    assert findings(cube(r_hat=1.2)) == [
        "not testable here: R-hat of function values is below 1.05 in 0 of 5 runs, a verdict needs all of them and at "
        "least 3"
    ]
    assert "in 2 of 2 runs" in findings(cube(seeds=2))[0]
    with pytest.raises(ValueError, match="r_hat missing"):
        findings(cube().drop_vars("r_hat"))
    with pytest.raises(ValueError, match="expected a predictive such as 'ensemble of 8', got none"):
        largest_ensemble(cube().sel(predictive=["network", "SWAG"]))


def test_the_largest_ensemble_is_by_number_and_predictives_that_are_absent_are_not_asked_about():
    part = cube().sel(predictive=["network", "ensemble of 2", "ensemble of 16"])
    assert [one[1:] for one in contrasts(part)] == [("network", "ensemble of 16")]


def test_the_claims_are_decided_by_what_is_planted_and_by_nothing_where_chains_have_not_met():
    verdict, _ = decided(posterior=cube())
    expected = {
        "average-grows": "reproduced",
        "average-sgd-iterates": "reproduced",
        "average-swag": "reproduced",
        "average-laplace": "reproduced",
        "average-linearized-laplace": "contradicted",
        "average-far": "contradicted",
        "average-student": "contradicted",
        "average-ensemble-student": "reproduced",
    }
    assert {name: verdict[name] for name in expected} == expected
    assert sum(claim.number.study == "posterior" for claim in CLAIMS) == len(expected)
    verdict, table = decided(posterior=cube(r_hat=1.06))
    assert {verdict[name] for name in expected} == {"not testable here"}
    reason = dict(zip(table["claim"].values.tolist(), table["reason"].values.tolist(), strict=True))
    assert reason["average-swag"].startswith("it is not shown that the chains have met: largest R-hat")


def test_the_figure_draws_a_cube_and_one_run():
    for part in (cube(), cube().isel(seed=0)):
        left, right = kdl.figures.posterior(part)
        assert left.get_xlabel() == "total variation distance"
        assert "HMC" in right.get_xlabel()
        drawn = left.get_lines()[0].get_xdata()
        np.testing.assert_allclose(drawn, part["total_variation"].sel(inputs="test").mean(set(part.dims) & {"seed"}))
    assert "not testable" not in kdl.studies.posterior_of_run(cube().isel(seed=0))[0]
    assert "not below 1.05: not testable here" in kdl.studies.posterior_of_run(cube(r_hat=1.3).isel(seed=0))[0]
