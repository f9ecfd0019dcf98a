import numpy as np
import pytest
import xarray as xr
from scipy import stats

from kdlandscape.studies.basin_shares import compare, findings, share_removed, shares_of_run
from tests.synthetic import basins_cube


def test_the_share_removed_is_taken_of_the_barrier_as_it_is():
    share = share_removed(basins_cube()).isel(network=0)
    assert share.sel(partner="λ = 0", alignment="none", correction="none").values == pytest.approx(0)
    np.testing.assert_allclose(share.sel(partner="λ = 0", alignment="weights", correction="none"), [0.7, 0.8, 0.9])
    np.testing.assert_allclose(share.sel(partner="λ = 0", alignment="weights", correction="repair"), [0.85, 0.9, 0.95])
    assert share.sel(partner="λ = 0.5").isnull().all()  # there was no barrier


def test_the_difference_is_paired_over_seeds():
    answer = compare(share_removed(basins_cube())).sel(alignment="weights", correction="none")
    assert answer["mean"].sel(quantity="student") == pytest.approx(0.8)
    assert answer["mean"].sel(quantity="baseline") == pytest.approx(0.7)
    difference = answer.sel(quantity="difference")
    assert difference["mean"] == pytest.approx(0.1)
    assert difference["high"] - difference["low"] == pytest.approx(0, abs=1e-12)  # the same in every seed
    half = stats.t.ppf(0.975, 2) * 0.1 / 3**0.5
    assert answer["low"].sel(quantity="student") == pytest.approx(0.8 - half)


def test_findings_state_shares_residuals_intervals_and_what_they_show():
    sentences = findings(basins_cube())
    assert len(sentences) == 2
    first = sentences[0]
    assert first.startswith("network = mlp, alignment = weights: permutation removes 80% (55% to 105%) of the barrier")
    assert "(1.00 nat before, 0.20 left), 70% (45% to 95%) of that between teacher and an independent network" in first
    assert "(trained on labels) (2.00 nat, 0.60 left)" in first
    assert first.endswith("less than there by over 0.15 nat (95 % t intervals, 3 seeds, paired).") or (
        "of what is left -0.40" in first
    )


def set_shares(student, baseline):
    """A cube in which alignment removes given shares, seed by seed."""
    cube = basins_cube(len(student))
    for partner, shares, height in (("λ = 0", student, 1.0), ("independent", baseline, 1.0)):
        at = {"partner": partner, "correction": "none"}
        cube["barrier"].loc[{**at, "alignment": "none"}] = height
        for alignment in ("weights", "activations"):
            cube["barrier"].loc[{**at, "alignment": alignment}] = (1 - np.array(shares))[:, None] * height
    return cube


def test_a_difference_is_the_same_within_the_margin_beyond_it_or_undecided():
    same = findings(set_shares([0.80, 0.81, 0.79], [0.80, 0.80, 0.80]))[0]
    assert "difference of the shares 0% (-2% to 2%): the same within 10%" in same
    more = findings(set_shares([0.80, 0.81, 0.79], [0.40, 0.40, 0.40]))[0]
    assert "more than there by over 10%" in more
    assert "less than there by over 0.10 nat" in more  # what is left is the other side of it
    open_question = findings(set_shares([0.9, 0.5, 0.7], [0.7, 0.7, 0.6]))[0]
    assert "undecided against a margin of 10%, about" in open_question
    assert "seeds would decide it" in open_question


def test_the_matched_control_is_the_baseline_where_the_cube_has_it():
    cube = basins_cube()
    cube = cube.assign_coords(partner=["λ = 0", "independent", "independent student"])
    assert "between teacher and the independent student (2.00 nat" in findings(cube)[0]


def test_all_settings_together_are_compared_by_the_mean_of_each_seed():
    """Differences of +0.1 and -0.1 in the shares are none together, and a seed that lacks one is left out."""
    more, less = set_shares([0.80, 0.81, 0.79, 0.8], [0.7] * 4), set_shares([0.60, 0.61, 0.59, 0.6], [0.7] * 4)
    cube = xr.concat([more, less.assign_coords(network=["cnn"])], "network")
    said = findings(cube)
    assert len(said) == 2 * 2 + 2
    together = said[0]
    left = "0.30 (0.29 to 0.31) nat to the λ = 0 student and 0.30 (0.30 to 0.30) nat to an independent network"
    assert together.startswith(f"alignment = weights, mean of 2 settings: permutation leaves {left}")
    assert "difference of the shares removed 0% (-1% to 1%): the same within 10%" in together
    assert together.endswith("the same within 0.10 nat (4 seeds).")
    cube["barrier"].loc[{"seed": 3, "network": "cnn"}] = np.nan
    assert findings(cube)[0].endswith("(3 seeds; left out, for want of results: 1 of 4 values of seed (3)).")


def test_two_seeds_decide_nothing_and_other_studies_are_refused():
    cube = basins_cube()
    cube["barrier"].loc[{"seed": 2}] = np.nan
    assert findings(cube)[0].endswith("not decided: 2 seeds are done, a verdict needs at least 3.")
    with pytest.raises(ValueError, match="expected barrier over the dims partner, alignment, correction, seed; "):
        findings(xr.Dataset({"barrier": ("t", [1.0])}))
    with pytest.raises(ValueError, match=r"expected a partner of λ = 0, λ = 0\.5; got 'independent'"):
        findings(basins_cube().sel(partner=["λ = 0", "λ = 0.5"]))


def test_one_run_gives_its_shares_without_a_spread():
    assert shares_of_run(basins_cube().isel(seed=0, network=0, drop=True)) == [
        "share of the barrier removed by alignment (one seed)",
        "λ = 0: weights 70%, activations 70%",
        "independent: weights 60%, activations 60%",
    ]


def test_a_cube_without_the_partners_is_refused():
    with pytest.raises(ValueError, match=r"a partner of λ = 0, λ = 0\.5, independent; got 'twin'"):
        compare(share_removed(basins_cube()), student="twin")
    with pytest.raises(ValueError, match=r"barrier over the dims partner, alignment, correction, seed; seed missing"):
        findings(basins_cube().isel(seed=0))
