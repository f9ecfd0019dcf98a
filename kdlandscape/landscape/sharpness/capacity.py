"""All measures of flatness and capacity at one theta, side by side."""

import math

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.spectra import effective_dimension
from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.curvature.curvatures import hessian
from kdlandscape.landscape.draws import seeded
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta
from kdlandscape.landscape.sharpness.measures import sharpness

#: The measures, each with what it is; the first three come from one Hessian.
CAPACITY = {
    "lambda_max": "largest Hessian eigenvalue",
    "trace": "trace of the Hessian",
    "effective_dimension": "effective dimension of the Hessian",
    "pac_bayes": "PAC-Bayes flatness 1/σ²",
    "magnitude_aware": "magnitude-aware flatness 1/σ²",
    "path_norm": "path norm",
    "fisher_rao": "Fisher–Rao norm",
}


def capacity(
    objective: MeanLoss,
    theta: Theta,
    *,
    precision: float = 1.0,
    num_matvecs: int = 25,
    num_draws: int = 8,
    generator: torch.Generator | None = None,
) -> xr.Dataset:
    r"""Measure a network in every way that is said to predict generalization; larger is sharper, or more complex.

    Parameters
    ----------
    objective, theta
        The mean loss over the training set, and the network.
    precision
        z of the effective dimension :math:`\sum_i \lambda_i / (\lambda_i + z)`, which pairs with the summed loss.
    num_matvecs
        Lanczos steps of the effective dimension, and the most products of the trace.
    num_draws
        Draws of noise of both 1/σ².
    generator
        Draws vectors and noise; default: seed 0.

    Returns
    -------
    xarray.Dataset
        A scalar for each name of ``CAPACITY``; see `kdlandscape.landscape.sharpness.measures.sharpness` for the last
        four. A path norm that is undefined for this network is NaN, and its attribute ``note`` says why. Costs about
        4 num_matvecs products, and 15 num_draws passes for each 1/σ².
    """
    draws = seeded(generator, objective.device)
    loss, point = objective.at(theta)
    curvature = hessian(loss, point, num_matvecs=4 * num_matvecs)
    rule = curvature.quadrature(num_matvecs=num_matvecs, num_draws=2, generator=draws)
    found: dict[str, float] = {
        "lambda_max": float(curvature.top_eigenpairs(1, tol=1e-3, generator=draws)["eigenvalues"][0]),
        "trace": float(curvature.trace(rtol=0.05, max_matvecs=2 * num_matvecs, generator=draws)["trace"]),
        "effective_dimension": float(effective_dimension(rule, [precision])["effective_dimension"][0]),
    }
    found["pac_bayes"] = _sharpness(loss, point, "pac_bayes", num_draws, draws)
    found["magnitude_aware"] = _sharpness(loss, point, "magnitude_aware", num_draws, draws)
    found["fisher_rao"] = float(sharpness(loss, point, kind="fisher_rao")["sharpness"])
    note = ""
    try:
        found["path_norm"] = float(sharpness(loss, point, kind="path_norm")["sharpness"])
    except ValueError as error:
        found["path_norm"], note = math.nan, str(error)
    units = dict.fromkeys(("lambda_max", "trace"), loss.units)
    labelled = {
        name: variable((), found[name], label, units.get(name, "1"), **({"note": note} if name == "path_norm" else {}))
        for name, label in CAPACITY.items()
    }
    return dataset(labelled, num_parameters=loss.dim, num_examples=loss.num_examples, precision=precision)


def _sharpness(loss: MeanLoss, point: Tensor, kind: str, num_draws: int, draws: torch.Generator) -> float:
    settings = {"num_draws": num_draws, "rtol": 0.05, "generator": draws}
    return float(sharpness(loss, point, kind=kind, **settings)["sharpness"])  # type: ignore[arg-type]
