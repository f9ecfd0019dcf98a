from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from kdlandscape.cubes.schema import check
from kdlandscape.studies.claims import (
    Claim,
    Number,
    Precondition,
    best_of,
    difference,
    pick,
    value,
    verdicts,
)
from kdlandscape.studies.decisions import (
    CONTRADICTED,
    LEAST_SEEDS,
    NOT_TESTABLE,
    REPRODUCED,
    UNDECIDED,
    Bounds,
    decide,
    holm,
    seeds_needed,
)
from kdlandscape.studies.stanton2021 import CLAIMS, STUDIES, open_studies
from kdlandscape.studies.verdict_table import findings, format_verdicts
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.parameters import read_parameters
from kdlandscape.sweeps.places import shipped

VALUES = np.array([0.10, 0.12, 0.14, 0.11])


def cube(values=VALUES):
    array = np.stack([np.zeros(len(values)), values])[..., None]
    return xr.Dataset(
        {"agreement": (("arm", "seed", "temperature"), array)},
        {"arm": ["none", "mixup"], "seed": range(len(values)), "temperature": [4.0]},
    )


def claim(name="gain", *, above=0.0, below=None, study="s", **settings):
    measure = settings.get("measure", difference("agreement", {"arm": "mixup"}, {"arm": "none"}))
    number = Number(study, "agreement, MixUp minus none", measure)
    more = {key: settings[key] for key in ("needs", "yardstick") if key in settings}
    return Claim(name, "Fig. 3", "MixUp helps", number, above, below, **more)


def tables(*claims, values=VALUES, **cubes):
    return verdicts(claims, {"s": cube(values), **cubes})


def test_a_claim_holds_if_the_whole_interval_lies_on_its_side():
    table = tables(claim(), claim("more", above=0.105), claim("less", above=None, below=0.2), claim("wide", above=0.15))
    half = stats.t.ppf(0.975, 3) * VALUES.std(ddof=1) / 2
    np.testing.assert_allclose(table["mean"], VALUES.mean())
    np.testing.assert_allclose(table["low"], VALUES.mean() - half)
    np.testing.assert_allclose(table["high"], VALUES.mean() + half)
    assert table["verdict"].values.tolist() == [REPRODUCED, UNDECIDED, REPRODUCED, CONTRADICTED]
    assert table["seeds"].values.tolist() == [4] * 4


def test_no_effect_needs_the_interval_within_both_bounds():
    table = tables(claim(above=-0.2, below=0.2), claim("tight", above=-0.13, below=0.13))
    assert table["verdict"].values.tolist() == [REPRODUCED, UNDECIDED]
    assert table["rule"].values.tolist()[0] == "interval above -0.2 and below 0.2"


def test_the_p_value_is_that_of_a_t_test_against_the_bound():
    found = decide(VALUES, Bounds(above=0.1))
    assert found.p == pytest.approx(stats.ttest_1samp(VALUES, 0.1).pvalue)
    both = decide(VALUES, Bounds(above=-0.2, below=0.2))  # two one-sided tests
    assert both.p == pytest.approx(2 * stats.ttest_1samp(VALUES, 0.2, alternative="less").pvalue)


def test_an_effect_that_every_seed_shares_to_the_bit_is_decided():
    assert decide(np.ones(3), Bounds(above=0.999)).verdict == REPRODUCED
    assert decide(np.ones(3), Bounds(above=1.001)).verdict == CONTRADICTED
    with pytest.raises(ValueError, match="finite values, one of each seed, got"):
        decide(np.array([1.0, np.nan, 1.0]), Bounds(above=0.0))


def test_a_difference_within_rounding_decides_nothing():
    values = np.full(5, 0.3)
    assert decide(values + 1e-17, Bounds(above=0.3)).verdict == UNDECIDED
    assert decide(values, Bounds(above=0.1 + 0.2)).verdict == UNDECIDED  # 0.30000000000000004


def test_what_is_missing_or_has_few_seeds_is_not_testable_and_says_why():
    missing = (
        claim(study="other"),
        claim("name", measure=value("kl")),
        claim("arm", measure=value("agreement", arm="x")),
    )
    table = tables(*missing, claim("open"), values=np.array([0.1, np.nan, 0.1, np.nan]))
    assert (table["verdict"] == NOT_TESTABLE).all()
    assert table["seeds"].values.tolist() == [0, 0, 0, LEAST_SEEDS - 1]
    first, second, third, last = table["reason"].values.tolist()
    assert third == "s does not have it: no arm is 'x'"
    assert first == "other has not been run"
    assert second.startswith("s does not have it: ")
    assert last == "2 seeds have it, a verdict needs at least 3"


