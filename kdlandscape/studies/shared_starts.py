"""What sharing the teacher's initial weights buys, beside how stable training is at initialization."""

import numpy as np
import xarray as xr
from scipy import stats

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.studies.complete_seeds import complete_seeds
from kdlandscape.studies.decisions import LEAST_SEEDS, Bounds, decide, verdict_in_words
from kdlandscape.studies.sentences import require

TRAINED = "teacher_train_accuracy"
STABLE = 0.1  # nat: a lower barrier between two runs from one start counts as none


def gains(cube: xr.Dataset) -> xr.Dataset:
    """Return ``gain`` and ``barrier`` over ``seed`` and ``setting``, of the settings and seeds that are complete.

    The gain is the test agreement of a student that starts as its teacher started minus that of one that starts anew;
    the barrier is that between two students of the teacher's start [nat]. The teacher's training accuracy is beside
    them, where the cube has it; the attribute ``left_out`` says what is not complete.
    """
    agreement = cube["agreement"].sel(split="test", drop=True)
    gain = agreement.sel(init="teacher", drop=True) - agreement.sel(init="random", drop=True)
    barrier = cube["same_start_barrier"].sel(init="teacher", drop=True)
    parts = {
        "gain": gain.assign_attrs(long_name="gain in test agreement from the teacher's start", units="1"),
        "barrier": barrier.assign_attrs(long_name="barrier between two runs from the teacher's start", units="nat"),
    }
    if TRAINED in cube:
        parts[TRAINED] = cube[TRAINED].sel(init="teacher", drop=True)
    found, left_out = complete_seeds(xr.Dataset(parts))
    return found.assign_attrs(left_out=left_out)


def rank_correlations(found: xr.Dataset, one: str = "gain", other: str = "barrier") -> np.ndarray:
    """Return Spearman's rank correlation of two variables of `gains` over the settings, for each seed.

    There is none with fewer than three settings.
    """
    pairs = zip(*(found[name].transpose("seed", "setting").values for name in (one, other)), strict=True)
    return np.array([stats.spearmanr(x, y).statistic for x, y in pairs if len(x) > 2])


def findings(cube: xr.Dataset) -> list[str]:
    """Say what sharing the start buys where training is stable at initialization and where it is not.

    Raises
    ------
    ValueError
        If the cube lacks agreement or the barrier between two runs from one start, over ``init`` and ``seed``.
    """
    require(cube, ["agreement", "same_start_barrier"], ["init", "seed"])
    found = gains(cube)
    values = rank_correlations(found)
    if len(values) < LEAST_SEEDS:
        return [
            f"not decided: {found.sizes['seed']} seeds and {found.sizes['setting']} settings are done, a verdict needs "
            f"at least {LEAST_SEEDS} of each{found.left_out}."
        ]
    decision = decide(values, Bounds(below=0.0))
    less, more = (f"the less stable training is, the {word} sharing the start buys" for word in ("less", "more"))
    verdict = verdict_in_words(decision, less, more)
    height = found["barrier"].mean("seed")
    sides = [
        f"{words} {_gain(found['gain'].isel(setting=np.flatnonzero(chosen)))}"
        for words, chosen in (
            (f"where two runs from one start end less than {STABLE} nat apart the start buys", height < STABLE),
            ("elsewhere", height >= STABLE),
        )
    ]
    return [
        f"rank correlation of what the teacher's start buys with the barrier between two runs from it: "
        f"{decision.mean:+.2f} ({decision.low:+.2f} to {decision.high:+.2f}, {len(values)} seeds): {verdict}; "
        f"{', '.join(sides)}{found.left_out}.",
        *_trained(found),
    ]


def _trained(found: xr.Dataset) -> list[str]:
    """Say how the gain goes with what the teachers have learned, which changes with the learning rate as well."""
    if TRAINED not in found:
        return []
    known = found[TRAINED].mean("seed")
    links = [rank_correlations(found, name, TRAINED).mean() for name in ("gain", "barrier")]
    return [
        f"what else changes over the settings: the teacher is right on {float(known.min()):.0%} to "
        f"{float(known.max()):.0%} of its training data, which has a rank correlation of {links[0]:+.2f} with what the "
        f"start buys and of {links[1]:+.2f} with the barrier."
    ]


def _gain(values: xr.DataArray) -> str:
    """Return the mean gain in points of agreement over the settings, with its interval over seeds."""
    if not values.size:
        return "nothing is known (no setting)"
    found = t_interval(values.mean("setting"))
    words = "{:+.1f} points ({:+.1f} to {:+.1f}".format(*(100 * float(found[n]) for n in ("mean", "low", "high")))
    return f"{words}, {values.sizes['setting']} settings)"
