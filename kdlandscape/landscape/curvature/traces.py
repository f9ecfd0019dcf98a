"""Trace and diagonal of a curvature at one theta, each with its standard error."""

from typing import Any, Literal

import torch
import xarray as xr

from kdlandscape.cubes.variables import dataset
from kdlandscape.landscape.curvature.operator import operator
from kdlandscape.landscape.curvature.spectra import facts
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta
from kdlandscape.linalg import trace as estimators

METHODS = {
    "xtrace": estimators.xtrace,
    "xnystrace": estimators.xnystrace,
    "hutchpp": estimators.hutchpp,
    "hutchinson": estimators.hutchinson,
}


def trace(
    objective: MeanLoss,
    theta: Theta,
    *,
    curvature: str = "hessian",
    method: Literal["xtrace", "xnystrace", "hutchpp", "hutchinson"] = "xtrace",
    rtol: float = 0.01,
    atol: float = 0.0,
    max_matvecs: int = 200,
    generator: torch.Generator | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Estimate the trace of the curvature of the mean loss, until its standard error is small.

    Parameters
    ----------
    objective, theta, curvature, settings
        As for `kdlandscape.landscape.curvature.spectra.top_eigenpairs`.
    method
        ``xtrace``, ``xnystrace`` (fewer products where no eigenvalue is negative: the GGN and the Fishers),
        ``hutchpp`` or ``hutchinson``; see `kdlandscape.linalg.trace`.
    rtol, atol
        Stop at a standard error below max(atol, rtol * |trace|); both 0: spend ``max_matvecs``.
    max_matvecs
        Upper bound on products.
    generator
        Of the random vectors; default: seed 0.

    Returns
    -------
    xarray.Dataset
        ``trace``, ``trace_sem`` and ``trace_converged``; ``num_matvecs`` in the attrs.

    Raises
    ------
    ValueError
        An unknown method, ``xnystrace`` for the Hessian, and all errors of the operator.

    Notes
    -----
    Where the outputs are affine in every single weight (linear and convolution layers, ReLU, fixed BatchNorm, no weight
    used twice) the Hessian and the GGN have the same diagonal. ``curvature="ggn"`` then gives the Hessian's trace at a
    third of the error, since it has no negative eigenvalues.
    """
    if method not in METHODS:
        raise ValueError(f"expected method to be one of {', '.join(METHODS)}; got {method!r}")
    if method == "xnystrace" and curvature == "hessian":
        raise ValueError("xnystrace is for a curvature without negative eigenvalues: use xtrace, or curvature='ggn'")
    a = operator(objective, theta, curvature=curvature, products=max_matvecs, **settings)
    generator = generator or torch.Generator(a.theta.device).manual_seed(0)
    found = METHODS[method](a, a.theta, max_matvecs, generator=generator, rtol=rtol, atol=atol)
    values = {"trace": found.value.cpu(), "trace_sem": found.sem.cpu(), "trace_converged": found.converged}
    attrs = facts(objective, a, curvature, settings)
    return dataset(values, num_matvecs=found.num_matvecs, method=method, rtol=rtol, **attrs)


def diagonal(
    objective: MeanLoss,
    theta: Theta,
    *,
    curvature: str = "hessian",
    rtol: float = 0.0,
    max_matvecs: int = 100,
    generator: torch.Generator | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Estimate the diagonal of the curvature of the mean loss (Bekas, Kokiopoulou and Saad 2007).

    Parameters and errors are those of `trace`; ``rtol`` is relative to the norm of the diagonal, and 0 spends
    ``max_matvecs``.

    Returns
    -------
    xarray.Dataset
        ``diagonal`` and ``diagonal_sem`` over ``dim``, the places in theta; ``num_matvecs`` in the attrs.
    """
    a = operator(objective, theta, curvature=curvature, products=max_matvecs, **settings)
    generator = generator or torch.Generator(a.theta.device).manual_seed(0)
    found = estimators.diagonal(a, a.theta, max_matvecs, generator=generator, rtol=rtol)
    values = {"diagonal": found.value.cpu(), "diagonal_sem": found.sem.cpu()}
    attrs = facts(objective, a, curvature, settings)
    return dataset(values, ("dim",), {"dim": a.places.numpy()}, num_matvecs=found.num_matvecs, **attrs)
