"""Trace and diagonal of an operator, each with its standard error."""

from typing import Literal

import torch
import xarray as xr

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.curvature.operator import Operator
from kdlandscape.linalg import trace as estimators

Method = Literal["xtrace", "xnystrace", "hutchpp", "hutchinson"]
METHODS = {
    "xtrace": estimators.xtrace,
    "xnystrace": estimators.xnystrace,
    "hutchpp": estimators.hutchpp,
    "hutchinson": estimators.hutchinson,
}


def trace(
    a: Operator, method: Method, rtol: float, atol: float, max_matvecs: int, generator: torch.Generator
) -> xr.Dataset:
    """Return ``trace``, ``trace_sem`` and ``trace_converged``, by a method that fits the matrix."""
    if method not in METHODS:
        raise ValueError(f"expected method to be one of {', '.join(METHODS)}; got {method!r}")
    if method == "xnystrace" and a.kind == "hessian":
        raise ValueError("xnystrace is for a curvature without negative eigenvalues: use xtrace, or ask the ggn")
    found = METHODS[method](a, a.theta, max_matvecs, generator=generator, rtol=rtol, atol=atol)
    values = {
        "trace": variable((), found.value.cpu(), f"trace of the {a.name} matrix of the mean loss", a.units),
        "trace_sem": variable((), found.sem.cpu(), "standard error of the trace", a.units),
        "trace_converged": variable((), found.converged, "trace within its tolerance"),
    }
    return dataset(values, num_matvecs=found.num_matvecs, method=method, rtol=rtol, **a.facts)


def diagonal(a: Operator, rtol: float, max_matvecs: int, generator: torch.Generator) -> xr.Dataset:
    """Return ``diagonal`` and ``diagonal_sem`` over ``dim``."""
    found = estimators.diagonal(a, a.theta, max_matvecs, generator=generator, rtol=rtol)
    values = {
        "diagonal": variable("dim", found.value.cpu(), f"diagonal of the {a.name} matrix of the mean loss", a.units),
        "diagonal_sem": variable("dim", found.sem.cpu(), "standard error of the diagonal", a.units),
    }
    return dataset(values, coords={"dim": a.places.numpy()}, num_matvecs=found.num_matvecs, **a.facts)
