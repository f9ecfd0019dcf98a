"""How much of a barrier permutation removes: the answer of the basins study, with its uncertainty over seeds."""

import numpy as np
import xarray as xr

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.studies.complete_seeds import complete_seeds
from kdlandscape.studies.decisions import (
    LEAST_SEEDS,
    Bounds,
    decide,
    finite,
    verdict_in_words,
)
from kdlandscape.studies.sentences import cells, interval_in_words, require

STUDENT, INDEPENDENT, MATCHED = "λ = 0", "independent", "independent student"
CONTROLS = ("permuted teacher", "permuted, re-distilled")  # must end at zero after alignment
#: other heights of the same paths, and what a number of them is called
OTHERS = {"calibrated_barrier": "in KL at the best temperature", "error_barrier": "in error"}
MARGIN = 0.1  # of shares, and of the barrier before alignment: a smaller difference counts as none


def share_removed(cube: xr.Dataset, metric: str = "barrier") -> xr.DataArray:
    r"""Return :math:`1 - B_{aligned} / B_{as it is}`: 1 if alignment removes the barrier, below 0 if it raises it.

    Keeps every dim; without rescaling before, with and without after. Where there was no barrier (below 1e-3), the
    share is NaN.
    """
    before = cube[metric].sel(alignment="none", correction="none", drop=True)
    share = 1 - cube[metric] / before.where(before > 1e-3)
    return share.rename("share_removed").assign_attrs(long_name="share of the barrier removed by alignment", units="1")


def compare(
    values: xr.DataArray,
    *,
    student: str = STUDENT,
    baseline: str = INDEPENDENT,
    over: str = "seed",
    level: float = 0.95,
) -> xr.Dataset:
    """Compare a number of a student with that of another partner of the same teacher, seed by seed.

    Parameters
    ----------
    values
        Over ``partner`` and a dim of seeds, such as `share_removed` of a cube, or a barrier after alignment.
    student, baseline
        The two partners. Both are paired with the same teacher, so their difference is taken seed by seed.
    over, level
        The dim of repetitions, and the level of the t intervals.

    Returns
    -------
    xarray.Dataset
        ``mean``, ``low``, ``high``, ``count`` over ``quantity`` (student, baseline, difference) and every other dim;
        ``values``, the differences over the dim of repetitions.

    Raises
    ------
    ValueError
        If a dim or a partner is missing.
    """
    require(values.to_dataset(name="values"), ["values"], ["partner", over])
    known = values["partner"].values.tolist()
    for name in (student, baseline):
        if name not in known:
            raise ValueError(f"expected a partner of {', '.join(known)}; got {name!r}")
    first, second = values.sel(partner=student, drop=True), values.sel(partner=baseline, drop=True)
    parts = xr.concat(
        [first, second, first - second],
        xr.DataArray(["student", "baseline", "difference"], dims="quantity", name="quantity"),
        combine_attrs="override",
    )
    found = t_interval(parts, over, level).assign(values=(first - second).drop_attrs())
    return found.assign_attrs(student=student, baseline=baseline)


def findings(cube: xr.Dataset) -> list[str]:
    """Say for every setting what permutation removes of the student's barrier and what it leaves, beside a baseline.

    The baseline is the matched control, the independent student, where the cube has it; else an independent network
    that learned from labels, which is said. Shares and residual barriers tell different stories, so both are compared,
    each with a margin of a tenth (of the barrier before): the same within it, different beyond it, or undecided. The
    same is said of what is left in error and at the best temperature, and the positive controls are listed, where the
    cube has them. Where there are several settings, a first sentence for each alignment takes them together.

    Raises
    ------
    ValueError
        If the cube lacks the barrier over partners, alignments, corrections and seeds, or one of both partners.
    """
    require(cube, ["barrier"], ["partner", "alignment", "correction", "seed"])
    baseline = MATCHED if MATCHED in cube["partner"].values else INDEPENDENT
    before, aligned = _heights(cube["barrier"])
    share = share_removed(cube).sel(correction="none", alignment=aligned["alignment"], drop=True)
    compare(before, baseline=baseline)  # both partners are there
    parts = xr.Dataset({"share": share, "left": aligned, "before": before})
    for name in OTHERS:
        if name in cube:
            parts[f"{name}_before"], parts[f"{name}_left"] = _heights(cube[name])
    each = [f"{where}: {_sentence(cell, baseline)}" for where, cell in cells(parts, kept=["seed", "partner"])]
    return _over_settings(parts[["share", "left", "before"]].sel(partner=[STUDENT, baseline]), baseline) + each


