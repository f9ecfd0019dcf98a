"""What priors over functions look like beside the closed form, and what distilled students keep of them."""

import xarray as xr

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.studies.decisions import (
    LEAST_SEEDS,
    Bounds,
    decide,
    finite,
    verdict_in_words,
)
from kdlandscape.studies.sentences import interval_in_words, of_each_cell, require

MARGIN = 0.05  # of correlations: a smaller difference counts as none
NEEDED = ("correlation", "wide_correlation", "kept_correlation", "student_agreement", "foreign_agreement")


def findings(cube: xr.Dataset) -> list[str]:
    """Say for every architecture and prior how far it is from the wide limit, and what students keep.

    Raises
    ------
    ValueError
        If the cube lacks the correlations over cosines and seeds, or the agreements.
    """
    require(cube, NEEDED, ["cosine", "seed"])
    part = cube[[*NEEDED, "random_agreement", "num_classes"]]
    return of_each_cell(part, ["seed", "cosine", "member"], _sentences, whole="all runs")


def _sentences(cell: xr.Dataset) -> list[str]:
    count = int(cell["student_agreement"].notnull().sum())
    if count < LEAST_SEEDS:
        return [f"not testable here: {count} seeds are done, a verdict needs at least {LEAST_SEEDS}"]
    apart = abs(cell["correlation"] - cell["wide_correlation"]).mean("cosine")
    gain = cell["student_agreement"] - cell["foreign_agreement"]
    kept = cell["kept_correlation"]
    change = kept.sel(member="student", drop=True) - kept.sel(member="teacher", drop=True)
    change = change.sel(cosine=change["cosine"] < 1).mean("cosine")
    chance = 1 / float(cell["num_classes"].mean())
    return [
        f"outputs are {_interval(apart, '{:.3f}')} from the correlation of infinitely wide ReLU networks: "
        + _verdict(apart, Bounds(below=MARGIN), "the same", "different", MARGIN),
        f"two random functions agree on {_interval(cell['random_agreement'], '{:.1%}')} of the inputs "
        f"(chance {chance:.0%})",
        f"a student agrees with its own teacher {_interval(gain, '{:+.1%}')} more than with another: "
        + _verdict(gain, Bounds(above=0.0), "it keeps the function", "it keeps nothing", 0.0),
        f"the outputs of students correlate {_interval(change, '{:+.3f}')} more than their teachers': "
        + _verdict(change, Bounds(-MARGIN, MARGIN), "the prior is kept", "it is not kept", MARGIN),
    ]


def _verdict(values: xr.DataArray, bounds: Bounds, yes: str, no: str, margin: float) -> str:
    found = decide(finite(values), bounds)
    where = f" within {margin:g}" if margin else ""
    beyond = f" beyond {margin:g}" if margin else ""
    return verdict_in_words(found, f"{yes}{where}", f"{no}{beyond}", within=where)


def _interval(values: xr.DataArray, form: str) -> str:
    return interval_in_words(t_interval(values), form)


def function_prior_of_run(run: xr.Dataset) -> list[str]:
    """Say of one run how far it is from the wide limit, and what students agree on; one seed has no interval."""
    apart = float(abs(run["correlation"] - run["wide_correlation"]).max())
    words = [(f"{float(run[name]):.1%}", run[name].attrs["long_name"]) for name in _AGREEMENTS]
    return [
        f"the correlation of outputs is at most {apart:.3f} from that of infinitely wide ReLU networks (one seed)",
        *(f"{label}: {value}, chance {1 / float(run['num_classes']):.0%}" for value, label in words),
    ]


_AGREEMENTS = ("random_agreement", "student_agreement", "foreign_agreement")
