import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes.variables import dataset, variable


def test_a_variable_says_what_it_is():
    made = variable("t", [1.0, 2.0], "loss", "nat", definition="mean")
    assert (made.dims, made.attrs) == (("t",), {"long_name": "loss", "units": "nat", "definition": "mean"})
    ds = dataset({"loss": made}, {"t": [0, 1]}, curvature="ggn")
    assert ds["loss"].attrs == made.attrs
    assert ds.attrs == {"curvature": "ggn"}
    assert ds["t"].values.tolist() == [0, 1]


@pytest.mark.parametrize("array", [np.zeros(2), ("t", np.zeros(2)), xr.Variable("t", np.zeros(2)), xr.DataArray(0.0)])
def test_an_array_without_a_label_is_refused_by_name(array):
    with pytest.raises(ValueError, match=r"bare: expected an array with long_name and units, as variable\(\) makes it"):
        dataset({"bare": array})


def test_a_labelled_array_keeps_its_label_and_brings_its_coordinates():
    loss = xr.DataArray(
        variable("t", [1.0, 2.0], "loss on the way", "bit", definition="mean"), coords={"t": [0.0, 1.0], "scalar": 3}
    )
    ds = dataset({"loss": loss, "again": loss.assign_attrs(long_name="again")})
    assert ds["loss"].attrs == {"long_name": "loss on the way", "units": "bit", "definition": "mean"}
    assert ds["again"].attrs["long_name"] == "again"
    assert list(ds.coords) == ["t"]
    symbol = variable("t", [0.0, 1.0], "place on the way", symbol="t")
    assert dataset({"loss": loss}, coords={"t": symbol})["t"].attrs["symbol"] == "t"


def test_arrays_with_different_coordinates_are_refused_by_name():
    loss = xr.DataArray(variable("t", np.zeros(2), "loss"), coords={"t": [0.0, 1.0]})
    with pytest.raises(ValueError, match="other: expected the coordinate t of the variables before it"):
        dataset({"loss": loss, "other": loss.assign_coords(t=[0.0, 2.0])})
