"""Where students change basin: between which λ the barrier vanishes and the distance to the teacher turns."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.cubes.words import unit_of
from kdlandscape.studies.decisions import CONTRADICTED, LEAST_SEEDS, REPRODUCED, UNDECIDED
from kdlandscape.studies.sentences import cells, require

SHARE = 0.05  # of the barrier at the smallest λ, below which it counts as vanished


class Turn(NamedTuple):
    """The last λ at which a sign shows one basin, and the first from which on it shows the other; NaN: none does."""

    last: float
    first: float


def turn(low: np.ndarray, high: np.ndarray, bound: float, share: np.ndarray) -> Turn:
    """Return between which λ intervals pass from wholly above a bound to wholly below it, for good.

    Parameters
    ----------
    low, high
        Of the interval at each λ. Where it crosses the bound, nothing is shown.
    bound
        The bound.
    share
        λ, increasing.
    """
    above, below = low > bound, high < bound
    last = float(share[above].max()) if above.any() else np.nan
    settled = below & (share > (-np.inf if np.isnan(last) else last))
    return Turn(last, float(share[settled].min()) if settled.any() else np.nan)


def turns(cube: xr.Dataset) -> tuple[Turn, Turn]:
    r"""Return where the barrier vanishes and where the distance to the teacher turns, by 95 % t intervals over seeds.

    The barrier has vanished where the interval of its share of the barrier at the smallest λ lies below 5 %, and is
    there where it lies above. Training leads to the teacher where the interval of distance after over before lies
    below 1, and away from it where it lies above (Stanton et al. 2021, section 6.2). At λ = 1 there is no distance.
    """
    cube = cube.sortby("init_lambda")
    height = cube["barrier"] / cube["barrier"].isel(init_lambda=0, drop=True)
    between = cube.sel(init_lambda=cube["init_lambda"] < 1)
    ratio = between["distance_end"] / between["distance_start"]
    found = []
    for values, bound in ((height, SHARE), (ratio, 1.0)):
        interval = t_interval(values)
        found.append(turn(interval["low"].values, interval["high"].values, bound, values["init_lambda"].values))
    return found[0], found[1]


def findings(cube: xr.Dataset) -> list[str]:
    """Say in sentences whether and where the barrier vanishes and the distance to the teacher turns, over seeds.

    The claim is reproduced where both turn and the steps of the λ grid in which they do so touch or overlap, and
    contradicted where these lie further apart; where a sign does not turn, it is undecided.

    Raises
    ------
    ValueError
        If the cube lacks the barrier or the distances over ``init_lambda`` and ``seed``.
    """
    require(cube, ["barrier", "distance_start", "distance_end"], ["init_lambda", "seed"])
    part = cube[["barrier", "distance_start", "distance_end"]]
    return [f"{where or 'all runs'}: {_sentence(cell)}" for where, cell in cells(part, kept=["seed", "init_lambda"])]


def _sentence(cell: xr.Dataset) -> str:
    done = cell["barrier"].notnull().all("init_lambda").values
    count = int(done.sum())
    if count < LEAST_SEEDS:
        return f"not decided: {count} seeds are done, a verdict needs at least {LEAST_SEEDS}."
    barrier, distance = turns(cell.isel(seed=np.flatnonzero(done)))
    return (
        f"the linear barrier {_between('vanishes', barrier)} (to less than {SHARE:.0%} of its height at λ = "
        f"{float(cell['init_lambda'].min()):g}), and training {_between('turns towards the teacher', distance)} "
        f"(95 % t intervals, {count} seeds): {verdict(barrier, distance)}."
    )


def _between(words: str, found: Turn) -> str:
    if np.isnan(found.first):
        return f"is not shown to {words.replace('vanishes', 'vanish').replace('turns', 'turn')}"
    if np.isnan(found.last):
        return f"{words} at λ = {found.first:g} already"
    return f"{words} between λ = {found.last:g} and {found.first:g}"


def verdict(barrier: Turn, distance: Turn) -> str:
    """Return whether both signs turn together."""
    if np.isnan([*barrier, *distance]).any():
        return UNDECIDED
    return REPRODUCED if max(barrier.last, distance.last) <= min(barrier.first, distance.first) else CONTRADICTED


def lambda_of_run(run: xr.Dataset) -> list[str]:
    """Say what one run shows against λ: barrier, distance and agreement at both ends; a single run has no spread.

    Raises
    ------
    ValueError
        If the run lacks what is said.
    """
    require(run, ["barrier", "distance_start", "distance_end"], ["init_lambda"])
    require(run, ["agreement", "control_agreement"], ["split"])
    run = run.sortby("init_lambda")
    inside = run.sel(init_lambda=run["init_lambda"] < 1)
    share = inside["init_lambda"].values
    ratio = (inside["distance_end"] / inside["distance_start"]).values
    barrier, unit = inside["barrier"].values, unit_of(run["barrier"])
    test = run.sel(split="test")
    towards = share[ratio < 1]
    control = float(test["control_agreement"].mean())
    return [
        f"The barrier to the teacher falls from {barrier[0]:.3g} to {barrier[-1]:.3g} {unit} between λ = {share[0]:g} "
        f"and {share[-1]:g}.",
        f"Training leads towards the teacher from λ = {_values(towards)}, and away from it at the others.",
        f"Test agreement goes from {float(test['agreement'][0]):.1%} at λ = {float(run['init_lambda'][0]):g} to "
        f"{float(test['agreement'][-1]):.1%} at λ = {float(run['init_lambda'][-1]):g}; the independent student's is "
        f"{control:.1%}. (One seed: no verdict.)",
    ]


def _values(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values) or "none of them"
