import numpy as np
import pytest
import xarray as xr
from scipy import stats

from kdlandscape.cubes.schema import check
from kdlandscape.studies.claims import (
    LEAST_SEEDS,
    NOT_REPRODUCED,
    NOT_TESTED,
    REPRODUCED,
    Claim,
    difference,
    findings,
    format_verdicts,
    pick,
    value,
    verdicts,
)
from kdlandscape.studies.stanton2021 import CLAIMS, STUDIES, open_studies
from kdlandscape.sweeps.parameters import read_parameters
from kdlandscape.sweeps.places import shipped
from kdlandscape.sweeps.spec import load_spec

VALUES = np.array([0.10, 0.12, 0.14, 0.11])


def cube(values=VALUES):
    array = np.stack([np.zeros(len(values)), values])[..., None]
    return xr.Dataset(
        {"agreement": (("arm", "seed", "temperature"), array)},
        {"arm": ["none", "mixup"], "seed": range(len(values)), "temperature": [4.0]},
    )


def claim(name="gain", *, above=0.0, below=None, study="s", **settings):
    measure = settings.get("measure", difference("agreement", {"arm": "mixup"}, {"arm": "none"}))
    return Claim(name, "Fig. 3", "MixUp helps", study, "agreement, MixUp minus none", measure, above, below)


def decide(*claims, values=VALUES):
    return verdicts(claims, {"s": cube(values)})


def test_a_claim_holds_if_the_whole_interval_lies_on_its_side():
    table = decide(claim(), claim("more", above=0.105), claim("less", above=None, below=0.2), claim("wide", above=0.1))
    half = stats.t.ppf(0.975, 3) * VALUES.std(ddof=1) / 2
    np.testing.assert_allclose(table["mean"], VALUES.mean())
    np.testing.assert_allclose(table["low"], VALUES.mean() - half)
    np.testing.assert_allclose(table["high"], VALUES.mean() + half)
    assert table["verdict"].values.tolist() == [REPRODUCED, NOT_REPRODUCED, REPRODUCED, NOT_REPRODUCED]
    assert table["seeds"].values.tolist() == [4] * 4
    assert not table["contradicted"].any()


def test_what_is_not_reproduced_is_contradicted_or_undecided():
    table = decide(claim("against", above=0.2), claim("open", above=0.1), claim("beyond", above=None, below=0.05))
    assert (table["verdict"] == NOT_REPRODUCED).all()
    assert table["contradicted"].values.tolist() == [True, False, True]
    text = format_verdicts(table)
    assert text.count("[contradicted]") == 2
    assert text.count("[undecided: the interval crosses the bound]") == 1


def test_no_effect_needs_the_interval_within_both_bounds():
    table = decide(claim(above=-0.2, below=0.2), claim("tight", above=-0.13, below=0.13))
    assert table["verdict"].values.tolist() == [REPRODUCED, NOT_REPRODUCED]
    assert table["rule"].values.tolist()[0] == "interval above -0.2 and below 0.2"


def test_an_effect_that_every_seed_shares_to_the_bit_is_decided():
    table = decide(claim(above=0.999, measure=value("agreement", arm="mixup")), values=np.ones(3))
    assert table["verdict"].item() == REPRODUCED


def test_what_is_missing_or_has_few_seeds_is_not_tested():
    missing = (
        claim(study="other"),
        claim("name", measure=value("kl")),
        claim("arm", measure=value("agreement", arm="x")),
    )
    table = decide(*missing, claim("open"), values=np.array([0.1, np.nan, 0.1, np.nan]))
    assert (table["verdict"] == NOT_TESTED).all()
    assert table["seeds"].values.tolist() == [0, 0, 0, LEAST_SEEDS - 1]


def test_the_table_goes_into_a_cube_and_reads_as_text():
    table = decide(claim(), claim("other", study="other"))
    check(table.expand_dims(level=[0.95]))
    text = format_verdicts(table)
    assert findings(table.expand_dims(level=[0.95])) == text.splitlines()
    assert "REPRODUCED" in text
    assert "agreement, MixUp minus none: +0.117 (+0.090 to +0.145), 4 seeds; rule: interval above 0" in text
    assert "no data" in text
    assert text.endswith("1 reproduced, 0 not reproduced, 1 not tested here; 1 rows of the paper decided (Fig. 3)")


def test_picking_needs_every_coordinate_that_varies():
    with pytest.raises(ValueError, match="agreement: expected one coordinate of arm, got none chosen"):
        pick(cube(), "agreement")
    with pytest.raises(KeyError, match="expected the coordinate depth=2"):
        pick(cube(), "agreement", arm="none", depth=2)
    assert pick(cube().assign_coords(depth=2), "agreement", arm="none", depth=2).dims == ("seed",)


def test_a_claim_without_a_bound_is_refused():
    with pytest.raises(ValueError, match="claim 'gain': expected a bound above or below, got none"):
        claim(above=None)


def test_the_paper_has_twelve_rows_with_claims_of_unique_names():
    names = [one.name for one in CLAIMS]
    assert len(set(names)) == len(names)
    assert len({one.source for one in CLAIMS if "Fig" in one.source or "Tab" in one.source}) >= 12


@pytest.mark.parametrize("name", STUDIES)
def test_the_specs_of_the_paper_hold_every_number_that_their_claims_need(name):
    spec = load_spec(name)
    assert spec.study == name
    assert len(spec.grid["seed"]) >= LEAST_SEEDS
    grid = dict(spec.grid)
    if name != "demo":  # what the notebook adds to its grid
        known = read_parameters(shipped("notebooks") / "distill.ipynb")
        grid = {axis: known[axis].default for axis in ("temperature", "hard_weight")} | grid
    dims = [*grid, "split"]
    rng = np.random.default_rng(0)
    array = (dims, rng.random([*map(len, grid.values()), 2]))
    variables = ("agreement", "student_accuracy", "excess_agreement", "excess_teacher_wrong", "confidence_slope")
    flat = {
        key: (list(grid), rng.random([*map(len, grid.values())]))
        for key in ("barrier", "distance_start", "distance_end")
    }
    filled = xr.Dataset(dict.fromkeys(variables, array) | flat, grid | {"split": ["train", "test"]})
    table = verdicts([one for one in CLAIMS if one.study == name], {name: filled})
    assert (table["seeds"] == len(spec.grid["seed"])).all(), table["statement"].values[table["seeds"].values == 0]


def test_studies_without_a_cube_are_left_out(tmp_path):
    assert open_studies(tmp_path, STUDIES) == {}
