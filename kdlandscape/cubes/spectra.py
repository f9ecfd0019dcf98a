"""Spectra that were filed away: densities at any kernel width, and effective dimensions.  numpy and xarray only."""

import math
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.cubes.statistics import mean_sem
from kdlandscape.cubes.variables import dataset, variable


def density(rules: xr.Dataset, *, width: float = 0.01, grid: Any = None) -> xr.Dataset:
    r"""Broaden quadrature rules to densities, :math:`\rho(x) = \sum_j w_j N(x; \lambda_j, \sigma^2)`, mean over draws.

    Nothing is renormalized: the integral is 1 where the grid holds the nodes and six standard deviations on each side,
    and less where it does not.

    Parameters
    ----------
    rules
        With ``nodes`` and ``weights`` over ``draw, node`` and any further dims, from ``spectral_density``.
    width
        sigma relative to the range of all nodes (to their magnitude where they have none), so that the density of c A
        is that of A stretched by c.
    grid
        Eigenvalues at which to evaluate; default: a grid that holds all nodes, two points a sigma.

    Returns
    -------
    xarray.Dataset
        The rules with ``density`` and ``density_sem`` over ``grid``, and ``sigma`` in the attrs.
        The standard error is NaN for one draw, and both are NaN in missing cells of a cube.

    Raises
    ------
    ValueError
        A width that is not positive, or no finite node.
    """
    known = rules["nodes"].values[np.isfinite(rules["nodes"].values)]
    if not width > 0 or not known.size:
        raise ValueError(f"expected a positive width and finite nodes, got width {width} and {known.size} nodes")
    low, high = float(known.min()), float(known.max())
    reach = max(abs(low), abs(high))
    sigma = width * (high - low if high - low > 1e-6 * reach else reach or 1.0)
    if grid is None:
        low, high = low - 6 * sigma, high + 6 * sigma
        grid = np.linspace(low, high, math.ceil(2 * (high - low) / sigma) + 1)
    points = np.asarray(grid, dtype=float)
    others = [dim for dim in rules["nodes"].dims if dim != "node"]
    nodes, weights = (rules[name].transpose(*others, "node").values for name in ("nodes", "weights"))
    rows = [_broaden(n, w, points, sigma) for n, w in zip(_rows(nodes), _rows(weights), strict=True)]
    draws = xr.DataArray(np.reshape(rows, (*nodes.shape[:-1], len(points))), dims=[*others, "grid"])
    mean, sem, _ = mean_sem(draws, "draw")
    dims = [str(dim) for dim in mean.dims if dim != "grid"] + ["grid"]
    unit = rules["nodes"].attrs.get("units", "1")
    per = unit if unit == "1" else f"1/{unit}"
    values = {
        "density": variable(dims, mean.transpose(*dims), "density of eigenvalues", per),
        "density_sem": variable(dims, sem.transpose(*dims), "standard error of the density of eigenvalues", per),
    }
    return (
        rules.drop_dims("grid", errors="ignore")
        .merge(dataset(values, coords={"grid": variable("grid", points, "eigenvalue", unit)}))
        .assign_attrs({**rules.attrs, "sigma": sigma})
    )


def _rows(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1])


def _broaden(nodes: np.ndarray, weights: np.ndarray, points: np.ndarray, sigma: float) -> np.ndarray:
    known = weights > 0
    if not known.any():  # a missing cell of a cube
        return np.full(len(points), np.nan)
    distance = (points[:, None] - nodes[known]) / sigma
    return np.exp(-(distance**2) / 2) @ weights[known] / (sigma * math.sqrt(2 * math.pi))


