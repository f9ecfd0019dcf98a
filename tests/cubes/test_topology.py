"""Basins of planes whose wells and saddles are planted."""

import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes import plane_basins
from kdlandscape.cubes.schema import check


def plane(function, points=41, span=2.0):
    at = np.linspace(-span, span, points)
    x, y = np.meshgrid(at, at)
    return xr.DataArray(function(x, y), {"y": at, "x": at}, ("y", "x"), attrs={"units": "nat", "long_name": "loss"})


def test_a_double_well_has_two_basins_that_merge_at_its_saddle():
    found = plane_basins(plane(lambda x, y: (x**2 - 1) ** 2 + y**2 + 0.1 * x))
    check(found)
    assert found.sizes["basin"] == 2
    np.testing.assert_allclose(found["birth"], [-0.1, 0.1], atol=1e-12)
    np.testing.assert_allclose(found["low_x"], [-1, 1], atol=1e-12)
    assert float(found["death"][1]) == pytest.approx(1.0)  # at (0, 0), a point of the grid
    assert (float(found["saddle_x"][1]), float(found["saddle_y"][1])) == pytest.approx((0, 0))
    assert found["parent"].values.tolist() == [0, 0]
    assert float(found["persistence"][1]) == pytest.approx(0.9)
    assert found["persistence"].attrs["units"] == "nat"
    assert bool(found["resolved"])
    assert found.attrs["note"] == ""


def test_a_chain_of_wells_merges_from_the_lowest_saddle_on():
    """Heights 0, 2, 1 with saddles 3 and 5: the middle well ends in the deepest at 3, the last at 5."""
    row = np.interp(np.arange(13), [0, 2, 4, 6, 8, 10, 12], [9, 0, 3, 2, 5, 1, 9])
    walls = np.array([9, 9, 4, 0, 0, 0, 4, 9, 9])[:, None]
    found = plane_basins(xr.DataArray(row + walls, dims=("y", "x")), least=0.5)
    births_and_deaths = list(zip(found["birth"].values.tolist(), found["death"].values.tolist(), strict=True))
    assert births_and_deaths == [(0, 18), (1, 5), (2, 3)]
    assert found["parent"].values.tolist() == [0, 0, 0]
    nested = plane_basins(xr.DataArray(row[::-1] * -1 + 9 + walls, dims=("y", "x")), least=0.5)
    assert nested.sizes["basin"] == 4  # the peaks of before, and the two ends


def test_wells_that_are_shallower_than_the_least_persistence_are_ripple_and_their_children_keep_a_parent():
    row = np.interp(np.arange(13), [0, 2, 4, 6, 8, 10, 12], [9, 0, 3, 2.9, 3.05, 1, 9])
    walls = np.array([9, 9, 4, 0, 0, 0, 4, 9, 9])[:, None]
    found = plane_basins(xr.DataArray(row + walls, dims=("y", "x")), least=0.5)
    assert found["birth"].values.tolist() == [0, 1]
    assert found["parent"].values.tolist() == [0, 0]


def test_a_plane_that_is_too_coarse_for_its_wells_says_so():
    comb = plane(lambda x, y: np.cos(9 * x) + np.cos(9 * y) + 0.3 * x**2 + 0.3 * y**2, points=13)
    found = plane_basins(comb)
    assert not bool(found["resolved"])
    assert found.attrs["note"].startswith("the plane is too coarse to count its basins: all points show ")
    assert bool(plane_basins(plane(lambda x, y: np.cos(9 * x) + np.cos(9 * y) + 0.3 * (x**2 + y**2), 161))["resolved"])


def test_the_number_of_basins_is_that_of_scipy_where_all_count():
    from scipy import ndimage

    heights = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((60, 60)), 3)
    lowest = (heights == ndimage.minimum_filter(heights, 3, mode="nearest")).sum()
    assert plane_basins(xr.DataArray(heights, dims=("y", "x")), least=0.0).sizes["basin"] == lowest


def test_cells_without_a_finite_value_are_walls():
    walled = plane(lambda x, y: x**2 + y**2, points=21)
    walled.values[:, 8] = np.inf
    walled.values[:, 12] = np.nan
    found = plane_basins(walled, least=0.1)
    assert found.sizes["basin"] == 3
    assert found["parent"].values.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("surface", "message"),
    [
        (np.zeros((4, 9)), r"at least 5 by 5 points, got \{'y': 4, 'x': 9\}: on a coarser one no basin"),
        (np.full((6, 6), np.nan), "finite values, got none"),
    ],
)
def test_a_plane_without_points_or_values_is_refused(surface, message):
    with pytest.raises(ValueError, match=message):
        plane_basins(xr.DataArray(surface, dims=("y", "x")))
