import numpy as np
import pytest
import xarray as xr

from kdlandscape.figures.starts import shared_starts
from kdlandscape.studies.shared_starts import findings, gains, rank_correlations


def cube(seeds=4):
    """Three settings: the higher the barrier, the less the teacher's start gains."""
    rng = np.random.default_rng(0)
    gain, barrier = np.array([0.10, 0.05, 0.0]), np.array([0.01, 0.3, 2.0])
    agreement = np.zeros((seeds, 3, 2, 2))
    agreement[..., 0, :] = 0.6
    agreement[..., 1, :] = 0.6 + (gain + 0.002 * rng.normal(size=(seeds, 3)))[..., None]
    heights = np.broadcast_to(barrier[:, None], (seeds, 3, 2))
    return xr.Dataset(
        {
            "agreement": (("seed", "student_lr", "init", "split"), agreement),
            "same_start_barrier": (("seed", "student_lr", "init"), heights),
        },
        {
            "seed": range(seeds),
            "student_lr": [0.01, 0.03, 0.1],
            "init": ["random", "teacher"],
            "split": ["train", "test"],
        },
    )


def test_the_gain_is_the_teachers_start_minus_a_new_one_in_test_agreement():
    found = gains(cube())
    np.testing.assert_allclose(found["gain"].mean("seed"), [0.10, 0.05, 0.0], atol=0.005)
    assert found["barrier"].attrs["units"] == "nat"


def test_findings_rank_the_gain_by_the_barrier_and_tell_both_sides():
    np.testing.assert_allclose(rank_correlations(gains(cube())), -1.0)
    (said,) = findings(cube())
    assert "-1.00 (-1.00 to -1.00, 4 seeds): the less stable training is, the less sharing the start buys" in said
    assert "less than 0.1 nat apart the start buys +10." in said
    assert "1 settings), elsewhere +2." in said


def test_few_seeds_decide_nothing_and_other_cubes_are_refused():
    assert findings(cube(2)) == ["not decided: 2 seeds and 3 settings are done, a verdict needs at least 3 of each."]
    with pytest.raises(ValueError, match="same_start_barrier missing"):
        findings(cube().drop_vars("same_start_barrier"))


def test_a_setting_and_a_seed_that_are_not_done_are_left_out_and_named():
    """0.1.0's study said 0 seeds while one setting of one start was missing."""
    known = cube()
    more = known.isel(student_lr=[2]).assign_coords(student_lr=[0.3])
    more["agreement"].loc[{"init": "teacher"}] = np.nan  # a run that is not done
    unfinished = xr.concat([known, more], "student_lr", join="outer", compat="no_conflicts", coords="minimal")
    unfinished["same_start_barrier"].loc[{"student_lr": 0.01, "seed": 2}] = np.nan
    (said,) = findings(unfinished)
    np.testing.assert_allclose(rank_correlations(gains(unfinished)), -1.0)
    assert "3 seeds): the less stable" in said
    assert said.endswith(
        "left out, for want of results: 1 of 4 settings (student lr = 0.3) and 1 of 4 values of seed (2)."
    )


def test_what_the_teachers_have_learned_is_said_beside_the_gain():
    known = cube()
    accuracy = xr.DataArray([0.4, 0.7, 1.0], {"student_lr": known["student_lr"]}).broadcast_like(
        known["same_start_barrier"]
    )
    said = findings(known.assign(teacher_train_accuracy=accuracy))[1]
    assert "right on 40% to 100% of its training data, which has a rank correlation of -1.00 with what" in said
    assert said.endswith("and of +1.00 with the barrier.")


def test_each_setting_is_a_point():
    (ax,) = shared_starts(cube())
    line = ax.containers[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [0.01, 0.3, 2.0])
    assert ax.get_xscale() == "log"
