import numpy as np
import pytest
import xarray as xr
from scipy import stats

from kdlandscape.studies.excess import findings

EXCESS = np.array([[0.10, 0.12, 0.11], [0.1, -0.1, 0.05], [-0.1, -0.12, -0.11]])


def cube(excess=EXCESS):
    both = np.stack([np.zeros_like(excess), excess], -1)
    dims = ("arm", "seed", "split")
    coords = {"arm": ["a", "b", "c"], "seed": range(3), "split": ["train", "test"]}
    return xr.Dataset({"excess_agreement": (dims, both), "agreement": (dims, both + 0.5)}, coords)


def test_every_arm_gets_its_excess_and_what_it_shows():
    low, high = stats.t.interval(0.95, 2, loc=0.11, scale=stats.sem(EXCESS[0]))
    first, second, third = findings(cube())
    assert first == (
        f"arm = a: test agreement 61.0%, +11.0% ({low:+.1%} to {high:+.1%}) beyond the independent student's: "
        "fidelity is shown (3 seeds)."
    )
    assert "fidelity is not shown" in second
    assert "fidelity is ruled out" in third


def test_two_seeds_decide_nothing():
    excess = EXCESS.copy()
    excess[:, 2] = np.nan
    assert findings(cube(excess))[0] == "arm = a: not decided: 2 seeds are done, a verdict needs at least 3."


def test_a_cube_without_the_excess_is_refused():
    with pytest.raises(ValueError, match="excess_agreement missing"):
        findings(cube().drop_vars("excess_agreement"))
