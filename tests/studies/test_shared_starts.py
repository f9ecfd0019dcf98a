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
    np.testing.assert_allclose(rank_correlations(cube()), -1.0)
    (said,) = findings(cube())
    assert "-1.00 (-1.00 to -1.00, 4 seeds): the less stable training is, the less sharing the start buys" in said
    assert "less than 0.1 nat apart the start buys +10." in said
    assert "1 settings), elsewhere +2." in said


def test_few_seeds_decide_nothing_and_other_cubes_are_refused():
    assert findings(cube(2)) == ["not decided: 2 seeds are done, a verdict needs at least 3."]
    with pytest.raises(ValueError, match="same_start_barrier missing"):
        findings(cube().drop_vars("same_start_barrier"))


def test_each_setting_is_a_point():
    (ax,) = shared_starts(cube())
    line = ax.containers[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [0.01, 0.3, 2.0])
    assert ax.get_xscale() == "log"