def test_a_claim_whose_precondition_is_not_shown_is_not_testable():
    accuracy = value("teacher_train_accuracy")
    trained = Precondition("the teacher is trained", Number("s", "train accuracy", accuracy), Bounds(above=0.95))
    data = cube()
    table = verdicts([claim(needs=(trained,))], {"s": data})
    assert (
        table["reason"]
        .item()
        .startswith("it is not known whether the teacher is trained: s does not have it: no variable")
    )
    data["teacher_train_accuracy"] = "seed", [0.6, 0.7, 0.6, 0.7]
    table = verdicts([claim(needs=(trained,))], {"s": data})
    assert (table["verdict"].item(), table["adjusted"].item()) == (NOT_TESTABLE, NOT_TESTABLE)
    assert (
        table["reason"].item() == "it is not shown that the teacher is trained: train accuracy 0.650 (0.558 to 0.742)"
    )
    assert table["teacher_train"].item() == pytest.approx(0.65)
    assert "teacher's accuracy 0.65 train" in format_verdicts(table)
    data["teacher_train_accuracy"] = "seed", [1.0, 0.99, 1.0, 1.0]
    assert verdicts([claim(needs=(trained,))], {"s": data})["verdict"].item() == REPRODUCED


def test_a_positive_control_is_the_yardstick_in_place_of_a_number_from_elsewhere():
    control = Number("control", "agreement of the control", value("agreement", arm="mixup"))
    short = claim(above=None, below=-0.02, yardstick=control)
    table = tables(short, control=cube(np.array([0.5, 0.52, 0.51, 0.5])))
    assert table["mean"].item() == pytest.approx(VALUES.mean() - 0.5075)
    assert table["verdict"].item() == REPRODUCED
    assert table["statistic"].item() == "agreement, MixUp minus none, minus agreement of the control"
    assert tables(short)["reason"].item() == "control has not been run"


def test_the_best_arm_is_chosen_on_the_other_seeds():
    """Two arms that differ by chance alone: choosing on the same seeds finds a gain, choosing on others none."""
    draws = np.random.default_rng(0).normal(size=(500, 5, 4))
    arms = xr.DataArray(draws, dims=("repeat", "arm", "seed"), coords={"arm": list("abcde"), "seed": range(4)})
    choose = best_of("agreement", "arm", {})
    found = [float(choose(xr.Dataset({"agreement": one})).mean()) for one in arms]
    assert abs(np.mean(found)) < 0.05
    assert float(arms.mean("seed").max("arm").mean()) > 0.5
    first = xr.Dataset({"agreement": arms[0]})
    seed = 2
    others = first["agreement"].drop_sel(seed=seed).mean("seed")
    assert choose(first).sel(seed=seed) == first["agreement"].sel(seed=seed)[int(others.values.argmax())]


def test_holm_adjusts_the_family_of_all_claims_that_are_tested():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04, 0.03]), [0.03, np.nan, 0.06, 0.06])
    p = np.random.default_rng(0).random(20) ** 3
    ranked = np.sort(p)
    expected = np.maximum.accumulate(np.minimum(1, (20 - np.arange(20)) * ranked))
    np.testing.assert_allclose(np.sort(holm(p)), expected)
    rough = claim("rough", measure=value("agreement", arm="mixup"), above=0.09)  # p = 0.04
    table = tables(rough, *[claim(str(i), above=0.12) for i in range(5)])
    assert table["verdict"].values[0] == REPRODUCED
    assert table["adjusted"].values[0] == UNDECIDED
    assert "[after Holm: undecided]" in format_verdicts(table)


def test_an_undecided_claim_says_how_many_seeds_would_decide_it():
    needed = seeds_needed(0.01, 0.02, Bounds(above=0.0))
    rng = np.random.default_rng(0)
    decided = [decide(rng.normal(0.01, 0.02, int(needed)), Bounds(above=0.0)).verdict for _ in range(2000)]
    assert decided.count(REPRODUCED) / 2000 == pytest.approx(0.8, abs=0.03)
    assert seeds_needed(1e-6, 0.02, Bounds(above=0.0)) == np.inf
    reason = tables(claim(above=0.105))["reason"].item()
    assert (
        reason == f"about {seeds_needed(VALUES.mean(), VALUES.std(ddof=1), Bounds(above=0.105))} seeds would decide it"
    )


