"""What a constraint changes: drift, errors and curvature of a constrained network beside an unconstrained one."""

import numpy as np
import xarray as xr

from kdlandscape.studies.decisions import Bounds, decide, finite, verdict_in_words
from kdlandscape.studies.sentences import of_each_cell, require, unmet

CONSTRAINED, UNCONSTRAINED = "constrained", "unconstrained"
LEARNED = 0.05  # share of the mean square that a network may leave unexplained on test motions
NEEDED = ("energy_drift", "path_error", "test_loss", "test_scale", "eigenvalues", "trace")
#: name -> (what it is, how it is taken): each above 0, for one network or the other
QUANTITIES = {
    "energy_drift": "energy drift at the end",
    "path_error": "distance from the true path at the end",
    "test_loss": "test loss",
    "eigenvalues": "largest eigenvalue",
    "trace": "trace of the Hessian",
}


def log_ratios(cube: xr.Dataset) -> xr.Dataset:
    r"""Return :math:`\log(q_{constrained} / q_{unconstrained})` of each quantity, paired in each run.

    Of what depends on time, the last; of the eigenvalues, the largest. NaN where one is not above 0.
    """
    last = cube.isel(time=-1, drop=True).isel(eigenvalue=0, drop=True)
    found = {}
    for name in QUANTITIES:
        logs = xr.apply_ufunc(np.log, last[name].where(last[name] > 0))
        found[name] = logs.sel(network=CONSTRAINED, drop=True) - logs.sel(network=UNCONSTRAINED, drop=True)
    return xr.Dataset(found)


def unexplained(cube: xr.Dataset) -> xr.DataArray:
    """Return the test loss over the mean square of what is predicted, of the worse of both networks."""
    return (cube["test_loss"] / cube["test_scale"]).max("network")


def findings(cube: xr.Dataset) -> list[str]:
    """Say for each quantity how many times that of the unconstrained network it is, with a 95 % t interval.

    Raises
    ------
    ValueError
        If the cube lacks the quantities over ``network``, ``time`` and ``seed``.
    """
    require(cube, NEEDED, ["network", "time", "seed"])
    return of_each_cell(cube[list(NEEDED)], ["network", "time", "seed", "eigenvalue"], _of_setting)


def _of_setting(cell: xr.Dataset) -> list[str]:
    unlearned = unmet(unexplained(cell), LEARNED, f"both networks explain all but {LEARNED:.0%} of the test motions")
    return [unlearned] if unlearned else [_sentence(name, cell) for name in QUANTITIES]


def _sentence(name: str, cell: xr.Dataset) -> str:
    found = decide(finite(log_ratios(cell)[name]), Bounds(below=0.0))
    mean, low, high = (float(np.exp(value)) for value in (found.mean, found.low, found.high))
    verdict = verdict_in_words(found, "smaller with the constraint", "larger with the constraint")
    return f"{QUANTITIES[name]}: {mean:.2g} ({low:.2g} to {high:.2g}) times the unconstrained network's: {verdict}"


def mechanics_of_run(run: xr.Dataset) -> list[str]:
    """Say for each quantity of one run how many times that of the unconstrained network it is; it has no spread."""
    left = float(unexplained(run))
    said = [f"the worse of both networks leaves {left:.2g} of the mean square of the test motions unexplained"]
    times = log_ratios(run)
    return said + [
        f"{words}: {float(np.exp(times[name])):.2g} times the unconstrained network's (one seed: no verdict)"
        for name, words in QUANTITIES.items()
    ]
