"""How a number over seeds decides a claim: intervals against bounds, Holm's correction, and the seeds that it takes."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

REPRODUCED, CONTRADICTED, UNDECIDED = "reproduced", "contradicted", "undecided"
NOT_TESTABLE = "not testable here"
VERDICTS = (REPRODUCED, CONTRADICTED, UNDECIDED, NOT_TESTABLE)
LEAST_SEEDS = 3
POWER = 0.8
MOST_SEEDS = 1000


class Bounds(NamedTuple):
    """Where a number has to lie: above one value, below another, or between both (no effect beyond a margin)."""

    above: float = -math.inf
    below: float = math.inf


def finite(values: ArrayLike) -> np.ndarray:
    """Return the values of the seeds that have one, as a decision takes them."""
    known = np.atleast_1d(np.asarray(values, dtype=float))
    return known[np.isfinite(known)]


class Decision(NamedTuple):
    """What the values of all seeds decide.

    ``verdict``: reproduced where the whole interval lies within the bounds, contradicted where it lies wholly beyond
    one, else undecided.  ``p``: two-sided, of the direction that the verdict would take.  ``seeds_needed``: how many
    seeds would decide it with a power of 80 %, if mean and spread stay as they are; NaN where it is decided.
    """

    mean: float
    low: float
    high: float
    verdict: str
    p: float
    seeds_needed: float


def decide(values: np.ndarray, bounds: Bounds, level: float = 0.95) -> Decision:
    r"""Decide whether a mean over n seeds lies within bounds, by :math:`\bar x \pm t_{n-1} s/\sqrt n`.

    A difference that is no larger than the rounding of the values counts as none: no verdict hangs on the last digit.

    Raises
    ------
    ValueError
        If a value is not finite: what a seed lacks has to be left out before.
    """
    values = np.asarray(values, dtype=float)
    if not np.isfinite(values).all():
        raise ValueError(f"expected finite values, one of each seed, got {values.tolist()}")
    n, mean = len(values), float(values.mean())
    if n < LEAST_SEEDS:
        return Decision(mean, math.nan, math.nan, UNDECIDED, 1.0, LEAST_SEEDS)
    rounding = 4 * np.finfo(float).eps * max(np.abs(values).max(), *(abs(b) for b in bounds if math.isfinite(b)), 0.0)
    sem = max(float(values.std(ddof=1)) / math.sqrt(n), rounding, np.finfo(float).tiny)
    half = sem * float(stats.t.ppf((1 + level) / 2, n - 1))
    inside = max(_tail(mean, bound, sem, n, side) for bound, side in zip(bounds, (1, -1), strict=True))
    beyond = min(_tail(mean, bound, sem, n, side) for bound, side in zip(bounds, (-1, 1), strict=True))
    alpha = (1 - level) / 2
    verdict = REPRODUCED if inside < alpha else CONTRADICTED if beyond < alpha else UNDECIDED
    needed = math.nan if verdict != UNDECIDED else seeds_needed(mean, sem * math.sqrt(n), bounds, level)
    return Decision(mean, mean - half, mean + half, verdict, min(1.0, 2 * min(inside, beyond)), needed)


def _tail(mean: float, bound: float, sem: float, n: int, side: int) -> float:
    """Return the one-sided p value that the true mean does not lie on one side of a bound (1: above)."""
    if math.isinf(bound):
        return 0.0 if bound * side < 0 else 1.0
    return float(stats.t.sf(side * (mean - bound) / sem, n - 1))


def seeds_needed(mean: float, spread: float, bounds: Bounds, level: float = 0.95) -> float:
    """Return how many seeds decide a claim with a power of 80 %, given mean and standard deviation; inf beyond 1000.

    The distance to the nearest bound counts, on whichever side the mean lies.
    """
    distance = min(abs(mean - bound) for bound in bounds if math.isfinite(bound))

    def enough(n: int) -> bool:
        critical = stats.t.ppf((1 + level) / 2, n - 1)
        return bool(stats.nct.sf(critical, n - 1, distance / spread * math.sqrt(n)) >= POWER)

    tried = range(LEAST_SEEDS, MOST_SEEDS + 1)  # the power grows with n
    found = bisect_left(tried, True, key=enough)
    return tried[found] if found < len(tried) else math.inf


def holm(p: Sequence[float]) -> np.ndarray:
    """Return the p values of a family after Holm's correction; NaN marks what is not tested and does not count.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    values = np.asarray(p, dtype=float)
    adjusted = np.full(len(values), np.nan)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    worst = 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(tested) - rank) * values[i]))
        adjusted[i] = worst
    return adjusted


def verdict_in_words(found: Decision, yes: str, no: str, *, within: str = "") -> str:
    """Return what a decision shows: ``yes``, ``no``, or that it is undecided (``within`` a margin) and for how long."""
    undecided = f"undecided{within}, {seeds_in_words(found.seeds_needed)}"
    return {REPRODUCED: yes, CONTRADICTED: no}.get(found.verdict, undecided)


def seeds_in_words(needed: float) -> str:
    """Return "about 12 seeds would decide it", or that not even 1000 would."""
    if math.isinf(needed):
        return f"more than {MOST_SEEDS} seeds would be needed to decide it"
    return f"about {needed:.0f} seeds would decide it"
