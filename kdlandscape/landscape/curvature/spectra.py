"""Eigenvalues and spectral density of a curvature at one theta, each with its error."""

from typing import Any, Literal

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.spectra import density
from kdlandscape.cubes.variables import dataset
from kdlandscape.landscape.curvature.operator import Operator, operator
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta
from kdlandscape.linalg import kpm, lanczos, slq


def top_eigenpairs(
    objective: MeanLoss,
    theta: Theta,
    k: int = 1,
    *,
    curvature: str = "hessian",
    which: lanczos.Which = "largest",
    tol: float = 1e-6,
    stop: lanczos.Stop = "residual",
    max_matvecs: int | None = None,
    miss_probability: float = 1.0,
    start: Tensor | None = None,
    vectors: bool = False,
    generator: torch.Generator | None = None,
    **settings: Any,
) -> xr.Dataset:
    r"""Return k extreme eigenvalues of the curvature of the *mean* loss at theta; those of the sum are W times larger.

    Block Lanczos with full reorthogonalization and thick restarts, stopped on the residual; see
    `kdlandscape.linalg.lanczos`.

    Parameters
    ----------
    objective, theta
        The loss and the point.
    k
        How many pairs, at most P.
    curvature, settings
        ``hessian``, ``ggn``, ``fisher`` or ``empirical_fisher``; ``params``, ``dtype``, ``compile``, ``plan``,
        ``memory``: as for `kdlandscape.landscape.curvature.operator.operator`.
    which
        ``largest``, ``smallest``, ``both`` ends or largest ``magnitude``.
    tol, stop
        Error that counts as converged, relative to the largest magnitude found: of the residual
        :math:`\|Av - \lambda v\|`, or with ``stop="value"`` of the value itself, by min(r, r²/gap), which takes fewer
        products.
    max_matvecs
        Upper bound on products; pairs short of the tolerance then say so in ``converged``.
    miss_probability
        Below 1: go on until the probability that an eigenvalue was missed is bounded by this.
    start
        Start block (b, P'), such as `kdlandscape.linalg.warm.warm_start` gives; default: one random vector.
    vectors
        Whether to keep the eigenvectors, (k, P').
    generator
        Of the random start vector; default: seed 0.

    Returns
    -------
    xarray.Dataset
        ``eigenvalues``, ``residuals``, ``eigenvalue_errors`` and ``converged`` over ``eigenvalue`` (0 is the most
        extreme); ``eigenvectors`` over ``eigenvalue, dim`` on request, ``dim`` being places in theta. In the attrs
        ``num_matvecs``, ``total_weight`` W and ``num_parameters``.

    Raises
    ------
    ValueError
        More pairs than parameters, and all errors of the operator.
    """
    a = operator(objective, theta, curvature=curvature, products=max_matvecs or 10 + 3 * k, **settings)
    generator = generator or torch.Generator(a.theta.device).manual_seed(0)
    if start is None:
        start = normal(a, 1, generator)
    pairs = lanczos.top_eigenpairs(
        a,
        start.to(a.theta),
        k,
        which=which,
        tol=tol,
        stop=stop,
        max_matvecs=max_matvecs,
        miss_probability=miss_probability,
        generator=generator,
    )
    values = {name: getattr(pairs, name).cpu() for name in ("residuals", "converged")}
    values |= {"eigenvalues": pairs.values.cpu(), "eigenvalue_errors": pairs.errors.cpu()}
    coords: dict[str, Any] = {"eigenvalue": range(k)}
    if vectors:
        values["eigenvectors"] = (("eigenvalue", "dim"), pairs.vectors.cpu())
        coords["dim"] = a.places.numpy()
    return dataset(
        values,
        ("eigenvalue",),
        coords,
        which=which,
        tol=tol,
        num_matvecs=pairs.num_matvecs,
        **facts(objective, a, curvature, settings),
    )


