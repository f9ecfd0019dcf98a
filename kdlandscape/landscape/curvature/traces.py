"""Trace and diagonal of an operator, each with its standard error."""

from typing import Literal

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.curvature.eigenpairs import held_space
from kdlandscape.landscape.curvature.operator import Operator
from kdlandscape.linalg.deflation import deflated
from kdlandscape.linalg.trace.hutchinson import diagonal as estimated_diagonal
from kdlandscape.linalg.trace.hutchinson import hutchinson
from kdlandscape.linalg.trace.hutchpp import hutchpp
from kdlandscape.linalg.trace.xnystrace import xnystrace
from kdlandscape.linalg.trace.xtrace import xtrace

Method = Literal["xtrace", "xnystrace", "hutchpp", "hutchinson"]
METHODS = {"xtrace": xtrace, "xnystrace": xnystrace, "hutchpp": hutchpp, "hutchinson": hutchinson}


def trace(
    a: Operator, method: Method, rtol: float, atol: float, max_matvecs: int, generator: torch.Generator
) -> xr.Dataset:
    """Return ``trace``, ``trace_sem`` and ``trace_converged``, by a method that fits the matrix.

    On the space of eigenpairs that the operator holds, converged or not, the trace is the sum of the Ritz values; only
    that of the complement is estimated.
    """
    if method not in METHODS:
        raise ValueError(f"expected method to be one of {', '.join(METHODS)}; got {method!r}")
    if method == "xnystrace" and a.kind == "hessian":
        raise ValueError("xnystrace is for a curvature without negative eigenvalues: use xtrace, or ask the ggn")
    space, taken = held_space(a)
    exact = float(space.values.sum()) if space is not None else 0.0
    product = a if space is None else deflated(a, space.vectors)
    found = METHODS[method](product, a.theta, max_matvecs, generator=generator, rtol=rtol, atol=atol, offset=exact)
    value, products = found.value + exact, found.num_matvecs + taken
    return _labelled(a, value, found.sem, found.converged, products, method, rtol)


def of_rules(a: Operator, rules: xr.Dataset, rtol: float, atol: float) -> xr.Dataset:
    """Return the trace from quadrature rules, of which each draw gives P Σ weights · nodes, at no product.

    It counts as converged on 10 draws at least.
    """
    nodes, weights = (torch.from_numpy(rules[name].values) for name in ("nodes", "weights"))
    draws = a.dim * (weights * nodes.nan_to_num()).double().sum(dim=1)
    value, sem = draws.mean(), draws.std() / len(draws) ** 0.5
    small = bool(sem <= max(atol, rtol * abs(float(value))))
    return _labelled(a, value, sem, small and len(draws) >= 10, rules.attrs["num_matvecs"], "slq", rtol)


def _labelled(
    a: Operator, value: Tensor, sem: Tensor, converged: bool, products: int, method: str, rtol: float
) -> xr.Dataset:
    values = {
        "trace": variable((), value.cpu(), f"trace of the {a.name} matrix of the mean loss", a.units),
        "trace_sem": variable((), sem.cpu(), "standard error of the trace", a.units),
        "trace_converged": variable((), converged, "trace within its tolerance"),
    }
    return dataset(values, num_matvecs=products, method=method, rtol=rtol, **a.facts)


def diagonal(a: Operator, rtol: float, max_matvecs: int, generator: torch.Generator) -> xr.Dataset:
    """Return ``diagonal`` and ``diagonal_sem`` over ``dim``."""
    found = estimated_diagonal(a, a.theta, max_matvecs, generator=generator, rtol=rtol)
    values = {
        "diagonal": variable("dim", found.value.cpu(), f"diagonal of the {a.name} matrix of the mean loss", a.units),
        "diagonal_sem": variable("dim", found.sem.cpu(), "standard error of the diagonal", a.units),
    }
    return dataset(values, coords={"dim": a.places.numpy()}, num_matvecs=found.num_matvecs, **a.facts)
