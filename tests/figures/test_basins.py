import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from kdlandscape import figures
from tests.synthetic import basins_cube


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def drawn(ax, label):
    """The x and y data of the error bars with a label."""
    container = next(c for c in ax.containers if c.get_label() == label)
    return container[0].get_xydata()


def test_barriers_are_drawn_by_partner_with_the_means_over_seeds():
    axes = figures.basins(basins_cube())
    assert axes.shape == (1, 2)
    assert [text.get_text() for text in axes[0, 0].get_xticklabels()] == ["λ = 0", "λ = 0.5", "independent"]
    np.testing.assert_allclose(drawn(axes[0, 0], "as they are")[:, 1], [1.0, 0.0, 2.0])
    np.testing.assert_allclose(drawn(axes[0, 0], "weights matched")[:, 1], [0.2, 0.0, 0.6])
    paths = [line for line in axes[0, 1].lines if len(line.get_xdata())]
    np.testing.assert_allclose([line.get_ydata()[1] for line in paths], [1, 0.2, 0.2, 2, 0.6, 0.6])
    assert [line.get_linestyle() for line in paths] == ["-"] * 3 + ["--"] * 3
    named = [line for line in axes[0, 1].lines if not len(line.get_xdata())]
    assert [line.get_label() for line in named] == ["path of λ = 0", "path of independent"]


def test_the_removed_share_is_drawn_where_there_was_a_barrier():
    (ax,) = figures.removed_share(basins_cube())
    shares = drawn(ax, "weights matched")[:, 1]
    np.testing.assert_allclose(shares[[0, 2]], [0.8, 0.7])
    assert np.isnan(shares[1])


def test_one_run_draws_as_well_and_given_axes_are_used():
    run = basins_cube().isel(seed=0, network=0, drop=True)
    given = plt.subplots(1, 2, squeeze=False)[1]
    assert figures.basins(run, given)[0, 0] is given[0, 0]
    assert len(figures.removed_share(run)) == 1


def test_every_alignment_of_the_cube_is_drawn_whatever_its_name():
    cube = basins_cube()
    more = cube.sel(alignment=["weights"] * 2).assign_coords(alignment=["sinkhorn", "mine"]) / 2
    cube = xr.concat(
        [cube, more], "alignment", data_vars="minimal", coords="minimal", compat="override", combine_attrs="override"
    )
    barriers, shares = figures.basins(cube)[0, 0], figures.removed_share(cube)[0]
    for label in ("loss matched, Sinkhorn", "mine"):
        np.testing.assert_allclose(drawn(barriers, label)[:, 1], [0.1, 0.0, 0.3])
        np.testing.assert_allclose(drawn(shares, label)[[0, 2], 1], [0.9, 0.85])
