import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes import variable
from kdlandscape.figures.starts import subliminal
from kdlandscape.studies.subliminal import findings, gain_of_run, learned

LAMBDA = variable("init_lambda", [0.0, 0.5, 1.0], "teacher's share of the start", symbol="λ")


def cube(seeds=4):
    rng = np.random.default_rng(0)
    gain = np.array([0.0, 0.1, 0.2]) + 0.001 * rng.normal(size=(seeds, 3))
    gain[:, 0] = np.resize([0.01, -0.01], seeds)
    dims, axis = (
        ("seed", "init_lambda"),
        {"seed": range(seeds), "init_lambda": LAMBDA, "split": ["train", "test"]},
    )
    return xr.Dataset(
        {
            "student_accuracy": ((*dims, "split"), np.stack([gain * 0, 0.1 + gain], -1)),
            "start_accuracy": (dims, np.full_like(gain, 0.1)),
            "teacher_accuracy": ((*dims, "split"), np.full((*gain.shape, 2), 0.6)),
            "barrier": variable(dims, np.tile([2.0, 1.0, 0.5], (seeds, 1)), "linear barrier to the teacher", "nat"),
            "alignment": (dims, np.tile([0.0, 0.1, 0.2], (seeds, 1))),
        },
        axis,
    )


def test_what_is_learned_is_the_test_accuracy_above_that_of_the_start():
    np.testing.assert_allclose(learned(cube()).sel(init_lambda=1.0), 0.2, atol=0.01)


def test_findings_say_from_which_share_on_a_gain_is_shown():
    (said,) = findings(cube())
    assert "at λ = 0 and +20." in said
    assert "a gain is shown from λ = 0.5 on" in said
    assert "barrier to the teacher goes from 2.00 to 0.50 nat" in said
    assert said.endswith("from +0.00 to +0.20 (4 seeds, teacher's accuracy 60.0%).")


def test_a_single_run_tells_its_points_without_a_verdict():
    (said,) = gain_of_run(cube().isel(seed=0))
    assert said.startswith("Points of test accuracy gained: +1.0 at λ = 0, ")
    assert said.endswith("The teacher's accuracy is 60.0 %. (One seed: no verdict.)")


def test_few_seeds_decide_nothing_and_other_cubes_are_refused():
    assert findings(cube(2))[0].endswith("not decided: 2 seeds are done, a verdict needs at least 3.")
    with pytest.raises(ValueError, match="start_accuracy missing"):
        findings(cube().drop_vars("start_accuracy"))


def test_gain_and_barrier_are_drawn_over_the_share():
    left, right = subliminal(cube())
    np.testing.assert_allclose(left.containers[0].lines[0].get_ydata()[2], 0.2, atol=0.01)
    np.testing.assert_allclose(right.containers[0].lines[0].get_ydata(), [2.0, 1.0, 0.5])
