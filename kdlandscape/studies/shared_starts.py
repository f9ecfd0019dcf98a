"""What sharing the teacher's initial weights buys, beside how stable training is at initialization."""

import numpy as np
import xarray as xr
from scipy import stats

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.studies.decisions import CONTRADICTED, LEAST_SEEDS, REPRODUCED, Bounds, decide, seeds_in_words
from kdlandscape.studies.sentences import require

STABLE = 0.1  # nat: a lower barrier between two runs from one start counts as none


def gains(cube: xr.Dataset) -> xr.Dataset:
    """Return ``gain`` and ``barrier`` over ``seed`` and ``setting``.

    The gain is the test agreement of a student that starts as its teacher started minus that of one that starts anew;
    the barrier is that between two students of the teacher's start [nat].
    """
    agreement = cube["agreement"].sel(split="test", drop=True)
    gain = agreement.sel(init="teacher", drop=True) - agreement.sel(init="random", drop=True)
    barrier = cube["same_start_barrier"].sel(init="teacher", drop=True)
    found = xr.Dataset({"gain": gain, "barrier": barrier})
    dims = [str(dim) for dim in found["gain"].dims if dim != "seed"]
    found = found.stack(setting=dims).reset_index("setting") if dims else found.expand_dims("setting")
    labels = {
        "gain": ("gain in test agreement from the teacher's start", "1"),
        "barrier": ("barrier between two runs from the teacher's start", "nat"),
    }
    return found.assign(
        {name: found[name].assign_attrs(long_name=label, units=units) for name, (label, units) in labels.items()}
    )


def rank_correlations(cube: xr.Dataset) -> np.ndarray:
    """Return Spearman's rank correlation of gain and barrier over the settings, for each seed that has both."""
    found = gains(cube)
    pairs = [(found["gain"].sel(seed=seed).values, found["barrier"].sel(seed=seed).values) for seed in cube["seed"]]
    whole = [(g, b) for g, b in pairs if np.isfinite([g, b]).all() and len(g) > 2]
    return np.array([stats.spearmanr(g, b).statistic for g, b in whole])


def findings(cube: xr.Dataset) -> list[str]:
    """Say what sharing the start buys where training is stable at initialization and where it is not.

    Raises
    ------
    ValueError
        If the cube lacks agreement or the barrier between two runs from one start, over ``init`` and ``seed``.
    """
    require(cube, ["agreement", "same_start_barrier"], ["init", "seed"])
    values = rank_correlations(cube)
    if len(values) < LEAST_SEEDS:
        return [f"not decided: {len(values)} seeds are done, a verdict needs at least {LEAST_SEEDS}."]
    decision = decide(values, Bounds(below=0.0))
    said = {
        REPRODUCED: "the less stable training is, the less sharing the start buys",
        CONTRADICTED: "the less stable training is, the more sharing the start buys",
    }
    verdict = said.get(decision.verdict, f"undecided, {seeds_in_words(decision.seeds_needed)}")
    found = gains(cube)
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
        f"{', '.join(sides)}."
    ]


def _gain(values: xr.DataArray) -> str:
    """Return the mean gain in points of agreement over the settings, with its interval over seeds."""
    if not values.size:
        return "nothing is known (no setting)"
    found = t_interval(values.mean("setting"))
    words = "{:+.1f} points ({:+.1f} to {:+.1f}".format(*(100 * float(found[n]) for n in ("mean", "low", "high")))
    return f"{words}, {values.sizes['setting']} settings)"
