"""Does flatness predict generalization?  Rank correlations over settings, students beside teachers, double descent."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.cubes.words import short_words
from kdlandscape.studies.decisions import (
    CONTRADICTED,
    LEAST_SEEDS,
    REPRODUCED,
    Bounds,
    decide,
    finite,
    verdict_in_words,
)
from kdlandscape.studies.sentences import require

MEASURES = ("lambda_max", "trace", "effective_dimension", "pac_bayes", "magnitude_aware", "path_norm", "fisher_rao")
SETTINGS = ("width", "depth", "label_noise", "optimizer")
NETWORK, STUDENT, COPY = "network", "student", "rescaled copy"
LEAST_PAIRS = 10
SCALE_FREE = 0.1  # of the logarithm of a ratio: a measure that moves by less is blind to rescaling


def kendall(measure: np.ndarray, gap: np.ndarray) -> np.ndarray:
    r"""Return Kendall's :math:`\tau` along the last axis: the mean of sign(m_i - m_j) sign(g_i - g_j) over pairs.

    Values that are not finite are left out; NaN where no pair is left. A tie counts as 0 (Jiang et al. 2020,
    equation 2).
    """
    m, g = np.broadcast_arrays(np.asarray(measure, dtype=float), np.asarray(gap, dtype=float))
    known = np.isfinite(m) & np.isfinite(g)
    first, second = np.triu_indices(m.shape[-1], 1)
    m, g = (np.where(known, one, 0.0) for one in (m, g))
    pairs = known[..., first] & known[..., second]
    products = np.sign(m[..., first] - m[..., second]) * np.sign(g[..., first] - g[..., second])
    count = pairs.sum(-1)
    return np.where(count > 0, (products * pairs).sum(-1) / np.maximum(count, 1), np.nan)


def correlations(cube: xr.Dataset, member: str = NETWORK) -> xr.Dataset:
    r"""Return rank correlations of every measure with the generalization gap, seed by seed.

    Parameters
    ----------
    cube
        Of the flatness study: measures and ``gap`` over ``member``, ``seed`` and settings. Networks that did not reach
        the level of the training loss are left out.
    member
        ``network`` or ``student``.

    Returns
    -------
    xarray.Dataset
        Over ``measure`` and ``seed``: ``overall``, :math:`\tau` over all settings; ``granulated``, the mean over the
        settings of :math:`\psi_i`, itself the mean :math:`\tau` over the groups in which setting i alone varies (Jiang
        et al. 2020, equations 5 and 6), so that a measure cannot score by following one setting alone; ``pairs``, how
        many pairs of networks the first one rests on. NaN where fewer than 10 pairs are left.
    """
    require(cube, ["gap", *MEASURES], ["member", "seed"])
    part = cube[["gap", *MEASURES]].sel(member=member, drop=True)
    if "reached" in cube:
        part = part.where(cube["reached"].astype(float) == 1.0)
    settings = [name for name in SETTINGS if name in part["gap"].dims]
    part = part.transpose("seed", *settings, ...)
    shape = (len(MEASURES), part.sizes["seed"])
    overall, granulated, pairs = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
    for i, name in enumerate(MEASURES):
        for j in range(shape[1]):
            m, g = (part[key].values[j] for key in (name, "gap"))
            count = int((np.isfinite(m) & np.isfinite(g)).sum())
            pairs[i, j] = count * (count - 1) / 2
            if pairs[i, j] >= LEAST_PAIRS:
                overall[i, j] = float(kendall(m.ravel(), g.ravel()))
                granulated[i, j] = _granulated(m, g)
    axes = ("measure", "seed")
    values = {
        "overall": variable(axes, overall, "rank correlation with the generalization gap, overall"),
        "granulated": variable(axes, granulated, "rank correlation with the generalization gap, granulated"),
        "pairs": variable(axes, pairs, "pairs of networks compared"),
    }
    return dataset(values, {"measure": list(MEASURES), "seed": part["seed"].values})


def _granulated(measure: np.ndarray, gap: np.ndarray) -> float:
    each = [kendall(*(np.moveaxis(part, axis, -1) for part in (measure, gap))) for axis in range(measure.ndim)]
    means = [float(np.nanmean(one)) for one in each if np.isfinite(one).any()]
    return float(np.mean(means)) if means else float("nan")


def ratios(cube: xr.Dataset, member: str) -> xr.Dataset:
    """Return the logarithms of each measure's ratio to the network's, of its student or of its rescaled copy."""
    measures = cube[list(MEASURES)]
    measures = measures.where(measures > 0)
    ratio = measures.sel(member=member, drop=True) / measures.sel(member=NETWORK, drop=True)
    found = xr.Dataset({name: xr.apply_ufunc(np.log, values) for name, values in ratio.items()})
    return found.where(cube["reached"].astype(float) == 1.0) if "reached" in cube else found


def descent(cube: xr.Dataset, noise: float) -> xr.Dataset:
    """Return how the test error at the end of training rises and falls again with the width, seed by seed.

    The settings other than width are averaged over. The peak is the interior width of the largest error, and the dip
    the best width before it, both chosen on the other seeds: ``rise`` is the error at the peak minus that at the dip,
    ``fall`` minus that at the largest width. Both above 0 are a double descent.
    """
    error = cube["end_test_error"].sel(label_noise=noise, drop=True)
    error = error.mean([dim for dim in error.dims if dim not in ("width", "seed")]).transpose("seed", "width")
    values = error.values[:, np.argsort(error["width"].values)]
    rise, fall = np.full(len(values), np.nan), np.full(len(values), np.nan)
    for j in range(len(values) if values.shape[1] > 2 and len(values) > 1 else 0):
        others = np.delete(values, j, 0).mean(0)
        peak = 1 + int(np.argmax(others[1:-1]))
        dip = int(np.argmin(others[:peak]))
        rise[j], fall[j] = values[j, peak] - values[j, dip], values[j, peak] - values[j, -1]
    found = {
        "rise": variable("seed", rise, "rise of the test error up to the peak"),
        "fall": variable("seed", fall, "fall of the test error behind the peak"),
    }
    return dataset(found, {"seed": error["seed"].values})


def findings(cube: xr.Dataset) -> list[str]:
    """Say which measures predict the gap, what rescaling does to them, what students have, and of double descent.

    Raises
    ------
    ValueError
        If the cube lacks the measures and the gap over members and seeds.
    """
    require(cube, ["gap", "end_test_error", *MEASURES], ["member", "seed"])
    sentences = []
    for member in (NETWORK, STUDENT):
        found = correlations(cube, member)
        sentences.append(_pairs_in_words(cube, found, member))
        sentences += [_correlation(found.sel(measure=name), short_words(cube[name])) for name in MEASURES]
    sentences += [
        _blind(ratios(cube, COPY)[name], short_words(cube[name]), float(cube.attrs.get("factor", np.nan)))
        for name in MEASURES
    ]
    sentences += [_flatter(ratios(cube, STUDENT)[name], short_words(cube[name])) for name in MEASURES]
    if not {"width", "label_noise"} <= set(cube["end_test_error"].dims):
        return sentences
    return sentences + [_descent(cube, float(noise)) for noise in cube["label_noise"].values]


def _pairs_in_words(cube: xr.Dataset, found: xr.Dataset, member: str) -> str:
    kept = int((cube["reached"].astype(float) == 1.0).sum()) if "reached" in cube else int(cube["gap"].count())
    whole = int(cube["reached"].size) if "reached" in cube else kept
    rest = f"; {whole - kept} of {whole} networks never reached the training loss and are left out"
    return f"{member}s: Kendall's τ with the generalization gap over {kept} networks{rest if whole > kept else ''}"


def _correlation(found: xr.Dataset, words: str) -> str:
    """Return both correlations of a measure in words, and what they show."""
    parts = []
    for key in ("overall", "granulated"):
        values = finite(found[key])
        if len(values) < LEAST_SEEDS:
            return f"  {words}: not testable here, {len(values)} seeds have at least {LEAST_PAIRS} pairs"
        decision = decide(values, Bounds(above=0.0))
        shown = verdict_in_words(decision, "predicts it", "predicts the opposite")
        parts.append(f"{key} {decision.mean:+.2f} ({decision.low:+.2f} to {decision.high:+.2f}): {shown}")
    return f"  {words}: " + "; ".join(parts)


def _blind(logs: xr.DataArray, words: str, factor: float) -> str:
    """Return what rescaling the units by a factor does to a measure."""
    values = _by_seed(logs)
    if not len(values):
        return f"rescaled copies, {words}: it has no ratio"
    mean = float(np.exp(values.mean()))
    blind = abs(values).max() < SCALE_FREE
    return f"rescaled copies (units times {factor:g}), {words}: {mean:.3g} times, " + (
        "blind to scale" if blind else "not blind: the function is the same, the measure is not"
    )


def _flatter(logs: xr.DataArray, words: str) -> str:
    """Return whether students have less of a measure than their teachers."""
    values = _by_seed(logs)
    if len(values) < LEAST_SEEDS:
        return f"students, {words}: not testable here, {len(values)} seeds have it"
    decision = decide(values, Bounds(below=0.0))
    mean, low, high = (float(np.exp(x)) for x in (decision.mean, decision.low, decision.high))
    side = {REPRODUCED: "less", CONTRADICTED: "more"}.get(decision.verdict, "undecided")
    return f"students, {words}: {mean:.2f} ({low:.2f} to {high:.2f}) times their teachers': {side}"


def _descent(cube: xr.Dataset, noise: float) -> str:
    found = descent(cube, noise)
    where = f"double descent in width at label noise {noise:g}: "
    values = [finite(found[key]) for key in ("rise", "fall")]
    if min(map(len, values)) < LEAST_SEEDS:
        return where + f"not testable here, it takes three widths and {LEAST_SEEDS} seeds"
    decisions = [decide(one, Bounds(above=0.0)) for one in values]
    parts = [f"{d.mean:+.3f} ({d.low:+.3f} to {d.high:+.3f})" for d in decisions]
    verdicts = {d.verdict for d in decisions}
    shown = "shown" if verdicts == {REPRODUCED} else "ruled out" if CONTRADICTED in verdicts else "undecided"
    return where + f"the test error rises by {parts[0]} to its peak and falls by {parts[1]} behind it: {shown}"


def _by_seed(logs: xr.DataArray) -> np.ndarray:
    return finite(logs.mean([dim for dim in logs.dims if dim != "seed"]))


def generalization_of_run(run: xr.Dataset) -> list[str]:
    """Say of one run what rescaling does to each measure and how students compare; one setting has no correlation."""
    factor = float(run.attrs.get("factor", np.nan))
    reached = int((run["reached"].astype(float) == 1.0).sum())
    said = [f"{reached} of {run.sizes['seed']} networks reached the training loss; correlations need the whole study"]
    note = str(run["path_norm"].attrs.get("note", ""))
    said += [note] if note else []
    said += [_blind(ratios(run, COPY)[name], short_words(run[name]), factor) for name in MEASURES]
    return said + [_flatter(ratios(run, STUDENT)[name], short_words(run[name])) for name in MEASURES]


def intervals(cube: xr.Dataset, members: Sequence[str] = (NETWORK, STUDENT)) -> xr.Dataset:
    """Return ``mean``, ``low``, ``high`` of both correlations over ``member, kind, measure``: what a figure draws."""
    kinds = ("overall", "granulated")
    each = [[t_interval(correlations(cube, member)[kind]) for kind in kinds] for member in members]
    rows = [
        xr.concat(row, xr.DataArray(list(kinds), dims="kind", name="kind"), combine_attrs="override") for row in each
    ]
    return xr.concat(rows, xr.DataArray(list(members), dims="member", name="member"), combine_attrs="override")
