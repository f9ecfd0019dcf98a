import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from kdlandscape import figures
from kdlandscape.cubes.spectra import density


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def rules():
    nodes = np.array([[[0.0, 1.0, 5.0]], [[0.0, 2.0, 6.0]]]).repeat(3, axis=1)
    nodes = nodes + np.array([0.0, 0.01, 0.02])[:, None]
    weights = np.broadcast_to([0.9, 0.08, 0.02], nodes.shape)
    dims = ("network", "draw", "node")
    return xr.Dataset(
        {"nodes": (dims, nodes), "weights": (dims, weights)},
        {"network": ["teacher", "student"], "draw": range(3), "node": range(3)},
    )


def test_densities_are_drawn_as_they_are_with_their_standard_error():
    spectrum = density(rules(), width=0.05)
    ax = figures.spectral_density(spectrum, hue="network")
    teacher = ax.lines[0]
    floor = float(spectrum["density"].max()) * 1e-6
    np.testing.assert_allclose(teacher.get_ydata(), np.maximum(spectrum["density"].sel(network="teacher"), floor))
    assert ax.get_yscale() == "log"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["teacher", "student"]
    assert len(ax.collections) == 2
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()


def test_a_density_with_a_dim_too_many_is_refused():
    with pytest.raises(ValueError, match=r"expected a density over grid, got also \['network'\]"):
        figures.spectral_density(density(rules()))


def test_eigenvalues_are_bars_with_means_and_whiskers_over_the_other_dims():
    values = xr.DataArray(
        [[[4.0, 2.0], [6.0, 2.0]], [[1.0, 0.5], [3.0, 0.5]]],
        dims=("network", "seed", "eigenvalue"),
        coords={"network": ["teacher", "student"], "seed": [0, 1], "eigenvalue": [0, 1]},
        attrs={"long_name": "Hessian eigenvalue", "units": "nat"},
    )
    ax = figures.eigenvalues(values, hue="network")
    assert [bar.get_height() for bar in ax.patches] == [5.0, 2.0, 2.0, 0.5]
    assert ax.get_ylabel() == "Hessian eigenvalue [nat]"
    assert len(ax.containers) == 4  # two of bars, two of whiskers
    one = figures.eigenvalues(values[0, 0])
    assert [bar.get_height() for bar in one.patches] == [4.0, 2.0]
