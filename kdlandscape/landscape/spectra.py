"""Eigenvalues of the curvature at a point."""

from typing import Literal

import torch
import xarray as xr

from kdlandscape.cubes.variables import dataset
from kdlandscape.landscape.curvature import operator
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import Theta
from kdlandscape.linalg import lanczos


def top_eigenpairs(
    objective: Objective,
    theta: Theta,
    k: int = 1,
    *,
    curvature: str = "hessian",
    which: Literal["largest", "smallest", "both", "magnitude"] = "largest",
    tol: float = 1e-6,
    max_products: int | None = None,
    vectors: bool = False,
    generator: torch.Generator | None = None,
) -> xr.Dataset:
    """Return the k extreme eigenvalues of the curvature of the mean loss at theta.

    Lanczos with full reorthogonalization, stopped on the residual; see `kdlandscape.linalg.lanczos`.

    Parameters
    ----------
    objective, theta
        The loss and the point.
    k
        How many pairs, at most P.
    curvature, which
        ``hessian`` or ``ggn``; which end of the spectrum.
    tol
        Residual that counts as converged, relative to the largest eigenvalue found.
    max_products
        Upper bound on products; pairs short of the tolerance then say so in ``converged``.
    vectors
        Whether to keep the eigenvectors, (k, P).
    generator
        Of the random start vector; default: seed 0.

    Returns
    -------
    xarray.Dataset
        ``eigenvalues``, ``residuals`` and ``converged`` over ``eigenvalue`` (0 is the most extreme), with
        ``eigenvectors`` over ``eigenvalue, dim`` on request; ``num_products`` in the attrs.
    """
    generator = generator or torch.Generator(objective.device).manual_seed(0)
    start = torch.randn(1, objective.dim, device=objective.device, dtype=objective.dtype, generator=generator)
    pairs = lanczos.top_eigenpairs(
        operator(objective, theta, curvature=curvature),
        start,
        k,
        which=which,
        tol=tol,
        max_products=max_products,
        generator=generator,
    )
    values = {name: getattr(pairs, name).cpu() for name in ("residuals", "converged")}
    values["eigenvalues"] = pairs.values.cpu()
    coords = {"eigenvalue": range(k)}
    if vectors:
        values["eigenvectors"] = (("eigenvalue", "dim"), pairs.vectors.cpu())
        coords["dim"] = range(objective.dim)
    return dataset(
        values,
        ("eigenvalue",),
        coords,
        curvature=curvature,
        which=which,
        tol=tol,
        num_products=pairs.num_products,
        num_examples=objective.num_examples,
    )
