"""The claims of the thread beside distillation: flatness, priors over functions, model averages, and mechanics.

They follow the rules of `kdlandscape.studies.claims`: a bound stated before the numbers are seen, a t interval over
seeds, and "not testable here" where a precondition is not shown.
"""

import xarray as xr

from kdlandscape.cubes.chains import CONVERGED
from kdlandscape.studies.claims import Claim, Measure, Number, Precondition
from kdlandscape.studies.decisions import Bounds
from kdlandscape.studies.function_priors_kept import MARGIN
from kdlandscape.studies.generalization import COPY, SCALE_FREE, STUDENT, correlations, descent, ratios
from kdlandscape.studies.mechanics_compared import LEARNED, log_ratios, unexplained
from kdlandscape.studies.posterior_distances import BAYESIAN, NETWORK, OF_ENSEMBLE, farther, largest_ensemble
from kdlandscape.studies.posterior_distances import STUDENT as DISTILLED
from kdlandscape.studies.verdict_table import findings_on

FLATNESS, FUNCTION_PRIOR, POSTERIOR, MECHANICS = "flatness", "function_prior", "posterior", "mechanics"
TEST, FAR = "test", "off the data"
WEAK = 0.1  # the largest rank correlation that counts as none


def _over_seeds(values: xr.DataArray) -> xr.DataArray:
    return values.mean([dim for dim in values.dims if dim != "seed"])


def _granulated(measure: str) -> Measure:
    return lambda cube: correlations(cube)["granulated"].sel(measure=measure, drop=True)


def _log_ratio(member: str, measure: str) -> Measure:
    return lambda cube: _over_seeds(ratios(cube, member)[measure])


def _descent(part: str) -> Measure:
    return lambda cube: descent(cube, float(cube["label_noise"].max()))[part]


def _distance_from_wide(cube: xr.Dataset) -> xr.DataArray:
    part = cube[["correlation", "wide_correlation"]]
    part = part.sel(network="mlp", prior="gaussian", drop=True) if {"network", "prior"} <= set(part.dims) else part
    return abs(part["correlation"] - part["wide_correlation"]).mean("cosine")


def _kept(cube: xr.Dataset) -> xr.DataArray:
    kept = cube["kept_correlation"].sel(cosine=cube["cosine"] < 1)
    return _over_seeds(kept.sel(member="student", drop=True) - kept.sel(member="teacher", drop=True))


def _gain(cube: xr.Dataset) -> xr.DataArray:
    return _over_seeds(cube["student_agreement"] - cube["foreign_agreement"])


def _farther(this: str, than: str, place: str) -> Measure:
    """Return by how much a predictive is farther from the chains than another; "ensemble" stands for the largest."""

    def measure(cube: xr.Dataset) -> xr.DataArray:
        names = (largest_ensemble(cube) if name == "ensemble" else name for name in (this, than))
        return _over_seeds(farther(cube.sel(inputs=place), *names))

    return measure


def _nearest_bayesian(place: str) -> Measure:
    """Return how much farther than the largest ensemble the nearest approximation is, chosen seed by seed."""

    def measure(cube: xr.Dataset) -> xr.DataArray:
        part, ensemble = cube.sel(inputs=place), largest_ensemble(cube)
        gaps = [farther(part, name, ensemble) for name in BAYESIAN]
        return _over_seeds(xr.concat(gaps, "approximation").min("approximation"))

    return measure


def _of_constraint(quantity: str) -> Measure:
    return lambda cube: _over_seeds(log_ratios(cube)[quantity])


#: Networks that have not learned the motion say nothing about it.
LEARNS = Precondition(
    "both networks learn the motion",
    Number(MECHANICS, "share of the test motions that the worse one leaves unexplained",
           lambda cube: _over_seeds(unexplained(cube))),
    Bounds(below=LEARNED),
)  # fmt: skip
#: Distances to chains that have not met are distances to nothing.
MET = Precondition(
    "the chains have met",
    Number(POSTERIOR, "largest R-hat of function values", lambda cube: cube["r_hat"].max(
        [dim for dim in cube["r_hat"].dims if dim != "seed"])),
    Bounds(below=CONVERGED),
)  # fmt: skip
#: Correlations are of networks at one training loss, so most of them have to reach it.
REACHED = Precondition(
    "networks reach the training loss at which they are compared",
    Number(FLATNESS, "share of the networks that reach it", lambda cube: _over_seeds(cube["reached"].astype(float))),
    Bounds(above=0.5),
)
NOISY = Precondition(
    "the widest networks fit their noisy labels",
    Number(
        FLATNESS,
        "training error at the end, largest width",
        lambda cube: _over_seeds(cube["end_train_error"].sel(width=cube["width"].max())),
    ),
    Bounds(below=0.05),
)


def _claim(name: str, source: str, statement: str, number: Number, *needs: Precondition, **bounds: float) -> Claim:
    return Claim(name, source, statement, number, needs=needs, **bounds)  # type: ignore[arg-type]


