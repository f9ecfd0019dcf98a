"""Whether the barrier follows the teacher's share λ of a student's initial weights, or the angle of these to it."""

import numpy as np
import xarray as xr

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.cubes.words import cell_words, kind
from kdlandscape.studies.complete_seeds import complete_seeds
from kdlandscape.studies.decisions import LEAST_SEEDS, Bounds, decide, verdict_in_words
from kdlandscape.studies.sentences import interval_in_words, require


def relative_heights(cube: xr.Dataset) -> xr.DataArray:
    """Return the barrier to the teacher over that at the smallest λ, of the same seed and setting; 1 there."""
    cube = cube.sortby("init_lambda")
    height = cube["barrier"] / cube["barrier"].isel(init_lambda=0, drop=True)
    label = f"barrier over that at λ = {float(cube['init_lambda'][0]):g}"
    return height.rename("relative_height").assign_attrs(long_name=label, units="1")


def unexplained(cube: xr.Dataset) -> xr.Dataset:
    r"""Return which share of the variance of the relative height no falling curve over λ, or over the cosine, explains.

    One curve for all settings (scale, width, norm) of a seed, by isotonic regression:
    :math:`\sum (h - \hat h)^2 / \sum (h - \bar h)^2`. It is 0 where all settings fall on one curve.

    Parameters
    ----------
    cube
        With ``barrier`` and ``cos_start`` over ``init_lambda``, ``seed`` and settings.

    Returns
    -------
    xarray.Dataset
        ``over_lambda`` and ``over_cosine`` over ``seed``.
    """
    height = relative_heights(cube)
    cosine = cube.sortby("init_lambda")["cos_start"]
    share = cosine["init_lambda"].broadcast_like(cosine)
    kept = height["init_lambda"] > height["init_lambda"].min()  # where it is 1 by definition, nothing is explained
    parts = [values.sel(init_lambda=kept).transpose("seed", ...) for values in (height, share, cosine)]
    h, *places = (part.values.reshape(part.sizes["seed"], -1) for part in parts)
    found = {
        name: ("seed", [_left(x, y) for x, y in zip(place, h, strict=True)])
        for name, place in zip(("over_lambda", "over_cosine"), places, strict=True)
    }
    return xr.Dataset(found, {"seed": cube["seed"]})


def _left(x: np.ndarray, y: np.ndarray) -> float:
    from sklearn.isotonic import isotonic_regression

    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 3:
        return np.nan
    order = np.argsort(x[known], kind="stable")
    x, y = x[known][order], y[known][order]
    groups = np.unique(x, return_inverse=True)[1]  # one value of the curve for equal places
    weight = np.bincount(groups)
    fit = isotonic_regression(np.bincount(groups, y) / weight, sample_weight=weight, increasing=False)[groups]
    return float(((y - fit) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def halvings(cube: xr.Dataset) -> xr.Dataset:
    """Return ``at_lambda`` and ``at_cosine``: where the relative height first falls to a half, between the λ measured.

    NaN where it never does.
    """
    height, cosine = relative_heights(cube), cube.sortby("init_lambda")["cos_start"]
    share = cosine["init_lambda"].broadcast_like(cosine)
    core = [["init_lambda"]] * 2
    return xr.Dataset(
        {
            name: xr.apply_ufunc(_half, place, height, input_core_dims=core, vectorize=True)
            for name, place in (("at_lambda", share), ("at_cosine", cosine))
        }
    )


def _half(x: np.ndarray, h: np.ndarray) -> float:
    below = np.flatnonzero(h <= 0.5)
    if not below.size or below[0] == 0:
        return np.nan
    i = below[0]
    return float(x[i - 1] + (x[i] - x[i - 1]) * (h[i - 1] - 0.5) / (h[i - 1] - h[i]))


def findings(cube: xr.Dataset) -> list[str]:
    """Say whether one curve over the cosine of the start explains more of the barriers than one over λ.

    For all settings together, and then for each value of a setting in words, such as the norm: weights that all
    networks share at the start, as the gains of a norm, raise the cosine and not what is alike.

    Raises
    ------
    ValueError
        If the cube lacks the barrier or the cosine of the start over ``init_lambda`` and ``seed``.
    """
    require(cube, ["barrier", "cos_start"], ["init_lambda", "seed"])
    whole, left_out = complete_seeds(cube[["barrier", "cos_start"]], inner=("init_lambda",))
    if whole.sizes["seed"] < LEAST_SEEDS:
        seeds = whole.sizes["seed"]
        return [f"not decided: {seeds} seeds are done, a verdict needs at least {LEAST_SEEDS}{left_out}."]
    words = [dim for dim in cube["barrier"].dims if cube.sizes[dim] > 1 and kind(cube, str(dim)) == "category"]
    parts = [
        f"{cell_words(cube, {str(dim): value})} alone: {_sentence(whole.isel(setting=whole[dim].values == value))}"
        for dim in words
        for value in cube[dim].values.tolist()
    ]
    return [_sentence(whole, left_out), *parts]


def _sentence(whole: xr.Dataset, left_out: str = "") -> str:
    left = unexplained(whole)
    decision = decide((left["over_lambda"] - left["over_cosine"]).values, Bounds(above=0.0))
    verdict = verdict_in_words(decision, "the angle tells more than λ", "λ tells more than the angle")
    half = halvings(whole).mean("seed")
    ranges = [f"{float(half[name].min()):.2f} to {float(half[name].max()):.2f}" for name in ("at_lambda", "at_cosine")]
    return (
        f"one falling curve over λ leaves {_interval(left['over_lambda'])} of the variance of the relative barriers "
        f"unexplained, one over the cosine of start and teacher {_interval(left['over_cosine'])}; difference "
        f"{decision.mean:.0%} ({decision.low:.0%} to {decision.high:.0%}): {verdict} ({whole.sizes['seed']} seeds"
        f"{left_out}). Over the {whole.sizes['setting']} settings the barrier halves at λ = {ranges[0]}, "
        f"at a cosine of {ranges[1]}."
    )


def _interval(values: xr.DataArray) -> str:
    return interval_in_words(t_interval(values), "{:.0%}")
