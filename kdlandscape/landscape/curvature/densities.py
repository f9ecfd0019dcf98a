"""The spectral density of an operator: quadrature rules by Lanczos, or Chebyshev moments."""

from typing import Any

import torch
import xarray as xr

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.curvature.operator import Operator
from kdlandscape.landscape.draws import normal, signs
from kdlandscape.linalg import kpm, lanczos, slq


def rules(a: Operator, num_matvecs: int, num_draws: int, generator: torch.Generator) -> xr.Dataset:
    """Return ``nodes`` and ``weights`` over ``draw, node`` from random signs.

    Draws are taken one after the other: memory is one Krylov basis, min(num_matvecs, P') vectors.
    """
    rows = []
    for _ in range(num_draws):
        krylov = slq.tridiagonalize(a, signs(1, a.theta, generator), num_matvecs)
        rows.append([part[0].cpu() for part in slq.quadrature(krylov.alpha, krylov.beta, krylov.length)])
        del krylov  # its basis, before the next one
    nodes, weights = (torch.stack(parts) for parts in zip(*rows, strict=True))
    dims = ("draw", "node")
    values = {
        "nodes": variable(dims, nodes, f"Lanczos node (Ritz value) of the {a.name} spectrum", a.units),
        "weights": variable(dims, weights, "Lanczos quadrature weight"),
    }
    coords = {"draw": range(num_draws), "node": range(nodes.shape[1])}
    return dataset(values, coords=coords, num_matvecs=int(nodes.isfinite().sum()), method="slq", **a.facts)


def chebyshev(a: Operator, num_matvecs: int, num_draws: int, grid: Any, generator: torch.Generator) -> xr.Dataset:
    """Return ``density`` and ``density_sem`` over ``grid``, and ``chebyshev_moments`` over ``draw, moment``.

    Draws are taken one after the other: memory is a few vectors, and the basis that finds the ends.
    """
    ends = lanczos.top_eigenpairs(a, normal(1, a.theta, generator), min(2, a.dim), which="both", tol=1e-3)
    bounds = _bounds(float(ends.values.min()), float(ends.values.max()), float(ends.residuals.max()))
    draws = [kpm.chebyshev_moments(a, normal(1, a.theta, generator), 2 * num_matvecs, bounds) for _ in range(num_draws)]
    moments = kpm.ChebyshevMoments(
        torch.cat([one.values for one in draws]), bounds, sum(one.num_matvecs for one in draws)
    )
    like = torch.zeros((), dtype=torch.float64, device=a.theta.device)
    if grid is None:
        points = kpm.kpm_grid(bounds, 4 * num_matvecs, like=like)[0]
    else:
        points = torch.as_tensor(grid, dtype=torch.float64, device=like.device)
    found = kpm.kpm_density(moments, points)
    per = "1" if a.units == "1" else f"1/{a.units}"
    values = {
        "density": variable("grid", found.value.cpu(), f"density of {a.name} eigenvalues", per),
        "density_sem": variable("grid", found.sem.cpu(), "standard error of the spectral density", per),
        "chebyshev_moments": variable(
            ("draw", "moment"), moments.values.cpu(), "Chebyshev moment of the spectral measure"
        ),
    }
    coords = {"grid": points.cpu(), "draw": range(num_draws), "moment": range(2 * num_matvecs)}
    taken = ends.num_matvecs + moments.num_matvecs
    return dataset(values, coords=coords, num_matvecs=taken, bounds=list(bounds), method="kpm", **a.facts)


def _bounds(low: float, high: float, error: float) -> tuple[float, float]:
    """Widen the ends by a hundredth of the range and their error; one unit around a matrix that is zero."""
    reach = max(abs(high), abs(low))
    margin = 0.01 * max(high - low, 1e-3 * reach) + error if reach > 0 else 1.0
    return low - margin, high + margin
