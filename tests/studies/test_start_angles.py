import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes import dataset, variable
from kdlandscape.figures.starts import start_angles
from kdlandscape.studies.start_angles import findings, halvings, relative_heights, unexplained

SHARE = np.array([0.0, 0.25, 0.5, 0.75])
LAMBDA = variable("init_lambda", SHARE, "teacher's share of the initial weights", symbol="λ")


def cube(seeds=4, *, of_cosine=True):
    """Barriers that fall with the cosine alone, or with λ alone, in two settings of different cosines."""
    rng = np.random.default_rng(0)
    cosine = np.stack([SHARE, SHARE**0.5])
    place = cosine if of_cosine else np.stack([SHARE, SHARE])
    barrier = 5 * (1 - place**2)[None] + 0.01 * rng.normal(size=(seeds, 2, 4)) * (SHARE > 0)
    dims = ("seed", "width", "init_lambda")
    return dataset(
        {
            "barrier": variable(dims, barrier, "linear barrier to the teacher", "nat"),
            "cos_start": variable(dims, np.stack([cosine] * seeds), "cosine of the initial student and the teacher"),
        },
        {"seed": range(seeds), "width": [8, 16], "init_lambda": LAMBDA},
    )


def test_the_height_is_relative_to_the_smallest_share_whatever_the_order():
    found = relative_heights(cube().isel(init_lambda=[2, 0, 1, 3]))
    np.testing.assert_allclose(found.isel(init_lambda=0), 1.0)
    np.testing.assert_allclose(found.sel(init_lambda=0.5, width=8), 0.75, atol=0.01)


@pytest.mark.parametrize("of_cosine", [True, False])
def test_one_curve_explains_the_barriers_over_the_axis_that_they_follow(of_cosine):
    found = unexplained(cube(of_cosine=of_cosine))
    right, wrong = ("over_cosine", "over_lambda") if of_cosine else ("over_lambda", "over_cosine")
    assert (found[right] < 0.01).all()
    assert (found[wrong] > 0.05).all()
    verdict = "the angle tells more than λ" if of_cosine else "λ tells more than the angle"
    assert verdict in findings(cube(of_cosine=of_cosine))[0]


def test_what_is_left_of_a_falling_curve_is_that_of_isotonic_regression():
    """Of the heights 3, 4, 1, one falling curve takes 3.5, 3.5, 1: it leaves 0.5 of the sum of squares 14/3."""
    one = xr.Dataset(
        {"barrier": (("seed", "init_lambda"), [[1.0, 3.0, 4.0, 1.0]]), "cos_start": (("seed", "init_lambda"), [SHARE])},
        {"seed": [0], "init_lambda": SHARE},
    )
    assert unexplained(one)["over_lambda"].item() == pytest.approx(0.5 / (14 / 3))


def test_the_barrier_halves_between_the_shares_that_bracket_a_half():
    found = halvings(cube(1))
    at = found["at_lambda"].sel(width=8).item()
    assert at == pytest.approx(0.7, abs=0.01)  # 0.75 at 0.5 and 0.4375 at 0.75
    np.testing.assert_allclose(found["at_cosine"].sel(width=8), found["at_lambda"].sel(width=8))


def test_a_seed_that_lacks_a_setting_is_left_out_of_the_comparison():
    whole, unfinished = cube(4), cube(5)
    unfinished["barrier"].loc[{"seed": 4, "width": 16}] = np.nan
    (said,) = findings(unfinished)
    assert "(4 seeds; left out, for want of results: 1 of 5 values of seed (4)). Over the 2 settings" in said
    assert "4 seeds). Over the 2 settings" in findings(whole)[0]


def test_each_value_of_a_setting_in_words_is_told_alone():
    """With a norm all cosines are higher: no curve over the cosine holds both, and each alone has one."""
    plain, normed = cube(4), cube(4)
    normed["cos_start"] = 0.5 + normed["cos_start"] / 2
    together, none, layer = findings(xr.concat([plain, normed], xr.Variable("norm", ["none", "layer"])))
    assert "Over the 4 settings" in together
    assert "cosine of start and teacher 0% (" not in together
    assert none.startswith("norm = none alone: one falling curve over λ leaves")
    assert layer.startswith("norm = layer alone: one falling")
    for said in (none, layer):
        assert "cosine of start and teacher 0% (" in said
        assert "the angle tells more than λ (4 seeds)" in said


def test_few_seeds_decide_nothing_and_other_cubes_are_refused():
    assert findings(cube(2)) == ["not decided: 2 seeds are done, a verdict needs at least 3."]
    with pytest.raises(ValueError, match="cos_start missing"):
        findings(cube().drop_vars("cos_start"))


def test_each_setting_is_a_line_over_both_axes():
    axes = start_angles(cube())
    assert [len([line for line in ax.lines if len(line.get_xdata()) == 4]) for ax in axes] == [2, 2]
    np.testing.assert_allclose(axes[1].lines[1].get_xdata(), SHARE**0.5)