def _over_settings(parts: xr.Dataset, baseline: str) -> list[str]:
    """Return for every alignment the answer of all settings together: the mean of their differences, seed by seed."""
    said = []
    for alignment in parts["alignment"].values.tolist():
        whole, left_out = complete_seeds(parts.sel(alignment=alignment, drop=True), inner=("partner",))
        count, seeds = whole.sizes["setting"], whole.sizes["seed"]
        if count < 2 or seeds < LEAST_SEEDS:
            continue
        mean = whole.mean("setting")
        share, left = (compare(mean[name], baseline=baseline) for name in ("share", "left"))
        margin = MARGIN * float(mean["before"].mean())
        said.append(
            f"alignment = {alignment}, mean of {count} settings: permutation leaves "
            f"{_interval(left, 'student', '{:.2f}')} nat to the {STUDENT} student and "
            f"{_interval(left, 'baseline', '{:.2f}')} nat to {_other(baseline)}; difference of the shares removed "
            f"{_compared(share, MARGIN, '{:.0%}', '')}; of what is left {_compared(left, margin, '{:.2f}', ' nat')} "
            f"({seeds} seeds{left_out})."
        )
    return said


def _other(baseline: str) -> str:
    return "the independent student" if baseline == MATCHED else "an independent network (trained on labels)"


def _heights(barrier: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return barriers as they are, and those left by each alignment, without rescaling."""
    plain = barrier.sel(correction="none", drop=True)
    return plain.sel(alignment="none", drop=True), plain.sel(alignment=plain["alignment"] != "none")


def _sentence(cell: xr.Dataset, baseline: str) -> str:
    share, left = (compare(cell[name], baseline=baseline) for name in ("share", "left"))
    count = int(share["count"].sel(quantity="difference"))
    if count < LEAST_SEEDS:
        return f"not decided: {count} seeds are done, a verdict needs at least {LEAST_SEEDS}."
    height = cell["before"].sel(partner=[STUDENT, baseline]).mean("seed").values
    rest = [float(left["mean"].sel(quantity=name)) for name in ("student", "baseline")]
    gaps = _compared(share, MARGIN, "{:.0%}", ""), _compared(left, MARGIN * float(height.mean()), "{:.2f}", " nat")
    return (
        f"permutation removes {_interval(share, 'student', '{:.0%}')} of the barrier between teacher and {STUDENT} "
        f"student ({height[0]:.2f} nat before, {rest[0]:.2f} left), {_interval(share, 'baseline', '{:.0%}')} of that "
        f"between teacher and {_other(baseline)} ({height[1]:.2f} nat, {rest[1]:.2f} left); "
        f"difference of the shares {gaps[0]}; of what is left {gaps[1]}{_others(cell, baseline)} "
        f"(95 % t intervals, {count} seeds, paired)"
        f"{_controls(cell)}."
    )


def _others(cell: xr.Dataset, baseline: str) -> str:
    """Return the difference of what is left in the other heights of the same paths."""
    said = ""
    for name, words in OTHERS.items():
        if f"{name}_left" in cell:
            height = float(cell[f"{name}_before"].sel(partner=[STUDENT, baseline]).mean())
            unit = " nat" if name == "calibrated_barrier" else ""
            left = compare(cell[f"{name}_left"], baseline=baseline)
            said += f"; {words} {_compared(left, MARGIN * height, '{:.3f}', unit)}"
    return said


def _controls(cell: xr.Dataset) -> str:
    """Return what is left of the barrier of the copies of the teacher."""
    known = [name for name in CONTROLS if name in cell["partner"].values]
    found = [(name, t_interval(cell["left"].sel(partner=name))) for name in known]
    words = [f"{name} {interval_in_words(left, '{:.3f}')} nat" for name, left in found]
    return f"; positive controls: {', '.join(words)} left" if words else ""


def _interval(found: xr.Dataset, quantity: str, form: str, unit: str = "") -> str:
    return f"{interval_in_words(found.sel(quantity=quantity), form)}{unit}"


def _compared(found: xr.Dataset, margin: float, form: str, unit: str) -> str:
    """Return a difference with its interval, and what it shows against a margin."""
    decision = decide(finite(found["values"]), Bounds(-margin, margin))
    size = f"{form.format(margin)}{unit}"
    beyond = f"{'more' if decision.mean > 0 else 'less'} than there by over {size}"
    shown = verdict_in_words(decision, f"the same within {size}", beyond, within=f" against a margin of {size}")
    return f"{_interval(found, 'difference', form, unit)}: {shown}"


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
