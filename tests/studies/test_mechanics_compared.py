"""Sentences, claims and figure of the mechanics study, from planted cubes."""

import numpy as np
import pytest

import kdlandscape as kdl
from kdlandscape.cubes import dataset, variable
from kdlandscape.studies.mechanics_compared import findings, log_ratios, unexplained
from tests.studies.test_thread import decided


def cube(seeds=5, learned=True):
    """Return a cube in which the constraint divides drift by 10, doubles the curvature, and leaves the loss."""
    draw = np.random.default_rng(0)

    def noise(*shape):
        return np.exp(0.05 * draw.standard_normal((seeds, 2, *shape)))

    time, number, place = np.linspace(0, 4, 5), np.arange(3), np.linspace(-1, 1, 5)
    side, sharper = np.array([0.1, 1.0]), np.array([[2.0], [1.0]])
    axes = ("seed", "network")
    test = np.full((seeds, 2), 0.001) * noise()
    bowl = 0.01 + place[:, None] ** 2 + place**2
    values = {
        "energy_drift": variable((*axes, "time"), side[:, None] * time * noise(5), "energy drift"),
        "path_error": variable((*axes, "time"), side[:, None] * time * noise(5), "distance from the true place"),
        "test_loss": variable(axes, test, "test loss"),
        "test_scale": variable("seed", np.full(seeds, 0.3 if learned else 0.01), "mean square"),
        "eigenvalues": variable((*axes, "eigenvalue"), sharper / (1 + number) * noise(3), "eigenvalue"),
        "trace": variable(axes, np.array([2.0, 1.0]) * noise(), "trace"),
        "plane_loss": variable((*axes, "y", "x"), bowl * noise(5, 5), "loss"),
    }
    coords = {"seed": range(seeds), "network": ["constrained", "unconstrained"], "time": time, "eigenvalue": number}
    return dataset(values, {**coords, "x": place, "y": place})


def test_the_ratios_are_of_the_last_time_and_the_largest_eigenvalue():
    found = log_ratios(cube())
    assert found["energy_drift"].dims == ("seed",)
    np.testing.assert_allclose(np.exp(found["energy_drift"].mean()), 0.1, rtol=0.1)
    np.testing.assert_allclose(np.exp(found["eigenvalues"].mean()), 2.0, rtol=0.1)
    assert np.isnan(log_ratios(cube().isel(time=[0]))["energy_drift"]).all()  # nothing has drifted: no ratio
    assert float(unexplained(cube()).max()) < 0.01


def test_what_a_constraint_changes_is_said_with_its_interval():
    said = findings(cube())
    assert said[0].startswith("energy drift at the end: 0.096 (0.")
    assert said[0].endswith("times the unconstrained network's: smaller with the constraint")
    assert "undecided" in said[2]
    assert said[3].endswith("larger with the constraint")


def test_networks_that_have_not_learned_the_motion_and_two_seeds_are_no_verdict():
    assert findings(cube(learned=False)) == [
        "not testable here: both networks explain all but 5% of the test motions in 0 of 5 runs, a verdict needs all "
        "of them and at least 3"
    ]
    assert "2 of 2 runs" in findings(cube(seeds=2))[0]
    with pytest.raises(ValueError, match="path_error missing"):
        findings(cube().drop_vars("path_error"))


def test_the_claims_are_decided_by_what_is_planted():
    verdict, _ = decided(mechanics=cube())
    names = ("mechanics-drift", "mechanics-error", "mechanics-flat")
    assert [verdict[name] for name in names] == ["reproduced", "reproduced", "contradicted"]
    verdict, table = decided(mechanics=cube(learned=False))
    assert {verdict[name] for name in names} == {"not testable here"}
    reason = dict(zip(table["claim"].values.tolist(), table["reason"].values.tolist(), strict=True))
    assert reason["mechanics-drift"].startswith("it is not shown that both networks learn the motion")


def test_the_figure_draws_a_cube_and_one_run():
    for part in (cube(), cube().isel(seed=0)):
        axes = kdl.figures.mechanics(part)
        drift = axes[0].get_lines()[0].get_ydata()
        expected = np.log(part["energy_drift"].sel(network="constrained").isel(time=slice(1, None)))
        np.testing.assert_allclose(drift, np.exp(expected.mean(set(expected.dims) - {"time"})))
    assert len(kdl.studies.mechanics_of_run(cube().isel(seed=0))) == 6
