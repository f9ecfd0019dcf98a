"""The part of an unfinished cube that settings can be compared on: every seed kept has every setting kept."""

import numpy as np
import xarray as xr

from kdlandscape.cubes.words import cell_words, dim_symbol, value_words
from kdlandscape.studies.decisions import LEAST_SEEDS


def complete_seeds(part: xr.Dataset, inner: tuple[str, ...] = ()) -> tuple[xr.Dataset, str]:
    """Leave out settings that are not done, then seeds that lack one of the others; say what was left out.

    A comparison over settings would otherwise compare other settings in one seed than in the next. A setting is left
    out where fewer seeds have it than a verdict needs (or than any setting has, if that is less).

    Parameters
    ----------
    part
        Variables over ``seed`` and settings (all dims but ``seed`` and the inner ones); NaN where nothing is known.
    inner
        Dims inside of a setting: a seed has the setting if it has a value at each of their places.

    Returns
    -------
    tuple
        The variables over ``setting``, ``seed`` and the inner dims; words that end a sentence, empty if nothing was
        left out.
    """
    dims = [str(dim) for dim in part.dims if dim not in ("seed", *inner)]
    stacked = part.stack(setting=dims) if dims else part.expand_dims("setting")
    known = stacked.notnull().to_dataarray().all(["variable", *(dim for dim in inner if dim in stacked.dims)])
    known = known.transpose("setting", "seed")
    count = known.sum("seed").values
    kept = count >= min(LEAST_SEEDS, count.max(initial=0))
    whole = known.values[kept].all(0)
    shown = [dim for dim in dims if part.sizes[dim] > 1]
    without = [cell_words(part, {dim: stacked[dim].values[i].item() for dim in shown}) for i in np.flatnonzero(~kept)]
    lost = [value_words(seed) for seed in part["seed"].values[~whole].tolist()]
    said = [f"{len(without)} of {len(kept)} settings ({'; '.join(without)})"] if without else []
    said += [f"{len(lost)} of {len(whole)} values of {dim_symbol(part, 'seed')} ({', '.join(lost)})"] if lost else []
    left = stacked.isel(setting=np.flatnonzero(kept), seed=np.flatnonzero(whole))
    words = f"; left out, for want of results: {' and '.join(said)}" if said else ""
    return (left.reset_index("setting") if dims else left), words
