"""Claims about a study and their verdicts, by a rule that is stated before the numbers are seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.studies.sentences import require

REPRODUCED, NOT_REPRODUCED, NOT_TESTED = "reproduced", "not reproduced", "not tested here"
CONTRADICTED, UNDECIDED = "contradicted", "undecided"  # what is not reproduced: beyond a bound, or across it
_REMARKS = {CONTRADICTED: " [contradicted]", UNDECIDED: " [undecided: the interval crosses the bound]"}
LEAST_SEEDS = 3
Measure = Callable[[xr.Dataset], xr.DataArray]


@dataclass(frozen=True)
class Claim:
    """A statement of a paper, and the number of a study that decides it.

    It counts as reproduced if the t interval of the number over seeds (at least three) lies wholly above ``above`` and
    wholly below ``below``; a claim that there is no effect has both bounds.

    Attributes
    ----------
    name, source, statement
        A short unique name, where the paper says it, and what.
    study
        The study whose cube has the number.
    statistic, measure
        What the number is, in words, and the function that takes it from the cube, over ``seed``.
    above, below
        Bounds; at least one.
    """

    name: str
    source: str
    statement: str
    study: str
    statistic: str
    measure: Measure
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if self.above is None and self.below is None:
            raise ValueError(f"claim {self.name!r}: expected a bound above or below, got none")

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


def verdicts(claims: Sequence[Claim], cubes: Mapping[str, xr.Dataset], level: float = 0.95) -> xr.Dataset:
    """Decide claims from the cubes of their studies.

    Parameters
    ----------
    claims
        With unique names.
    cubes
        By name of the study. A claim whose study or number is not there, or has fewer than 3 seeds, is not tested.
    level
        Of the t intervals over seeds.

    Returns
    -------
    xarray.Dataset
        Over ``claim``: ``verdict``, ``contradicted`` (the interval lies wholly beyond a bound), ``mean``, ``low``,
        ``high``, ``seeds``, ``above`` and ``below`` (NaN: no bound), ``source``, ``statement``, ``statistic``,
        ``rule``, ``study``; and ``values`` over ``claim, trial``.
    """
    rows = [_decide(claim, cubes, level) for claim in claims]
    measured = [row.pop("values") for row in rows]
    values = np.full((len(rows), max(1, *map(len, measured))), np.nan)
    for line, found in zip(values, measured, strict=True):
        line[: len(found)] = found
    variables = {name: ("claim", np.array([row[name] for row in rows])) for name in rows[0]}
    units = {name: {"long_name": name, "units": "1"} for name in (*variables, "values")}
    return xr.Dataset(
        {name: (*variable, units[name]) for name, variable in variables.items()}
        | {"values": (("claim", "trial"), values, units["values"])},
        coords={"claim": [claim.name for claim in claims], "trial": range(values.shape[1])},
        attrs={"level": level},
    )


def _decide(claim: Claim, cubes: Mapping[str, xr.Dataset], level: float) -> dict[str, Any]:
    measured = _measured(claim, cubes)
    found = t_interval(xr.DataArray(measured, dims="seed"), level=level)
    mean, low, high = (float(found[name]) for name in ("mean", "low", "high"))
    verdict, contradicted = NOT_TESTED, False
    if len(measured) >= LEAST_SEEDS:
        contradicted = (claim.above is not None and high <= claim.above) or (
            claim.below is not None and low >= claim.below
        )
        inside = (claim.above is None or low > claim.above) and (claim.below is None or high < claim.below)
        verdict = REPRODUCED if inside else NOT_REPRODUCED
    return {
        "verdict": verdict,
        "contradicted": contradicted,
        "mean": mean,
        "low": low,
        "high": high,
        "seeds": len(measured),
        "above": np.nan if claim.above is None else claim.above,
        "below": np.nan if claim.below is None else claim.below,
        "source": claim.source,
        "statement": claim.statement,
        "statistic": claim.statistic,
        "rule": claim.rule,
        "study": claim.study,
        "values": measured,
    }


def _measured(claim: Claim, cubes: Mapping[str, xr.Dataset]) -> np.ndarray:
    """Return the number for every seed that has it; none where the study lacks it."""
    if claim.study not in cubes:
        return np.array([])
    try:
        values = claim.measure(cubes[claim.study]).values
    except (KeyError, ValueError):
        return np.array([])
    values = np.asarray(values, dtype=float).ravel()
    return values[np.isfinite(values)]


def outcome(verdict: str, contradicted: bool) -> str:
    """Return the verdict on a claim, with what is not reproduced told apart: contradicted or undecided."""
    return verdict if verdict != NOT_REPRODUCED else CONTRADICTED if contradicted else UNDECIDED


def format_verdicts(table: xr.Dataset) -> str:
    """Format verdicts, or a cube of them, as text: two lines a claim, and which rows of the paper are decided."""
    if "level" in table.dims:
        table = table.isel(level=0)
    lines = []
    for i in range(table.sizes["claim"]):
        row = {name: value.values[i] for name, value in table.data_vars.items() if value.dims == ("claim",)}
        numbers = f"{row['mean']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}), {row['seeds']:.0f} seeds"
        measured = numbers if row["seeds"] else "no data"
        remark = _REMARKS.get(outcome(row["verdict"], row["contradicted"]), "")
        lines.append(f"{row['verdict'].upper():15}  {row['source']}: {row['statement']}{remark}")
        lines.append(f"{'':15}  {row['statistic']}: {measured}; rule: {row['rule']}")
    decided = table["verdict"].values != NOT_TESTED
    sources = {str(source) for source in table["source"].values[decided]}
    counts = {verdict: int((table["verdict"] == verdict).sum()) for verdict in (REPRODUCED, NOT_REPRODUCED, NOT_TESTED)}
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return "\n".join([*lines, f"{summary}; {len(sources)} rows of the paper decided ({', '.join(sorted(sources))})"])


def findings(table: xr.Dataset) -> list[str]:
    """Return the verdicts of a cube of claims as lines of text.

    Raises
    ------
    ValueError
        If the cube holds no verdicts.
    """
    require(table, ["verdict"], ["claim"])
    return format_verdicts(table).splitlines()
