"""A mean over the cells of a dim, with its standard error or its t interval; missing cells do not count."""

from collections.abc import Hashable, Sequence

import numpy as np
import xarray as xr
from scipy import stats

Dims = str | Sequence[Hashable]


def mean_sem(values: xr.DataArray, over: Dims = "seed") -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    r"""Return the mean over one dim or several, its standard error :math:`s/\sqrt{n}`, and n, the number of values.

    Missing cells (NaN) do not count; with fewer than two values the standard error is NaN.
    """
    count, mean = values.count(over), values.mean(over)
    squares = ((values - mean) ** 2).sum(over)
    free = (count - 1).where(count > 1)
    return mean, (squares / free / count) ** 0.5, count


def t_interval(values: xr.DataArray, over: Dims = "seed", level: float = 0.95) -> xr.Dataset:
    r"""Return ``mean``, ``low``, ``high`` and ``count`` over a dim: :math:`\bar x \pm t_{n-1} s / \sqrt n`.

    Missing cells (NaN) do not count; with fewer than two values the bounds are NaN. The interval has its level where
    values of different seeds are independent and about normal.
    """
    mean, sem, count = mean_sem(values, over)
    half = sem * xr.apply_ufunc(stats.t.ppf, (1 + level) / 2, (count - 1).where(count > 1))
    bounds = {"mean": mean, "low": mean - half, "high": mean + half, "count": count}
    return xr.Dataset({name: part.drop_attrs() for name, part in bounds.items()}, attrs={"level": level})


def mean_in_words(mean: float, sem: float, count: float) -> str:
    """Return "0.123 ± 0.004"; a single value stands alone, and none is said to be missing."""
    if count == 0:
        return "missing"
    digits = 3 if abs(mean) < 10 else 2
    return f"{mean:.{digits}f} ± {sem:.{digits}f}" if np.isfinite(sem) else f"{mean:.{digits}f}"