def test_the_table_goes_into_a_cube_and_reads_as_text():
    table = tables(claim(), claim("other", study="other"))
    check(table.expand_dims(level=[0.95]))
    text = format_verdicts(table)
    counts, exceptions, rest, *each = findings(table.expand_dims(level=[0.95]))
    assert exceptions == "  not reproduced: NOT TESTABLE HERE Fig. 3: MixUp helps"
    assert counts == "2 claims: 1 reproduced, 0 contradicted, 0 undecided, 1 not testable here"
    assert f"{counts}; {rest.strip()}".endswith(text.splitlines()[-1])
    assert [" ".join(line.split()) for line in text.splitlines()[:-1]] == [" ".join(line.split()) for line in each]
    assert [line.startswith("  ") for line in each] == [False, True] * 2  # each claim with its numbers below it
    assert "agreement, MixUp minus none: +0.117 (+0.090 to +0.145), 4 seeds; rule: interval above 0" in text
    assert "nan" not in text
    assert text.splitlines()[-1].startswith(
        "1 reproduced, 0 contradicted, 0 undecided, 1 not testable here; after Holm"
    )
    assert "1 rows of the paper tested (Fig. 3); two disjoint halves" in text
    with pytest.raises(ValueError, match="expected the variables verdict; verdict missing"):
        findings(cube())


def test_the_counts_name_the_claims_that_are_not_reproduced_up_to_eight():
    many = tables(*(claim(str(k), above=None, below=-1) for k in range(9)))
    *named, more = findings(many)[1].removeprefix("  not reproduced: ").split("; ")
    assert [one.split(" [")[0] for one in named] == ["CONTRADICTED Fig. 3: MixUp helps"] * 8
    assert more == "…"
    assert findings(tables(claim()))[1].startswith("  after Holm's correction 1 reproduced")


def test_another_run_with_other_seeds_is_compared_claim_by_claim():
    names = claim(), claim("more", above=0.105)
    first, torn = tables(*names, claim("less", above=None, below=-0.2)), tables(*names, claim("less", below=0.2))
    again = verdicts([*names, claim("less", above=None, below=-0.2)], {"s": cube(-VALUES)})
    both = xr.concat([one.expand_dims(seeds_from=[k]) for k, one in ((0, first), (1000, again))], "seeds_from")
    text = format_verdicts(both.expand_dims(level=[0.95]))
    assert "Fig. 3: MixUp helps [contradicted in seeds from 1000]" in text
    assert text.endswith("with seeds from 1000, says the same of 1 of 3 claims; flipped: gain")
    same = xr.concat([one.expand_dims(seeds_from=[k]) for k, one in ((0, torn), (1000, torn))], "seeds_from")
    assert "in seeds from" not in format_verdicts(same)
    assert format_verdicts(same).endswith("says the same of 3 of 3 claims; flipped: none")
    assert format_verdicts(first.expand_dims(seeds_from=[0])) == format_verdicts(first)


def test_one_seed_prints_no_nan():
    text = format_verdicts(tables(claim(), values=VALUES[:1]))
    assert "nan" not in text
    assert "+0.100, 1 seed;" in text


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
    own = [replace(one, yardstick=None, needs=()) for one in CLAIMS if one.number.study == name]
    table = verdicts(own, {name: filled})
    assert (table["seeds"] == len(spec.grid["seed"])).all(), table["reason"].values


def test_every_claim_needs_a_trained_teacher_and_no_threshold_is_a_number_of_another_data_set():
    assert all("the teacher is trained" in [need.name for need in one.needs] for one in CLAIMS)
    assert {one.name for one in CLAIMS if one.yardstick} == {"3-best", "6a-short", "13-network"}
    bounds = [bound for one in CLAIMS for bound in one.bounds if np.isfinite(bound)]
    assert not {0.85, 0.86, 0.95} & set(bounds)


def test_studies_without_a_cube_are_left_out(tmp_path):
    assert open_studies(tmp_path, STUDIES) == {}


def test_two_halves_of_the_seeds_are_decided_as_if_the_study_had_been_run_twice():
    steady = np.array([0.10, 0.11, 0.12, 0.10, 0.11, 0.12])
    table = tables(claim(), values=steady)
    assert (table["even"].item(), table["odd"].item()) == (REPRODUCED, REPRODUCED)
    assert "halves of the seeds:" not in format_verdicts(table)
    assert "say the same of 1 of the 1 claims that both can test; flipped: none" in format_verdicts(table)
    torn = np.array([0.10, -0.10, 0.11, -0.11, 0.12, -0.12])
    table = tables(claim(), values=torn)
    assert table["even"].item() == decide(torn[::2], Bounds(above=0.0)).verdict == REPRODUCED
    assert table["odd"].item() == decide(torn[1::2], Bounds(above=0.0)).verdict == CONTRADICTED
    assert "[halves of the seeds: reproduced, contradicted]" in format_verdicts(table)
    assert format_verdicts(table).endswith("flipped: gain")
    assert tables(claim())["even"].item() == NOT_TESTABLE  # two seeds a half
