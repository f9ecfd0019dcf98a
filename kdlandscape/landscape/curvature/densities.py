"""The spectral density of an operator: quadrature rules by Lanczos, or Chebyshev moments."""

from typing import Any

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.curvature.eigenpairs import held
from kdlandscape.landscape.curvature.operator import Operator
from kdlandscape.landscape.draws import normal, signs
from kdlandscape.linalg import kpm, slq
from kdlandscape.linalg.deflation import deflated, outside
from kdlandscape.linalg.lanczos.thick_restart import top_eigenpairs


class Rules:
    """Quadrature rules of an operator, from pairs that it holds and draws in their complement; more draws go on.

    With k eigenpairs known and u uniform on the sphere of the complement,
    tr f(A) = Σ_i f(λ_i) + (P − k) E u' f(A) u: each rule holds the k eigenvalues, of weight 1/P each, and the Lanczos
    nodes of one u, of weight (P − k)/P together. Without pairs u is a vector of random signs.

    Parameters
    ----------
    a, num_matvecs
        The operator, and Lanczos steps a draw: memory is one Krylov basis of min(num_matvecs, P' - k) vectors.
    generator
        The generator for the start vectors.
    """

    def __init__(self, a: Operator, num_matvecs: int, generator: torch.Generator) -> None:
        answer = held(a)
        if answer is not None and len(answer.pairs.values) > a.dim - 8:  # nothing is left to draw from
            answer = None
        self.pairs = None if answer is None else answer.pairs
        self._a, self._generator, self._rows = a, generator, []  # type: ignore[var-annotated]
        self._steps = min(num_matvecs, a.dim - self.num_pairs)

    @property
    def num_pairs(self) -> int:
        """How many eigenpairs are known."""
        return 0 if self.pairs is None else len(self.pairs.values)

    @property
    def num_draws(self) -> int:
        """How many draws were taken."""
        return len(self._rows)

    def take(self, num_draws: int) -> xr.Dataset:
        """Return ``nodes``, ``weights`` and ``exact`` of so many draws; only those that are new cost products."""
        while self.num_draws < num_draws:
            self._rows.append(self._draw())
        nodes, weights = (torch.stack(parts) for parts in zip(*self._rows[:num_draws], strict=True))
        dims = ("draw", "node")
        values = {
            "nodes": variable(dims, nodes, f"Lanczos node (Ritz value) of the {self._a.name} spectrum", self._a.units),
            "weights": variable(dims, weights, "Lanczos quadrature weight"),
            "exact": variable("node", torch.arange(nodes.shape[1]) < self.num_pairs, "node is a known eigenvalue"),
        }
        coords = {"draw": range(num_draws), "node": range(nodes.shape[1])}
        taken = int(nodes[:, self.num_pairs :].isfinite().sum())
        taken += 0 if self.pairs is None else self.pairs.num_matvecs
        return dataset(values, coords=coords, num_matvecs=taken, method="slq", **self._a.facts)

    def _draw(self) -> tuple[Tensor, Tensor]:
        """Return the nodes and weights of one draw."""
        a = self._a
        if self.pairs is None:
            krylov = slq.tridiagonalize(a, signs(1, a.theta, self._generator), self._steps)
        else:
            start = outside(normal(1, a.theta, self._generator), self.pairs.vectors)
            krylov = slq.tridiagonalize(deflated(a, self.pairs.vectors), start, self._steps)
        nodes, weights = (part[0].cpu() for part in slq.quadrature(krylov.alpha, krylov.beta, krylov.length))
        if self.pairs is None:
            return nodes, weights
        known, count = self.pairs.values.cpu(), self.num_pairs
        share = (a.dim - count) / a.dim
        return torch.cat([known, nodes]), torch.cat([torch.full_like(known, 1 / a.dim), share * weights])


def chebyshev(a: Operator, num_matvecs: int, num_draws: int, grid: Any, generator: torch.Generator) -> xr.Dataset:
    """Return ``density`` and ``density_sem`` over ``grid``, and ``chebyshev_moments`` over ``draw, moment``.

    Draws are taken one after the other: memory is a few vectors, and the basis that finds the ends.
    """
    ends = top_eigenpairs(a, normal(1, a.theta, generator), min(2, a.dim), which="both", tol=1e-3)
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


def last_rules(a: Operator, rules: Rules, num_draws: int) -> xr.Dataset:
    """Take draws, and let the operator remember the rules as those asked for last."""
    a.found["rules"] = rules.take(max(num_draws, rules.num_draws))
    return rules.take(num_draws)
