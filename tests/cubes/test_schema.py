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


MANY = [f"a{i}" for i in range(41)]
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
    "objects": (
        good(values=np.array([{}, {}], object)),
        "numbers, texts, dates or durations, got object",
    ),
    "times": (
        good(values=np.array(["2026", "2027"], "M8[ns]")),
        "expected no units of dates and durations, got",
    ),
    "a far date": (
        good(values=np.array(["2026", "9999"], "M8[s]"), attrs={"long_name": "day"}),
        "loss: expected dates between 1678 and 2262, and durations below 292 years, got others",
    ),
    "no date": (
        good(x=np.array(["2026", "NaT"], "M8[ns]")),
        "x: expected a date at each place",
    ),
    "bytes": (good(values=np.array([b"a", b"b"])), "loss: expected numbers, texts, dates or durations, got |S1"),
    "long double": (
        good(values=np.array([1, 2], np.longdouble)),
        "expected at most 64 bits a number, got",
    ),
    "unsigned": (
        good(values=np.array([1, 2**63], np.uint64)),
        "integers below 2**63, got 92233720",
    ),
    "a hole": (good(values=np.array([1, -(2**63)])), "loss: expected integers above -2**63, got -9223372036854775808"),
    "NUL": (
        good(values=np.array(["a", "b\0c"], object)),
        "texts without NUL or lone surrogates, got 'b",
    ),
    "surrogate": (
        good(values=np.array(["a", "\ud800"], "U")),
        "texts without NUL or lone surrogates",
    ),
    "nothing": (good(values=(), x=()), "x: expected at least one place along each dim, got none"),
    "41 dims": (
        xr.Dataset(
            {"loss": ([f"a{i}" for i in range(41)], np.zeros((1,) * 41), LABELS)}, {f"a{i}": [0] for i in range(41)}
        ),
        "loss: expected at most 32 dims, got 41; vectorize fewer axes",
    ),
    "an encoding": (
        good(attrs={**LABELS, "scale_factor": 2.0}),
        "expected no attribute 'scale_factor'",
    ),
    "a fill value": (
        good(attrs={**LABELS, "_FillValue": 2.0}),
        "expected no attribute '_FillValue'",
    ),
    "an odd attribute": (
        good(attrs={**LABELS, "a/b": 2.0}),
        "expected attributes with a name",
    ),
    "levels": (
        good().assign_coords(z=("x", [0, 0]), w=("x", [0, 1])).set_index(x=["w", "z"]),
        "x: expected one value at each place, got an index of several levels; use reset_index('x')",
    ),
    "a space": (
        good().assign_coords({"a b": 1}),
        "a b: expected no space in the name",
    ),
    "a complex fact": (good().assign_coords(a=1j), "a: expected real values, got complex128"),
    "a number as a name": (good().assign({3: good()["loss"]}), "3: expected a text as the name of a variable, got int"),
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
