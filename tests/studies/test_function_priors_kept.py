"""Sentences and figure of the function_prior study, from planted cubes."""

import numpy as np
import pytest

import kdlandscape as kdl
from kdlandscape.cubes import dataset, variable
from kdlandscape.studies.function_priors_kept import findings


def cube(shift=0.0, gain=0.4, seeds=5):
    draw = np.random.default_rng(0)
    cosine = np.array([-0.5, 0.0, 0.5, 1.0])
    wide = np.broadcast_to((1 + cosine) / 2, (seeds, 4))
    noise = 0.002 * draw.standard_normal((seeds, 4))
    kept = np.stack([wide, wide + shift + noise], 1)
    foreign = 0.1 + 0.01 * draw.standard_normal(seeds)
    values = {
        "correlation": variable(("seed", "cosine"), wide + 0.01 + noise, "correlation"),
        "wide_correlation": variable(("seed", "cosine"), wide, "wide"),
        "kept_correlation": variable(("seed", "member", "cosine"), kept, "kept"),
        "random_agreement": variable("seed", foreign, "agreement of two random functions"),
        "student_agreement": variable("seed", foreign + gain + 0.01 * draw.standard_normal(seeds), "own"),
        "foreign_agreement": variable("seed", foreign, "foreign"),
        "num_classes": variable("seed", np.full(seeds, 10), "classes"),
    }
    return dataset(
        values,
        {
            "seed": range(seeds),
            "cosine": variable("cosine", cosine, "cosine of the inputs"),
            "member": ["teacher", "student"],
        },
    )


def test_what_students_keep_is_said_with_its_interval():
    said = findings(cube())
    assert said[0].endswith("of infinitely wide ReLU networks: the same within 0.05")
    assert said[1].endswith("of the inputs (chance 10%)")
    assert said[2].endswith("more than with another: it keeps the function")
    assert said[3].endswith("more than their teachers': the prior is kept within 0.05")


def test_a_prior_that_is_not_kept_and_students_that_keep_nothing_are_said_so():
    said = findings(cube(shift=0.2, gain=-0.3))
    assert said[2].endswith("more than with another: it keeps nothing")
    assert said[3].endswith("more than their teachers': it is not kept beyond 0.05")


def test_two_seeds_are_no_verdict_and_a_foreign_cube_is_refused():
    assert findings(cube(seeds=2)) == ["all runs: not testable here: 2 seeds are done, a verdict needs at least 3"]
    with pytest.raises(ValueError, match="wide_correlation missing"):
        findings(cube().drop_vars("wide_correlation"))


def test_the_figure_draws_a_cube_and_one_run():
    for part in (cube(), cube().isel(seed=0)):
        left, right = kdl.figures.function_prior(part)
        assert right.get_ylabel() == "correlation of outputs"
        assert [text.get_text() for text in left.get_legend().get_texts()] == [
            "random functions",
            "infinitely wide MLP",
        ]
    assert len(kdl.studies.function_prior_of_run(cube().isel(seed=0))) == 4
