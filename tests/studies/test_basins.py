import numpy as np
import pytest
import xarray as xr
from scipy import stats

from kdlandscape.studies.basins import compare_shares, findings, share_removed, shares_of_run
from tests.synthetic import basins_cube


def test_the_share_removed_is_taken_of_the_barrier_as_it_is():
    share = share_removed(basins_cube()).isel(network=0)
    assert share.sel(partner="λ = 0", alignment="none", correction="none").values == pytest.approx(0)
    np.testing.assert_allclose(share.sel(partner="λ = 0", alignment="weights", correction="none"), [0.7, 0.8, 0.9])
    np.testing.assert_allclose(share.sel(partner="λ = 0", alignment="weights", correction="repair"), [0.85, 0.9, 0.95])
    assert share.sel(partner="λ = 0.5").isnull().all()  # there was no barrier


def test_the_difference_is_paired_over_seeds():
    answer = compare_shares(basins_cube()).sel(alignment="weights", correction="none")
    assert answer["mean"].sel(quantity="student") == pytest.approx(0.8)
    assert answer["mean"].sel(quantity="baseline") == pytest.approx(0.7)
    difference = answer.sel(quantity="difference")
    assert difference["mean"] == pytest.approx(0.1)
    assert difference["high"] - difference["low"] == pytest.approx(0, abs=1e-12)  # the same in every seed
    half = stats.t.ppf(0.975, 2) * 0.1 / 3**0.5
    assert answer["low"].sel(quantity="student") == pytest.approx(0.8 - half)


def test_findings_state_shares_intervals_and_the_verdict():
    sentences = findings(basins_cube())
    assert len(sentences) == 2
    assert sentences[0].startswith(
        "network=mlp, alignment=weights: permutation removes 80% (55% to 105%) of the barrier"
    )
    assert "70% (45% to 95%) between two independent networks (2.00 nat)" in sentences[0]
    assert "difference 10% (10% to 10%): more than there (95 % t intervals, 3 seeds, paired)." in sentences[0]


def test_findings_show_no_difference_where_the_interval_holds_zero():
    cube = basins_cube()
    cube["barrier"].loc[{"partner": "independent", "alignment": "weights", "seed": 0}] = 0.0
    assert "no difference is shown" in findings(cube)[0]
    cube["barrier"].loc[{"partner": "independent", "alignment": "weights"}] = 0.0
    cube["barrier"].loc[{"partner": "λ = 0", "alignment": "weights"}] = 0.5
    assert "less than there" in findings(cube)[0]


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
        compare_shares(basins_cube(), student="twin")
    with pytest.raises(ValueError, match=r"barrier over the dims partner, alignment, correction, seed; seed missing"):
        compare_shares(basins_cube().isel(seed=0))
