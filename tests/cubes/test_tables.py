import numpy as np
import pytest

from kdlandscape.cubes.tables import format_table
from tests.synthetic import demo_cube


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


def test_a_table_of_one_seed_shows_no_spread():
    text = format_table(demo_cube().isel(seed=[0]), ["lr_policy", "init_lambda"], "seed", ["barrier"])
    assert "nan" not in text
    assert "±" not in text
    assert text.endswith("one value of seed, so no spread")
