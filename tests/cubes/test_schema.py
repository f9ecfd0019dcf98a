import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes.schema import SchemaError, check

LABELS = {"long_name": "loss", "units": "nat"}


def good(values=(1.0, 2.0), x=(0.0, 1.0), attrs=LABELS):
    return xr.Dataset({"loss": ("x", np.array(values), attrs)}, {"x": np.array(x)})


@pytest.mark.parametrize("x", [(0.0, 1.0), (1, 2), ("a", "b"), (True, False)])
def test_numbers_texts_and_booleans_are_coordinates(x):
    check(good(x=x), axes=["x"])


WRONG = {
    "no variable": (good().drop_vars("loss"), "expected at least one data variable, got none"),
    "no coordinate": (good().drop_vars("x"), "x: expected a coordinate for every dim, got none for this one."),
    "misspelt dim": (
        good().drop_vars("x").rename_dims(x="init_lamda").assign_coords(init_lambda=("init_lambda", [0.0, 1.0])),
        "init_lamda: expected a coordinate for every dim, got none for this one. Did you mean 'init_lambda'?",
    ),
    "repeated": (good(x=(1.0, 1.0)), "x: expected each coordinate value once, got"),
    "repeated text": (good(x=("a", "a")), "x: expected each coordinate value once, got"),
    "nan": (good(x=(1.0, np.nan)), "x: expected finite values as coordinate, got nan"),
    "none": (good(x=np.array(["a", None], object)), "x: expected numbers or texts as coordinate, got nan (float)"),
    "complex coordinate": (good(x=(1j, 2j)), "x: expected real numbers as coordinate, got complex128"),
    "complex": (
        good(values=(1j, 2j)),
        "loss: expected real values, got complex128; keep real and imaginary part apart",
    ),
    "objects": (good(values=np.array([{}, {}], object)), "loss: expected numbers or texts, got object; keep"),
    "times": (good(values=np.array(["2026", "2027"], "M8[ns]")), "loss: expected numbers or texts, got datetime64[ns]"),
    "no label": (
        good(attrs={"units": "nat"}),
        "loss: expected attrs long_name and units ('1' if dimensionless) as text, got long_name=None",
    ),
    "no unit": (good(attrs={"long_name": "loss", "units": ""}), "got units=''"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_dataset_that_no_cube_can_hold_is_refused(case):
    dataset, message = WRONG[case]
    with pytest.raises(SchemaError) as refused:
        check(dataset)
    assert message in str(refused.value)


def test_an_axis_that_is_asked_for_has_to_be_there():
    with pytest.raises(SchemaError, match=r"xx: expected this dim, got x. Did you mean 'x'\?"):
        check(good(), axes=["xx"])


def test_all_problems_are_named_at_once():
    with pytest.raises(SchemaError) as refused:
        check(good(values=(1j, 2j), attrs={}).drop_vars("x"))
    assert len(str(refused.value).splitlines()) == 4
