import numpy as np
import pytest
import xarray as xr

from kdlandscape.studies.onsets import basin_onsets, findings, onset
from tests.synthetic import demo_cube


def test_an_onset_is_the_first_coordinate_from_which_a_condition_holds_to_the_end():
    holds = xr.DataArray(
        [[False, True, False, True], [True] * 4, [False] * 4, [True, True, True, False]],
        dims=("case", "init_lambda"),
        coords={"init_lambda": [0, 0.25, 0.5, 1.0]},
    )
    np.testing.assert_array_equal(onset(holds), [1.0, 0.0, np.nan, np.nan])


def test_onsets_are_found_for_each_run():
    onsets = basin_onsets(demo_cube())
    assert onsets["barrier_vanishes"].dims == ("seed", "lr_policy")
    assert (onsets["barrier_vanishes"] == 0.5).all()
    assert (onsets["distance_shrinks"] == 0.5).all()


def test_findings_say_reproduced_only_when_every_seed_shows_both_signs_together():
    sentences = findings(demo_cube())
    assert len(sentences) == 2
    assert sentences[0].startswith("lr_policy=constant: ")
    assert "from λ = 0.500 ± 0.000 (range 0.5–0.5) on" in sentences[0]
    assert sentences[0].endswith("both signs in 4 of 4 seeds, within one grid step in 4: reproduced.")


def test_findings_say_not_reproduced_when_one_seed_keeps_its_barrier():
    cube = demo_cube()
    cube["barrier"].values[1, 0, 1:] = 2.0
    sentences = findings(cube)
    assert sentences[0].endswith("both signs in 3 of 4 seeds, within one grid step in 3: NOT reproduced.")
    assert sentences[1].endswith("reproduced.")
    assert "NOT" not in sentences[1]


def test_findings_do_not_decide_on_fewer_than_three_seeds():
    cube = demo_cube()
    cube["barrier"].values[2:] = np.nan
    assert findings(cube)[0].endswith("not decided: 2 seeds are done, a verdict needs at least 3.")


def test_a_cube_without_what_the_finding_needs_is_refused_by_name():
    with pytest.raises(ValueError, match=r"expected the variables barrier, .*; barrier, distance_start, .* missing"):
        findings(xr.Dataset({"loss": ("t", [1.0])}))
    with pytest.raises(ValueError, match=r"expected barrier over the dims init_lambda, seed; seed missing"):
        findings(demo_cube().isel(seed=0))
