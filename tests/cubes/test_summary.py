import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes.summary import basin_onsets, findings, format_table, mean_sem, onset
from kdlandscape.cubes.variables import dataset, label
from tests.synthetic import demo_cube


def test_means_and_standard_errors_leave_missing_cells_out():
    values = xr.DataArray([[1.0, 2.0, 6.0], [4.0, np.nan, np.nan]], dims=("cell", "seed"))
    mean, sem, count = mean_sem(values)
    assert mean.values.tolist() == [3.0, 4.0]
    assert sem.values[0] == pytest.approx(np.std([1, 2, 6], ddof=1) / 3**0.5)
    assert np.isnan(sem.values[1])
    assert count.values.tolist() == [3, 1]


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


def test_findings_on_another_study_are_silent():
    assert findings(xr.Dataset({"loss": ("t", [1.0])})) == []


def test_the_table_has_a_row_for_each_cell_and_says_missing():
    cube = demo_cube()
    cube["barrier"].values[:, 1, 3] = np.nan
    text = format_table(
        cube, ["lr_policy", "init_lambda"], "seed", ["agreement.test", "barrier", "student_eigenvalues.0"]
    )
    lines = text.splitlines()
    assert lines[2].split() == ["policy", "lambda", "test", "barrier", "0"]
    assert len(lines) == 3 + 8 + 1
    assert lines[3].split() == ["constant", "0", "0.700", "±", "0.000", "3.150", "±", "0.065", "20.00", "±", "0.00"]
    assert lines[10].split() == ["scaled", "1", "1.000", "±", "0.000", "missing", "20.00", "±", "0.00"]
    assert lines[-1] == "mean ± standard error over 4 values of seed"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("bariers", "expected a variable of the cube, got 'bariers'. Did you mean 'barrier'"),
        ("agreement", "expected agreement.<split>, got 'agreement'"),
        ("agreement.tset", "expected a split of train, test, got 'tset'"),
    ],
)
def test_a_table_refuses_values_that_are_not_in_the_cube(value, message):
    with pytest.raises(ValueError, match=message):
        format_table(demo_cube(), ["lr_policy", "init_lambda"], "seed", [value])


def test_variables_are_labelled_with_their_data_and_unit():
    assert label("test_kl") == ("test KL(teacher ‖ student)", "nat")
    assert label("my_number") == ("my number", "1")
    ds = dataset({"loss": [1.0, 2.0]}, ("t",), {"t": [0, 1]}, curvature="ggn")
    assert ds["loss"].attrs == {"long_name": "loss", "units": "nat"}
    assert ds.attrs == {"curvature": "ggn"}
    assert dataset({"again": ds["loss"]})["again"].dims == ("t",)