def spectral_density(
    objective: MeanLoss,
    theta: Theta,
    *,
    curvature: str = "hessian",
    method: Literal["slq", "kpm"] = "slq",
    num_matvecs: int = 100,
    num_draws: int = 10,
    width: float = 0.01,
    grid: Any = None,
    generator: torch.Generator | None = None,
    **settings: Any,
) -> xr.Dataset:
    r"""Estimate the density of eigenvalues, :math:`\rho(\lambda) = \frac{1}{P} \sum_i \delta(\lambda - \lambda_i)`.

    Of the *mean* loss. Costs ``num_draws * num_matvecs`` products at most.

    Parameters
    ----------
    objective, theta, curvature, settings
        As for `top_eigenpairs`.
    method
        ``slq``: Lanczos quadrature; the rules are kept, so the width of the kernel can be chosen again later
        by `kdlandscape.cubes.spectra.density` at no product. ``kpm``: Chebyshev moments in Jackson's kernel, of width
        about pi / (2 num_matvecs) of the range; ``width`` is not used. Costs 20 to 30 products more for the ends.
    num_matvecs
        Lanczos steps or Chebyshev products a draw; at most P are taken.
    num_draws
        Random start vectors; with one, the standard error is NaN.
    width
        Standard deviation of the Gaussian kernel, relative to the range of the nodes.
    grid
        Eigenvalues at which to evaluate; default: a grid that holds the whole density.
    generator
        Of the start vectors; default: seed 0.

    Returns
    -------
    xarray.Dataset
        ``density`` and ``density_sem`` over ``grid``, per unit of eigenvalue: the integral is 1, unforced. SLQ:
        ``nodes`` and ``weights`` over ``draw, node`` (NaN and 0 past the end of a Krylov space that closed); KPM:
        ``chebyshev_moments`` over ``draw, moment``.

    References
    ----------
    Ghorbani, Krishnan and Xiao, An investigation into neural net optimization via Hessian eigenvalue density, 2019;
    Weisse et al., The kernel polynomial method, Rev. Mod. Phys. 2006.
    """
    if method not in ("slq", "kpm"):
        raise ValueError(f"expected method to be slq or kpm, got {method!r}")
    a = operator(objective, theta, curvature=curvature, products=num_matvecs * num_draws, **settings)
    generator = generator or torch.Generator(a.theta.device).manual_seed(0)
    attrs = facts(objective, a, curvature, settings) | {"method": method}
    if method == "kpm":
        return _chebyshev(a, num_matvecs, num_draws, grid, generator, attrs)
    rules = quadrature(a, num_matvecs, num_draws, generator)
    return density(rules.assign_attrs(attrs), width=width, grid=grid)


def quadrature(a: Operator, num_matvecs: int, num_draws: int, generator: torch.Generator) -> xr.Dataset:
    """Return ``nodes`` and ``weights`` over ``draw, node`` from random signs, with ``num_matvecs`` in the attrs.

    Draws are taken one after the other: memory is one Krylov basis, min(num_matvecs, P') vectors.
    """
    rows, products = [], 0
    for _ in range(num_draws):
        bits = torch.randint(0, 2, (1, a.dim), generator=generator, device=generator.device)
        krylov = slq.tridiagonalize(a, (2 * bits - 1).to(a.theta), num_matvecs)
        rows.append([part[0].cpu() for part in slq.quadrature(krylov.alpha, krylov.beta, krylov.length)])
        products += krylov.num_matvecs
    nodes, weights = (torch.stack(parts) for parts in zip(*rows, strict=True))
    coords = {"draw": range(num_draws), "node": range(nodes.shape[1])}
    return dataset({"nodes": nodes, "weights": weights}, ("draw", "node"), coords, num_matvecs=products)


def _chebyshev(
    a: Operator, num_matvecs: int, num_draws: int, grid: Any, generator: torch.Generator, attrs: dict[str, Any]
) -> xr.Dataset:
    ends = lanczos.top_eigenpairs(a, normal(a, 1, generator), min(2, a.dim), which="both", tol=1e-3)
    high, low = float(ends.values.max()), float(ends.values.min())
    margin = 0.01 * max(high - low, 1e-3 * max(abs(high), abs(low))) + float(ends.residuals.max())
    bounds = (low - margin, high + margin)
    moments = kpm.chebyshev_moments(a, normal(a, num_draws, generator), 2 * num_matvecs, bounds)
    like = a.theta.double()
    if grid is None:
        points = kpm.kpm_grid(bounds, 4 * num_matvecs, like=like)[0]
    else:
        points = torch.as_tensor(grid, dtype=torch.float64, device=like.device)
    found = kpm.kpm_density(moments, points)
    values = {
        "density": (("grid",), found.value.cpu()),
        "density_sem": (("grid",), found.sem.cpu()),
        "chebyshev_moments": (("draw", "moment"), moments.values.cpu()),
    }
    coords = {"grid": points.cpu(), "draw": range(num_draws), "moment": range(2 * num_matvecs)}
    products = ends.num_matvecs + moments.num_matvecs
    return dataset(values, (), coords, num_matvecs=products, bounds=list(bounds), **attrs)


def normal(a: Operator, count: int, generator: torch.Generator) -> Tensor:
    """Draw rows (count, P') of independent standard normals."""
    draw = torch.randn(count, a.dim, generator=generator, device=generator.device, dtype=a.theta.dtype)
    return draw.to(a.theta.device)


def facts(objective: MeanLoss, a: Operator, curvature: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what a spectrum is of, for the attrs of a result."""
    params = settings.get("params")
    return {
        "curvature": curvature,
        "params": "all" if params is None else params if isinstance(params, str) else ", ".join(params),
        "num_parameters": a.dim,
        "num_examples": objective.num_examples,
        "total_weight": a.weight,
        "scale": "mean",
        **{name: int(fact) if isinstance(fact, bool) else fact for name, fact in a.facts.items()},
    }
