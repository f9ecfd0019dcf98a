import numpy as np
import pytest
import xarray as xr

from kdlandscape.studies.onsets import Turn, findings, lambda_of_run, turn, turns, verdict
from tests.synthetic import demo_cube

SHARES = np.array([0.0, 0.25, 0.5, 1.0])


def test_a_turn_lies_between_the_last_interval_above_and_the_first_that_stays_below():
    assert turn(np.array([2, 1.5, 0.1, 0]), np.array([3, 2, 0.5, 0.1]), 1.0, SHARES) == Turn(0.25, 0.5)
    crossing = turn(np.array([2, 0.9, 0.1, 0]), np.array([3, 1.1, 0.5, 0.1]), 1.0, SHARES)
    assert crossing == Turn(0.0, 0.5)  # at 0.25 nothing is shown
    again = turn(np.array([2, 0.1, 1.2, 0]), np.array([3, 0.5, 1.4, 0.1]), 1.0, SHARES)
    assert again == Turn(0.5, 1.0)  # what is above once more has not turned for good
    assert np.isnan(turn(np.array([2.0] * 4), np.array([3.0] * 4), 1.0, SHARES).first)


def test_signs_that_turn_in_steps_that_touch_are_reproduced():
    assert verdict(Turn(0.25, 0.5), Turn(0.25, 0.5)) == "reproduced"
    assert verdict(Turn(0.25, 0.5), Turn(0.5, 0.75)) == "reproduced"
    assert verdict(Turn(0.0, 0.25), Turn(0.5, 0.75)) == "contradicted"
    assert verdict(Turn(np.nan, 0.25), Turn(0.5, 0.75)) == "undecided"


def test_both_signs_of_the_demo_turn_together():
    first, second = findings(demo_cube())
    assert first == (
        "learning-rate policy = constant: the linear barrier vanishes between λ = 0.25 and 0.5 (to less than 5% of its "
        "height at λ = 0), and training turns towards the teacher between λ = 0.25 and 0.5 (95 % t intervals, "
        "4 seeds): reproduced."
    )
    assert second.startswith("learning-rate policy = scaled: ")


def test_a_verdict_does_not_hang_on_a_difference_within_the_noise():
    """On digits a distance went from 5.8676 to 5.8744 in one seed, and the finding was called not reproduced."""
    cube = demo_cube()
    cube["distance_end"].values[0, :, 1:3] = cube["distance_start"].values[0, :, 1:3] * (1 + 1e-3)
    cube["distance_end"].values[1:, :, 1] = cube["distance_start"].values[1:, :, 1] * (1 - 1e-3)
    barrier, distance = turns(cube.isel(lr_policy=0))
    assert (barrier, distance.last) == (Turn(0.25, 0.5), 0.0)
    assert findings(cube)[0].endswith(("undecided.", "reproduced."))


def test_a_barrier_that_one_seed_keeps_is_not_said_to_vanish():
    cube = demo_cube()
    cube["barrier"].values[1, 0, 1:] = 2.0
    sentence = findings(cube)[0]
    assert "the linear barrier is not shown to vanish" in sentence
    assert sentence.endswith("undecided.")
    assert findings(cube)[1].endswith(": reproduced.")


def test_fewer_than_three_seeds_decide_nothing():
    cube = demo_cube()
    cube["barrier"].values[2:] = np.nan
    assert findings(cube)[0].endswith("not decided: 2 seeds are done, a verdict needs at least 3.")


def test_a_cube_without_what_the_finding_needs_is_refused_by_name():
    with pytest.raises(ValueError, match=r"expected the variables barrier, .*; barrier, distance_start, .* missing"):
        findings(xr.Dataset({"loss": ("t", [1.0])}))
    with pytest.raises(ValueError, match=r"expected barrier over the dims init_lambda, seed; seed missing"):
        findings(demo_cube().isel(seed=0))


def test_one_run_says_its_numbers_and_no_verdict():
    said = lambda_of_run(demo_cube().isel(seed=0, lr_policy=0, drop=True))
    assert said[0] == "The barrier to the teacher falls from 3 to 0.001 nat between λ = 0 and 0.5."
    assert said[1] == "Training leads towards the teacher from λ = 0.5, and away from it at the others."
    assert said[2].startswith("Test agreement goes from 70.0% at λ = 0 to 100.0% at λ = 1; the independent student's")
    with pytest.raises(ValueError, match="distance_end missing"):
        lambda_of_run(demo_cube().isel(seed=0, lr_policy=0).drop_vars("distance_end"))
