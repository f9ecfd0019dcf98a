"""Which predictive is near the Bayesian model average: distances to that of chains, where the chains have met."""

import xarray as xr

from kdlandscape.cubes.chains import CONVERGED
from kdlandscape.cubes.statistics import t_interval
from kdlandscape.studies.decisions import Bounds, decide, finite, verdict_in_words
from kdlandscape.studies.sentences import interval_in_words, of_each_cell, require, unmet

HALF, NETWORK, STUDENT, OF_ENSEMBLE = "HMC, half of the chains", "network", "student", "student of the ensemble"
BAYESIAN = ("SGD iterates", "SWAG", "Laplace", "linearized Laplace")
NEEDED = ("total_variation", "agreement", "ece", "reference_ece", "r_hat")


def largest_ensemble(cube: xr.Dataset) -> str:
    """Return the predictive that averages most networks.

    Raises
    ------
    ValueError
        If the cube has no ensemble.
    """
    sizes = {
        name: int(name.split()[-1]) for name in cube["predictive"].values.tolist() if name.startswith("ensemble of ")
    }
    if not sizes:
        raise ValueError("expected a predictive such as 'ensemble of 8', got none")
    return max(sizes, key=lambda name: sizes[name])


def farther(cube: xr.Dataset, this: str, than: str) -> xr.DataArray:
    """Return by how much one predictive's total variation distance to the chains exceeds another's, cell by cell."""
    distance = cube["total_variation"]
    return distance.sel(predictive=this, drop=True) - distance.sel(predictive=than, drop=True)


def contrasts(cube: xr.Dataset) -> list[tuple[str, str, str]]:
    """Return the questions: in words, and the two predictives, of which the first is said to be farther away."""
    ensemble = largest_ensemble(cube)
    known = cube["predictive"].values.tolist()
    asked = [(f"one {NETWORK} is farther than the {ensemble}", NETWORK, ensemble)]
    asked += [(f"{name} is farther than the {ensemble}", name, ensemble) for name in BAYESIAN]
    asked += [("a network is farther than its student", NETWORK, STUDENT)]
    asked += [(f"the {ensemble} is farther than its student", ensemble, OF_ENSEMBLE)]
    return [one for one in asked if {one[1], one[2]} <= set(known)]


def findings(cube: xr.Dataset) -> list[str]:
    """Say for each data set, on and off the data, which predictives are near that of the chains.

    Raises
    ------
    ValueError
        If the cube lacks the distances over ``predictive``, ``inputs`` and ``seed``.
    """
    require(cube, NEEDED, ["predictive", "inputs", "seed"])
    return of_each_cell(cube[list(NEEDED)], ["predictive", "seed", "inputs"], _of_setting)


def _of_setting(cell: xr.Dataset) -> list[str]:
    worst = cell["r_hat"].max("inputs")
    apart = unmet(worst, CONVERGED, f"R-hat of function values is below {CONVERGED}")
    if apart:
        return [apart]
    done = int(worst.notnull().sum())
    said = [f"the chains have met: R-hat of function values is at most {float(worst.max()):.3f} in {done} runs"]
    for place in cell["inputs"].values.tolist():
        said += _at(place, cell.sel(inputs=place))
    return said


def _at(place: str, cell: xr.Dataset) -> list[str]:
    near = cell["total_variation"].mean("seed").to_series().sort_values()
    order = [f"{name} {value:.3f}" for name, value in near.items()]
    said = [f"{place}: total variation distance to the chains, nearest first: {', '.join(order)}"]
    said += [_contrast(place, words, farther(cell, *two)) for words, *two in contrasts(cell)]
    ensemble = largest_ensemble(cell)
    errors = [("HMC", cell["reference_ece"])]
    errors += [(name, cell["ece"].sel(predictive=name)) for name in (ensemble, NETWORK, STUDENT)]
    told = [f"{name} {interval_in_words(t_interval(values), '{:.3f}')}" for name, values in errors]
    return [*said, f"{place}: calibration error of {', '.join(told)}"]


def _contrast(place: str, words: str, gap: xr.DataArray) -> str:
    found = decide(finite(gap), Bounds(above=0.0))
    verdict = verdict_in_words(found, "yes", "no, it is nearer")
    return f"{place}: {words}, by {found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f}): {verdict}"


def posterior_of_run(run: xr.Dataset) -> list[str]:
    """Say of one run whether its chains have met, and the order of the predictives by distance; it has no spread."""
    worst = float(run["r_hat"].max())
    met = f"below {CONVERGED}" if worst < CONVERGED else f"not below {CONVERGED}: not testable here"
    said = [f"largest R-hat of function values: {worst:.3f}, {met}"]
    for place in run["inputs"].values.tolist():
        near = run["total_variation"].sel(inputs=place).to_series().sort_values()
        order = ", ".join(f"{name} {value:.3f}" for name, value in near.items())
        said.append(f"{place}: total variation distance to the chains, nearest first (one seed): {order}")
    return said
