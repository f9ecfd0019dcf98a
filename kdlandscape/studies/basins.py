"""How much of a barrier permutation removes: the answer of the basins study, with its uncertainty over seeds."""

import numpy as np
import xarray as xr

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.studies.sentences import cells, require

STUDENT, INDEPENDENT = "λ = 0", "independent"


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
    require(cube, [metric], ["partner", "alignment", "correction", over])
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


def findings(cube: xr.Dataset) -> list[str]:
    """Say for every setting what share of the student's barrier permutation removes, beside two independent networks.

    Fewer than 3 seeds decide nothing, and are said to.

    Raises
    ------
    ValueError
        If the cube lacks the barrier over partners, alignments, corrections and seeds, or one of both partners.
    """
    answer = compare_shares(cube).sel(correction="none", drop=True)
    answer = answer.sel(alignment=answer["alignment"] != "none")
    before = cube["barrier"].sel(alignment="none", correction="none", drop=True)
    height = before.sel(partner=[STUDENT, INDEPENDENT]).mean("seed").drop_attrs()
    answer["height"] = height.assign_coords(partner=["student", "baseline"]).rename(partner="quantity")
    return [f"{where}: {_sentence(cell)}" for where, cell in cells(answer, kept=["quantity"])]


def _sentence(answer: xr.Dataset) -> str:
    count = int(answer["count"].sel(quantity="difference"))
    if count < 3:
        return f"not decided: {count} seeds are done, a verdict needs at least 3."
    student, baseline, difference = (
        "{mean:.0%} ({low:.0%} to {high:.0%})".format(
            **{k: float(answer[k].sel(quantity=q)) for k in ("mean", "low", "high")}
        )
        for q in ("student", "baseline", "difference")
    )
    tall = [float(answer["height"].sel(quantity=name)) for name in ("student", "baseline")]
    low, high = (float(answer[k].sel(quantity="difference")) for k in ("low", "high"))
    verdict = "no difference is shown" if low <= 0 <= high else ("more than" if low > 0 else "less than") + " there"
    return (
        f"permutation removes {student} of the barrier between teacher and {STUDENT} student "
        f"({tall[0]:.2f} nat before), {baseline} between two independent networks ({tall[1]:.2f} nat); "
        f"difference {difference}: {verdict} (95 % t intervals, {count} seeds, paired)."
    )


def shares_of_run(run: xr.Dataset) -> list[str]:
    """Say the shares of a single run, which has no spread, by partner."""
    share = share_removed(run).sel(correction="none", drop=True)
    rows = [
        f"{name}: "
        + ", ".join(f"{a} {float(share.sel(partner=name, alignment=a)):.0%}" for a in share["alignment"].values[1:])
        for name in share["partner"].values.tolist()
        if np.isfinite(share.sel(partner=name)).all()
    ]
    return ["share of the barrier removed by alignment (one seed)", *rows]
