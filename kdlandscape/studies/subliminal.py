"""Whether a student learns its teacher's classes through unrelated logits, by the share of the teacher's start."""

import numpy as np
import xarray as xr

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.studies.decisions import LEAST_SEEDS
from kdlandscape.studies.sentences import cells, require


def learned(cube: xr.Dataset) -> xr.DataArray:
    """Return the student's test accuracy minus that of its own untrained start."""
    gain = cube["student_accuracy"].sel(split="test", drop=True) - cube["start_accuracy"]
    return gain.assign_attrs(long_name="accuracy gained by distilling auxiliary logits", units="1")


def findings(cube: xr.Dataset) -> list[str]:
    """Say from which shared part of the initial weights on a student gains accuracy, and what a shared start gains.

    Raises
    ------
    ValueError
        If the cube lacks the accuracies over ``init_lambda`` and ``seed``.
    """
    require(cube, ["student_accuracy", "start_accuracy"], ["init_lambda", "seed"])
    cube = cube.sortby("init_lambda")
    known = cube["teacher_accuracy"].sel(split="test", drop=True)
    parts = xr.Dataset(
        {"gain": learned(cube), "barrier": cube["barrier"], "alignment": cube["alignment"], "teacher": known}
    )
    return [f"{where or 'all runs'}: {_sentence(cell)}" for where, cell in cells(parts, kept=["seed", "init_lambda"])]


def _sentence(cell: xr.Dataset) -> str:
    cell = cell.dropna("seed")
    count = cell.sizes["seed"]
    if count < LEAST_SEEDS:
        return f"not decided: {count} seeds are done, a verdict needs at least {LEAST_SEEDS}."
    gain, share = t_interval(cell["gain"]), cell["init_lambda"].values
    shown = gain["low"].values > 0
    from_here = [
        float(at) for at, rest in zip(share, (shown[i:].all() for i in range(len(share))), strict=True) if rest
    ]
    ends = [_interval(gain.isel(init_lambda=i)) for i in (0, -1)]
    barrier = cell["barrier"].mean("seed").values
    cosine = cell["alignment"].mean("seed").values
    start = f"from λ = {from_here[0]:g} on" if from_here else "at no λ"
    return (
        f"distilling the auxiliary logits gains {ends[0]} of test accuracy at λ = {share[0]:g} and {ends[1]} at λ = "
        f"{share[-1]:g}; a gain is shown {start}. Its barrier to the teacher goes from {barrier[0]:.2f} to "
        f"{barrier[-1]:.2f} nat, the cosine of both gradients at the start from {cosine[0]:+.2f} to {cosine[-1]:+.2f} "
        f"({count} seeds, teacher's accuracy {float(cell['teacher'].mean()):.1%})."
    )


def _interval(found: xr.Dataset) -> str:
    mean, low, high = (100 * float(found[name]) for name in ("mean", "low", "high"))
    return f"{mean:+.1f} points ({low:+.1f} to {high:+.1f})"


def gain_of_run(run: xr.Dataset) -> list[str]:
    """Say what one run gains at each λ; a single run has no spread."""
    require(run, ["student_accuracy", "start_accuracy"], ["init_lambda"])
    gain = learned(run)
    told = ", ".join(
        f"{100 * float(g):+.1f} at λ = {float(at):g}" for g, at in zip(gain, run["init_lambda"], strict=True)
    )
    known = 100 * float(np.mean(run["teacher_accuracy"].sel(split="test")))
    return [f"Points of test accuracy gained: {told}. The teacher's accuracy is {known:.1f} %. (One seed: no verdict.)"]
