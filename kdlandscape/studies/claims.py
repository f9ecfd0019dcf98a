"""Claims about studies and their verdicts, by a rule that is stated before the numbers are seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.studies.decisions import (
    LEAST_SEEDS,
    NOT_TESTABLE,
    REPRODUCED,
    UNDECIDED,
    Bounds,
    Decision,
    decide,
    holm,
    seeds_in_words,
)

Measure = Callable[[xr.Dataset], xr.DataArray]
NOTHING = Decision(np.nan, np.nan, np.nan, UNDECIDED, np.nan, np.nan)  # no value at all


@dataclass(frozen=True)
class Number:
    """A number of a study over seeds.

    Attributes
    ----------
    study
        The study whose cube has it.
    statistic, measure
        What it is, in words, and the function that takes it from the cube, over ``seed``.
    """

    study: str
    statistic: str
    measure: Measure


@dataclass(frozen=True)
class Precondition:
    """What has to be shown before a claim can be tested: a number whose whole interval lies within bounds.

    Attributes
    ----------
    name
        In words, such as "the teacher is trained".
    number, bounds
        As of a claim.
    """

    name: str
    number: Number
    bounds: Bounds


@dataclass(frozen=True)
class Claim:
    """A statement of a paper, and the number of a study that decides it.

    It is reproduced if the t interval of the number over seeds (at least three) lies wholly within the bounds,
    contradicted if it lies wholly beyond one of them, and undecided otherwise; a claim that there is no effect has both
    bounds, its margin.  Where a precondition is not shown, it is not testable.

    Attributes
    ----------
    name, source, statement
        A short unique name, where the paper says it, and what.
    number
        The number that decides.
    above, below
        Bounds; at least one.
    yardstick
        Subtracted from the number, seed by seed: a positive control in place of a threshold from elsewhere.
    needs
        Preconditions.
    """

    name: str
    source: str
    statement: str
    number: Number
    above: float | None = None
    below: float | None = None
    yardstick: Number | None = None
    needs: tuple[Precondition, ...] = ()

    def __post_init__(self) -> None:
        if self.above is None and self.below is None:
            raise ValueError(f"claim {self.name!r}: expected a bound above or below, got none")

    @property
    def bounds(self) -> Bounds:
        """Both bounds; infinite where the claim has none."""
        return Bounds(-np.inf if self.above is None else self.above, np.inf if self.below is None else self.below)

    @property
    def rule(self) -> str:
        """The rule in words."""
        bounds = {"above": self.above, "below": self.below}
        return "interval " + " and ".join(f"{word} {value:g}" for word, value in bounds.items() if value is not None)


def pick(cube: xr.Dataset, name: str, **coords: Any) -> xr.DataArray:
    """Return a variable over seeds at given coordinates; other dims must have length 1.

    Raises
    ------
    KeyError
        If the cube lacks the variable or a coordinate.
    ValueError
        If a further dim has several coordinates.
    """
    if name not in cube:
        raise KeyError(f"no variable is called {name!r}")
    for dim, value in coords.items():
        if dim in cube[name].dims and value not in cube[dim].values.tolist():
            raise KeyError(f"no {dim} is {value!r}")
    values = cube[name].sel({dim: value for dim, value in coords.items() if dim in cube[name].dims})
    missing = {dim: value for dim, value in coords.items() if dim not in cube[name].dims}
    for dim, value in missing.items():
        if dim not in cube.coords or cube[dim].ndim or cube[dim].item() != value:
            raise KeyError(f"{name}: expected the coordinate {dim}={value!r}, got a cube without it")
    several = [str(dim) for dim in values.dims if dim != "seed" and values.sizes[dim] > 1]
    if several:
        raise ValueError(f"{name}: expected one coordinate of {', '.join(several)}, got none chosen")
    return values.squeeze([dim for dim in values.dims if dim != "seed"], drop=True)


def difference(name: str, these: Mapping[str, Any], those: Mapping[str, Any], **both: Any) -> Measure:
    """Return the measure: a variable at some coordinates minus the same at others, seed by seed."""
    return lambda cube: pick(cube, name, **both, **these) - pick(cube, name, **both, **those)


def value(name: str, **coords: Any) -> Measure:
    """Return the measure: a variable at given coordinates."""
    return lambda cube: pick(cube, name, **coords)


def best_of(name: str, dim: str, at: Mapping[str, Any], *, leave_out: Sequence[Any] = ()) -> Measure:
    """Return the measure: a variable at the arm along ``dim`` that is best in all *other* seeds, for each seed.

    An arm that is chosen and measured on the same seeds looks better than it is.
    """

    def measure(cube: xr.Dataset) -> xr.DataArray:
        known = [one for one in cube[dim].values.tolist() if one not in leave_out]
        arms = xr.concat([pick(cube, name, **at, **{dim: one}) for one in known], "arm")
        count = arms.notnull().sum("seed") - arms.notnull()
        others = (arms.fillna(0).sum("seed") - arms.fillna(0)) / count.where(count > 0)
        return arms.isel(arm=others.fillna(-np.inf).argmax("arm")) if arms.sizes["seed"] > 1 else arms.max("arm")

    return measure


def verdicts(claims: Sequence[Claim], cubes: Mapping[str, xr.Dataset], level: float = 0.95) -> xr.Dataset:
    """Decide claims from the cubes of their studies.

    Parameters
    ----------
    claims
        With unique names.
    cubes
        By name of the study.
    level
        Of the t intervals over seeds, and of the family of all claims that can be tested.

    Returns
    -------
    xarray.Dataset
        Over ``claim``: ``verdict``, ``adjusted`` (the verdict after Holm's correction over all claims tested),
        ``reason`` (why it is not testable, or how many seeds would decide it), ``mean``, ``low``, ``high``, ``seeds``,
        ``p``, ``p_holm``, ``above`` and ``below`` (infinite: no bound), ``teacher_train`` and ``teacher_test`` (the
        accuracies of the study's teachers), ``source``, ``statement``, ``statistic``, ``rule``, ``study``; ``even`` and
        ``odd``, the verdicts of every second seed from the first and from the second one, as if the study had been run
        twice; and ``values`` over ``claim, trial``.
    """
    rows = [_row(claim, cubes, level) for claim in claims]
    for k, name in enumerate(("even", "odd")):
        half = {
            study: cube.isel(seed=slice(k, None, 2)) if "seed" in cube.dims else cube for study, cube in cubes.items()
        }
        for row, claim in zip(rows, claims, strict=True):
            row[name] = _row(claim, half, level)["verdict"]
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        decided = row["verdict"] in (UNDECIDED, NOT_TESTABLE) or p < 1 - level
        row |= {"p_holm": p, "adjusted": row["verdict"] if decided else UNDECIDED}
    measured = [row.pop("values") for row in rows]
    values = np.full((len(rows), max(1, *map(len, measured))), np.nan)
    for line, found in zip(values, measured, strict=True):
        line[: len(found)] = found
    table = {name: variable("claim", [row[name] for row in rows], name.replace("_", " ")) for name in rows[0]}
    table["values"] = variable(("claim", "trial"), values, "the number, seed by seed")
    coords = {"claim": [claim.name for claim in claims], "trial": range(values.shape[1])}
    return dataset(table, coords, level=level)


def runs_of(table: xr.Dataset) -> list[xr.Dataset]:
    """Return the verdicts of each run of the studies: along ``seeds_from``, or the table itself where it has none."""
    return [table.isel(seeds_from=i) for i in range(table.sizes.get("seeds_from", 0))] or [table]


def _row(claim: Claim, cubes: Mapping[str, xr.Dataset], level: float) -> dict[str, Any]:
    cube = cubes.get(claim.number.study)
    measured, reason = _measured(claim.number, cubes, claim.yardstick)
    if not reason:
        reason = next((missing for need in claim.needs if (missing := _not_shown(need, cubes, level))), "")
    decision = (
        decide(measured, claim.bounds, level) if len(measured) else Decision(np.nan, np.nan, np.nan, "", np.nan, np.nan)
    )
    verdict = NOT_TESTABLE if reason else decision.verdict
    if verdict == UNDECIDED:
        reason = seeds_in_words(decision.seeds_needed)
    statistic = claim.number.statistic
    if claim.yardstick:
        statistic += f", minus {claim.yardstick.statistic}"
    return {
        "verdict": verdict,
        "reason": reason,
        "mean": decision.mean,
        "low": decision.low,
        "high": decision.high,
        "seeds": len(measured),
        "p": np.nan if verdict == NOT_TESTABLE else decision.p,
        "above": claim.bounds.above,
        "below": claim.bounds.below,
        "teacher_train": _accuracy(cube, "teacher_train_accuracy"),
        "teacher_test": _accuracy(cube, "teacher_accuracy", split="test"),
        "source": claim.source,
        "statement": claim.statement,
        "statistic": statistic,
        "rule": claim.rule,
        "study": claim.number.study,
        "values": measured,
    }


def _measured(
    number: Number, cubes: Mapping[str, xr.Dataset], yardstick: Number | None = None
) -> tuple[np.ndarray, str]:
    """Return the number for every seed that has it, and why it cannot be tested."""
    found = []
    for part in [number] + ([yardstick] if yardstick else []):
        if part.study not in cubes:
            return np.array([]), f"{part.study} has not been run"
        try:
            found.append(part.measure(cubes[part.study]))
        except (KeyError, ValueError) as error:
            return np.array([]), f"{part.study} does not have it: {error.args[0]}"
    values = np.asarray((found[0] - found[1] if yardstick else found[0]).values, dtype=float).ravel()
    values = values[np.isfinite(values)]
    few = len(values) < LEAST_SEEDS
    return values, f"{len(values)} seeds have it, a verdict needs at least {LEAST_SEEDS}" if few else ""


def _not_shown(need: Precondition, cubes: Mapping[str, xr.Dataset], level: float) -> str:
    """Return why a precondition is not shown; empty if it is."""
    values, reason = _measured(need.number, cubes)
    if reason:
        return f"it is not known whether {need.name}: {reason}"
    found = decide(values, need.bounds, level)
    if found.verdict == REPRODUCED:
        return ""
    numbers = f"{need.number.statistic} {found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"
    return f"it is not shown that {need.name}: {numbers}"


def _accuracy(cube: xr.Dataset | None, name: str, **at: str) -> float:
    """Return the mean accuracy of a study's teachers; NaN where the study does not say it."""
    if cube is None or name not in cube or not set(at) <= set(cube[name].dims):
        return np.nan
    return float(cube[name].sel(at).mean())