CLAIMS = [
    _claim("flat-dimension", "Maddox 2020", "a smaller effective dimension goes with better generalization",
           Number(FLATNESS, "granulated τ of N_eff with the gap", _granulated("effective_dimension")),
           REACHED, above=0.0),
    _claim("flat-pac-bayes", "Jiang 2020", "a sharper network, by noise, generalizes worse",
           Number(FLATNESS, "granulated τ of 1/σ² with the gap", _granulated("pac_bayes")), REACHED, above=0.0),
    _claim("flat-magnitude", "Jiang 2020", "so it does by noise relative to the weights",
           Number(FLATNESS, "granulated τ of magnitude-aware 1/σ²", _granulated("magnitude_aware")),
           REACHED, above=0.0),
    _claim("flat-path-norm", "Jiang 2020", "the path norm grows with the gap",
           Number(FLATNESS, "granulated τ of the path norm", _granulated("path_norm")), REACHED, above=0.0),
    _claim("flat-dinh", "Dinh 2017", "sharpness changes while the function does not",
           Number(FLATNESS, "log of λ_max of a rescaled copy over that of its network", _log_ratio(COPY, "lambda_max")),
           REACHED, above=SCALE_FREE),
    _claim("flat-fisher-rao", "Liang 2019", "the Fisher–Rao norm does not change with it (within a tenth)",
           Number(FLATNESS, "log of the same ratio, Fisher–Rao norm", _log_ratio(COPY, "fisher_rao")),
           REACHED, above=-SCALE_FREE, below=SCALE_FREE),
    _claim("flat-students", "Pham 2022", "students sit in flatter places than their teachers, scale accounted for",
           Number(FLATNESS, "log of a student's magnitude-aware 1/σ² over its teacher's",
                  _log_ratio(STUDENT, "magnitude_aware")), REACHED, below=0.0),
    _claim("descent-rise", "Nakkiran 2020", "with noisy labels the test error rises with the width",
           Number(FLATNESS, "test error at its peak minus that at the dip before", _descent("rise")),
           NOISY, above=0.0),
    _claim("descent-fall", "Nakkiran 2020", "and falls again",
           Number(FLATNESS, "test error at its peak minus that at the largest width", _descent("fall")),
           NOISY, above=0.0),
    _claim("prior-wide", "Lee 2018", "a finite ReLU network correlates as the infinitely wide one (within 0.05)",
           Number(FUNCTION_PRIOR, "mean distance of both correlations, MLP", _distance_from_wide), below=MARGIN),
    _claim("prior-student", "this package", "a student of a random function agrees with it beyond another one",
           Number(FUNCTION_PRIOR, "agreement with its own teacher minus with another", _gain), above=0.0),
    _claim("prior-kept", "this package", "students keep the correlations of the prior (within 0.05)",
           Number(FUNCTION_PRIOR, "correlation of students minus of teachers", _kept), above=-MARGIN, below=MARGIN),
    _claim("average-grows", "Wilson 2020", "an ensemble is nearer to the Bayesian model average than one network",
           Number(POSTERIOR, "distance of a network minus of the largest ensemble",
                  _farther(NETWORK, "ensemble", TEST)), MET, above=0.0),
    *(_claim(f"average-{name.lower().replace(' ', '-')}", "Izmailov 2021", f"an ensemble is nearer to it than {name}",
             Number(POSTERIOR, f"distance of {name} minus of the largest ensemble", _farther(name, "ensemble", TEST)),
             MET, above=0.0) for name in BAYESIAN),
    _claim("average-far", "Izmailov 2021", "off the data too, it is nearer than the nearest of these",
           Number(POSTERIOR, "distance of the nearest minus of the largest ensemble", _nearest_bayesian(FAR)),
           MET, above=0.0),
    _claim("average-student", "this package", "a student is nearer to it than its teacher",
           Number(POSTERIOR, "distance of a network minus of its student", _farther(NETWORK, DISTILLED, TEST)),
           MET, above=0.0),
    _claim("average-ensemble-student", "this package", "a student of an ensemble is nearer to it than one network",
           Number(POSTERIOR, "distance of a network minus of the ensemble's student",
                  _farther(NETWORK, OF_ENSEMBLE, TEST)), MET, above=0.0),
    _claim("mechanics-drift", "Finzi 2020", "with explicit constraints a Hamiltonian network loses less energy",
           Number(MECHANICS, "log of its energy drift over that without them", _of_constraint("energy_drift")),
           LEARNS, below=0.0),
    _claim("mechanics-error", "Finzi 2020", "and predicts motions better",
           Number(MECHANICS, "log of the same ratio, distance from the true path", _of_constraint("path_error")),
           LEARNS, below=0.0),
    _claim("mechanics-flat", "this package", "and its minimum is flatter",
           Number(MECHANICS, "log of the same ratio, largest eigenvalue", _of_constraint("eigenvalues")),
           LEARNS, below=0.0),
]  # fmt: skip


def findings(cube: xr.Dataset) -> list[str]:
    """Return the verdicts on those claims that one study of the thread decides.

    Raises
    ------
    ValueError
        If no claim is about a study of the cube's name.
    """
    return findings_on(CLAIMS, cube)
