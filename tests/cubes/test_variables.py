from kdlandscape.cubes.variables import dataset, label


def test_variables_are_labelled_with_their_data_and_unit():
    assert label("test_kl") == ("test KL(teacher ‖ student)", "nat")
    assert label("my_number") == ("my number", "1")
    ds = dataset({"loss": [1.0, 2.0]}, ("t",), {"t": [0, 1]}, curvature="ggn")
    assert ds["loss"].attrs == {"long_name": "loss", "units": "nat"}
    assert ds.attrs == {"curvature": "ggn"}
    assert dataset({"again": ds["loss"]})["again"].dims == ("t",)