def effective_dimension(
    spectrum: xr.Dataset, z: Any, *, scale: str = "sum", total_weight: float | None = None
) -> xr.Dataset:
    r"""Return :math:`N_\mathrm{eff}(z) = \sum_i \lambda_i / (\lambda_i + z)` over a grid of z, negative values clipped.

    Parameters
    ----------
    spectrum
        Eigenvalues of the mean loss: from ``spectral_density`` (an estimate over all P, with standard error), or from
        ``top_eigenpairs``. k < P eigenvalues give a lower bound, since those not given count as 0: ``bound`` in the
        attrs says so.
    z
        Positive.
    scale
        ``sum``: z is a prior precision and pairs with the *summed* loss, whose eigenvalues are W times those of the
        mean. ``mean``: z is in units of the mean loss, so z = prior precision / W.
    total_weight
        W, the number of examples or their total weight; default: what the spectrum says.

    Returns
    -------
    xarray.Dataset
        ``effective_dimension`` and its errors over ``z`` and the spectrum's further dims: ``effective_dimension_sem``
        from the spread over draws, and ``effective_dimension_truncation``, a bound on what the finite number of Lanczos
        steps does to these draws (large where z is finer than the rules resolve). ``negative_mass``: the share of the
        negative eigenvalues in the sum of all magnitudes, which clipping hides. Large: use the GGN.

    Raises
    ------
    ValueError
        A z that is not positive, an unknown scale, or a spectrum without what is needed.

    References
    ----------
    Maddox, Benton and Wilson, Rethinking parameter counting in deep models, 2020, equation 2; MacKay 1992; Szegő,
    Orthogonal polynomials, theorem 3.41.1 (bound).
    """
    at = np.atleast_1d(np.asarray(z, dtype=float))
    if scale not in ("sum", "mean"):
        raise ValueError(f"expected scale to be sum or mean, got {scale!r}")
    if not (at > 0).all():
        raise ValueError(f"expected every z to be positive, got {at.tolist()}")
    weight = 1.0
    if scale == "sum":
        weight = float(total_weight or spectrum.attrs.get("total_weight", 0.0))
        if not weight:
            raise ValueError("the summed loss needs the number of examples: give total_weight, or scale='mean'")
    grid = xr.DataArray(at, dims="z", coords={"z": at})
    if "nodes" in spectrum:
        if "num_parameters" not in spectrum.attrs:
            raise ValueError("expected num_parameters in the attrs of the spectrum, as spectral_density writes it")
        size = spectrum.attrs["num_parameters"]
        weights, filtered = spectrum["weights"], _filter(_known(spectrum) * weight, grid)
        value, sem, _ = mean_sem(size * (weights * filtered).sum("node"), "draw")
        exact = spectrum["exact"] if "exact" in spectrum else xr.zeros_like(weights, bool)
        truncation = size * _truncation(weights, filtered, exact).mean("draw")
        negative = _share(weights * _known(spectrum), ["draw", "node"])
        bound = "estimate"
    elif "eigenvalues" in spectrum:
        values = spectrum["eigenvalues"]
        value = _filter(values * weight, grid).sum("eigenvalue")
        sem = truncation = xr.zeros_like(value)
        negative = _share(values, "eigenvalue")
        complete = spectrum.sizes["eigenvalue"] == spectrum.attrs.get("num_parameters", spectrum.sizes["eigenvalue"])
        bound = "exact" if complete else "lower bound"
    else:
        raise ValueError(
            f"expected nodes or eigenvalues in the spectrum, got {', '.join(map(str, spectrum.data_vars))}"
        )
    labels = {
        "effective_dimension": (value, "effective dimension Σ λ/(λ + z)"),
        "effective_dimension_sem": (sem, "standard error of the effective dimension"),
        "effective_dimension_truncation": (truncation, "bound on its error from few Lanczos steps"),
        "negative_mass": (negative, "share of negative eigenvalues in the sum of magnitudes"),
    }
    results = {name: variable(array.dims, array, long_name) for name, (array, long_name) in labels.items()}
    coords = {str(name): c for name, c in value.coords.items() if name in value.dims}
    return dataset(results, coords=coords, scale=scale, weight=weight, bound=bound)


def _filter(values: xr.DataArray, z: xr.DataArray) -> xr.DataArray:
    clipped = values.clip(min=0)
    return clipped / (clipped + z)


def _known(rules: xr.Dataset) -> xr.DataArray:
    return xr.where(rules["weights"] > 0, rules["nodes"], 0.0)


def _truncation(weights: xr.DataArray, values: xr.DataArray, exact: xr.DataArray) -> xr.DataArray:
    """Bound the error of Gauss rules for a function that does not decrease, from its values at the nodes.

    Chebyshev, Markov and Stieltjes: the true distribution function lies between the sums of the weights below a node
    with and without its own, so moving every weight to the next node up, or down, bounds the integral. The ends stay:
    the extreme nodes have met the ends of the spectrum long before. Rules that closed are exact, and so are the nodes
    that are known eigenvalues, which stand first.
    """
    drawn = weights.where(~exact.astype(bool), 0.0)
    up = values.shift(node=-1).fillna(values).where(weights.shift(node=-1) > 0, values)
    down = values.shift(node=1).where(drawn.shift(node=1) > 0, values)
    above, below = (drawn * (up - values)).sum("node"), (drawn * (values - down)).sum("node")
    closed = (weights == 0).any("node")
    return xr.where(closed, 0.0, np.maximum(above, below))


def _share(parts: xr.DataArray, dims: str | list[str]) -> xr.DataArray:
    total, negative = abs(parts).sum(dims), abs(parts.clip(max=0)).sum(dims)
    return xr.where(total > 0, negative / total, 0.0)
