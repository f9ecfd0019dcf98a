import numpy as np
import pytest
import xarray as xr
from scipy import stats

from kdlandscape.cubes.statistics import mean_in_words, mean_sem, t_interval


def test_means_and_standard_errors_leave_missing_cells_out():
    values = xr.DataArray([[1.0, 2.0, 6.0], [4.0, np.nan, np.nan]], dims=("cell", "seed"))
    mean, sem, count = mean_sem(values)
    assert mean.values.tolist() == [3.0, 4.0]
    assert sem.values[0] == pytest.approx(np.std([1, 2, 6], ddof=1) / 3**0.5)
    assert np.isnan(sem.values[1])
    assert count.values.tolist() == [3, 1]


def test_a_t_interval_is_that_of_scipy_and_leaves_missing_cells_out():
    values = xr.DataArray([[1.0, 2.0, 4.0, np.nan], [3.0, np.nan, np.nan, np.nan]], dims=("cell", "seed"))
    found = t_interval(values, level=0.9)
    low, high = stats.t.interval(0.9, 2, loc=7 / 3, scale=stats.sem([1, 2, 4]))
    assert found["low"].values[0] == pytest.approx(low)
    assert found["high"].values[0] == pytest.approx(high)
    assert found["count"].values.tolist() == [3, 1]
    assert np.isnan(found["low"].values[1])


def test_several_dims_are_averaged_together():
    values = xr.DataArray(np.arange(12.0).reshape(2, 3, 2), dims=("a", "b", "c"))
    mean, sem, count = mean_sem(values, ["a", "b"])
    flat = values.values.reshape(6, 2)
    np.testing.assert_allclose(mean, flat.mean(0))
    np.testing.assert_allclose(sem, stats.sem(flat))
    assert count.values.tolist() == [6, 6]


def test_a_mean_is_said_with_its_error_and_a_single_value_without():
    assert mean_in_words(4.7712, 0.0123, 3) == "4.771 ± 0.012"
    assert mean_in_words(47.712, 0.123, 3) == "47.71 ± 0.12"
    assert mean_in_words(4.7712, np.nan, 1) == "4.771"
    assert mean_in_words(np.nan, np.nan, 0) == "missing"
