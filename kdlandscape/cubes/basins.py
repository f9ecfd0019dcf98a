"""How much of a barrier permutation removes: the answer of the basins study, with its uncertainty over seeds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

STUDENT, INDEPENDENT = "λ = 0", "independent"


def t_interval(values: xr.DataArray, over: str = "seed", level: float = 0.95) -> xr.Dataset:
    r"""Return ``mean``, ``low``, ``high`` and ``count`` over a dim: :math:`\bar x \pm t_{n-1} s / \sqrt n`.

    Missing cells (NaN) do not count; with fewer than two values the bounds are NaN. The interval has its level where
    values of different seeds are independent and about normal.
    """
    count, mean = values.count(over), values.mean(over)
    squares = ((values - mean) ** 2).sum(over)
    free = (count - 1).where(count > 1)
    half = (squares / free / count) ** 0.5 * xr.apply_ufunc(stats.t.ppf, (1 + level) / 2, free)
    bounds = {"mean": mean, "low": mean - half, "high": mean + half, "count": count}
    return xr.Dataset({name: part.drop_attrs() for name, part in bounds.items()}, attrs={"level": level})


def share_removed(cube: xr.Dataset, metric: str = "barrier") -> xr.DataArray:
    r"""Return :math:`1 - B_{aligned} / B_{as it is}`: 1 if alignment removes the barrier, below 0 if it raises it.

    Keeps every dim; without rescaling before, with and without after. Where there was no barrier (below 1e-3), the
    share is NaN.
    """
    before = cube[metric].sel(alignment="none", correction="none", drop=True)
    share = 1 - cube[metric] / before.where(before > 1e-3)
    return share.rename("share_removed").assign_attrs(long_name="share of the barrier removed by alignment", units="1")


def compare_shares(
    cube: xr.Dataset,
    *,
    metric: str = "barrier",
    student: str = STUDENT,
    baseline: str = INDEPENDENT,
    over: str = "seed",
    level: float = 0.95,
) -> xr.Dataset:
    """Compare how much of the barrier alignment removes for a student and for two independent networks.

    Parameters
    ----------
    cube
        With ``barrier`` over ``partner``, ``alignment``, ``correction`` and a dim of seeds.
    metric
        Which barrier.
    student, baseline
        The two partners. Both are paired with the same teacher, so their difference is taken seed by seed.
    over, level
        The dim of repetitions, and the level of the t intervals.

    Returns
    -------
    xarray.Dataset
        ``mean``, ``low``, ``high``, ``count`` over ``quantity`` (student, baseline, difference) and every other dim.

    Raises
    ------
    ValueError
        If the cube lacks a dim or a partner.
    """
    needed = {"partner", "alignment", "correction", over} - set(cube[metric].dims)
    if needed:
        raise ValueError(
            f"expected the dims partner, alignment, correction, {over} in {metric}; {sorted(needed)} missing"
        )
    known = cube["partner"].values.tolist()
    for name in (student, baseline):
        if name not in known:
            raise ValueError(f"expected a partner of {', '.join(known)}; got {name!r}")
    share = share_removed(cube, metric)
    first, second = share.sel(partner=student, drop=True), share.sel(partner=baseline, drop=True)
    parts = xr.concat(
        [first, second, first - second],
        xr.DataArray(["student", "baseline", "difference"], dims="quantity", name="quantity"),
        combine_attrs="override",
    )
    return t_interval(parts, over, level).assign_attrs(student=student, baseline=baseline, metric=metric)


def basin_findings(cube: xr.Dataset, over: str = "seed") -> list[str]:
    """Say for every setting what share of the student's barrier permutation removes, beside two independent networks.

    Empty for a cube of another study. Fewer than 3 seeds decide nothing, and are said to.
    """
    if "barrier" not in cube or not {"partner", "alignment", "correction", over} <= set(cube["barrier"].dims):
        return []
    if not {STUDENT, INDEPENDENT} <= set(cube["partner"].values.tolist()):
        return []
    answer = compare_shares(cube, over=over).sel(correction="none", drop=True)
    answer = answer.sel(alignment=answer["alignment"] != "none")
    before = cube["barrier"].sel(alignment="none", correction="none", drop=True)
    dims = [str(dim) for dim in answer["mean"].dims if dim != "quantity"]
    stacked = answer.stack(cell=dims)
    sentences = []
    for i, key in enumerate(stacked["cell"].values.tolist()):
        where = dict(zip(dims, key, strict=True))
        heights = before.sel({dim: value for dim, value in where.items() if dim in before.dims})
        sentences.append(_sentence(stacked.isel(cell=i), where, heights, over))
    return sentences


def _sentence(answer: xr.Dataset, where: Mapping[str, Any], heights: xr.DataArray, over: str) -> str:
    place = ", ".join(f"{dim}={value}" for dim, value in where.items())
    count = int(answer["count"].sel(quantity="difference"))
    if count < 3:
        return f"{place}: not decided: {count} seeds are done, a verdict needs at least 3."
    student, baseline, difference = (
        "{mean:.0%} ({low:.0%} to {high:.0%})".format(
            **{k: float(answer[k].sel(quantity=q)) for k in ("mean", "low", "high")}
        )
        for q in ("student", "baseline", "difference")
    )
    tall = [float(heights.sel(partner=name).mean(over)) for name in (STUDENT, INDEPENDENT)]
    low, high = (float(answer[k].sel(quantity="difference")) for k in ("low", "high"))
    verdict = "no difference is shown" if low <= 0 <= high else ("more than" if low > 0 else "less than") + " there"
    return (
        f"{place}: permutation removes {student} of the barrier between teacher and {STUDENT} student "
        f"({tall[0]:.2f} nat before), {baseline} between two independent networks ({tall[1]:.2f} nat); "
        f"difference {difference}: {verdict} (95 % t intervals, {count} seeds, paired)."
    )


def format_answer(cube: xr.Dataset, over: str = "seed") -> str:
    """Format the findings as lines of text; a single run has no spread, so it gives its shares alone."""
    if over in cube["barrier"].dims:
        return "\n".join(basin_findings(cube, over))
    share = share_removed(cube).sel(correction="none", drop=True)
    rows = [
        f"{name}: "
        + ", ".join(f"{a} {float(share.sel(partner=name, alignment=a)):.0%}" for a in share["alignment"].values[1:])
        for name in share["partner"].values.tolist()
        if np.isfinite(share.sel(partner=name)).all()
    ]
    return "share of the barrier removed by alignment (one seed)\n" + "\n".join(rows)
