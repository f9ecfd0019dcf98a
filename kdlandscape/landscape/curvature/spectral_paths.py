"""Spectra of many networks: along a path, shared eigenspaces of two, and what a step along an eigenvector does."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import log_softmax

from kdlandscape.cubes.spectra import effective_dimension
from kdlandscape.cubes.variables import dataset
from kdlandscape.landscape.curvature.operator import operator
from kdlandscape.landscape.curvature.spectra import facts, quadrature, top_eigenpairs
from kdlandscape.landscape.evaluation.points import value
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta
from kdlandscape.landscape.paths.interpolation import mix
from kdlandscape.linalg.warm import warm_start


def eigenpairs_along(
    objective: MeanLoss,
    thetas: Iterable[Theta],
    coordinates: Sequence[float],
    k: int,
    *,
    dim: str = "t",
    warm: bool = True,
    generator: torch.Generator | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Find k extreme eigenpairs at each point of a sweep (a path, or students of neighbouring λ).

    Parameters
    ----------
    objective, thetas, coordinates
        The loss, the points in order, and their increasing coordinates.
    k, settings
        As for `kdlandscape.landscape.curvature.spectra.top_eigenpairs`.
    dim
        Name of the new axis.
    warm
        Start each point from the eigenvectors extrapolated from those before (`kdlandscape.linalg.warm`). It pays on a
        path of nearby points; k pairs take k products at least. Costs 5 k vectors of memory.
    generator
        Of the random start vectors; default: seed 0.

    Returns
    -------
    xarray.Dataset
        As `top_eigenpairs` gives, over ``dim`` and ``eigenvalue``, with ``num_matvecs`` over ``dim``.
    """
    generator = generator or torch.Generator(objective.device).manual_seed(0)
    places = [float(value) for value in coordinates]
    keep = bool(settings.pop("vectors", False))
    known: list[Tensor] = []
    found = []
    for index, theta in enumerate(thetas):
        start = None
        if warm and known:
            before = places[max(0, index - len(known)) : index]
            start = warm_start(known, before, places[index], generator=generator)
        pairs = top_eigenpairs(objective, theta, k, start=start, vectors=True, generator=generator, **settings)
        known = [*known, torch.as_tensor(pairs["eigenvectors"].values, device=objective.device)][-5:]
        pairs["num_matvecs"] = ((), pairs.attrs.pop("num_matvecs"), {"long_name": "products taken", "units": "1"})
        found.append(pairs if keep else pairs.drop_vars(["eigenvectors", "dim"]))
    axis = xr.DataArray(places, dims=dim, name=dim)
    return xr.concat(found, axis, combine_attrs="drop_conflicts").assign_attrs(warm=int(warm))


def spectrum_along(
    objective: MeanLoss,
    start: Theta,
    end: Theta,
    k: int,
    *,
    t: int | Sequence[float] = 11,
    z: Any = None,
    scale: str = "sum",
    num_matvecs: int = 0,
    num_draws: int = 5,
    generator: torch.Generator | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Follow the spectrum on the straight path from one network to another.

    Parameters
    ----------
    objective, start, end
        The loss, and the networks at t = 0 and t = 1.
    k, settings
        Pairs at each point, warm from those before; as for `kdlandscape.landscape.curvature.spectra.top_eigenpairs`.
    t
        Points, or how many evenly spaced ones, both ends included.
    z, scale
        With ``num_matvecs``: also N_eff at these z, as `kdlandscape.cubes.spectra.effective_dimension` defines it.
    num_matvecs, num_draws
        Lanczos steps and random vectors of the density at each point, the same vectors at all; 0 leaves it out.

    Returns
    -------
    xarray.Dataset
        Over ``t, eigenvalue``: ``eigenvalues``, ``residuals``, ``converged``; ``num_matvecs`` over ``t``; with
        ``num_matvecs``, ``nodes`` and ``weights`` over ``t, draw, node``; with z, ``effective_dimension`` over
        ``t, z``. Nodes at different t are on one grid once `kdlandscape.cubes.spectra.density` broadens them.
    """
    points = np.linspace(0, 1, t) if isinstance(t, int) else np.asarray(t, dtype=float)
    thetas = mix(objective.ravel(start), objective.ravel(end), torch.as_tensor(points))
    seed = (generator or torch.Generator().manual_seed(0)).initial_seed()
    result = eigenpairs_along(objective, thetas, points.tolist(), k, generator=generator, **settings)
    if not num_matvecs:
        return result
    inner: dict[str, Any] = {
        name: settings[name] for name in ("curvature", "params", "dtype", "plan", "memory") if name in settings
    }
    curvature = inner.pop("curvature", "hessian")
    rules = []
    for theta in thetas:
        a = operator(objective, theta, curvature=curvature, products=num_matvecs * num_draws, **inner)
        same = torch.Generator(objective.device).manual_seed(seed)
        rule = quadrature(a, num_matvecs, num_draws, same)
        rule.attrs = facts(objective, a, curvature, inner)
        rules.append(rule)
    densities = xr.concat(rules, result["t"], combine_attrs="drop_conflicts")
    result = result.merge(densities).assign_attrs({**densities.attrs, **result.attrs})
    return result if z is None else result.merge(effective_dimension(densities, z, scale=scale))


def eigenspace_overlap(first: xr.Dataset, second: xr.Dataset) -> xr.Dataset:
    r"""Return how much the leading eigenspaces of two networks share: :math:`\frac{1}{j} \|V_j W_j^T\|_F^2`, j = 1 … k.

    1 where the spans of the first j eigenvectors agree, 0 where they are orthogonal, j/P on average for random spaces;
    neither signs nor rotations inside the spans matter (the mean squared cosine of the principal angles).

    Parameters
    ----------
    first, second
        With ``eigenvectors``, from ``top_eigenpairs(..., vectors=True)`` of the same block of parameters.

    Returns
    -------
    xarray.Dataset
        ``overlap`` over ``eigenvalue``: entry j - 1 is that of the first j vectors.

    Raises
    ------
    ValueError
        Eigenvectors that are missing, of different spaces, or not orthonormal.
    """
    rows = []
    for name, spectrum in (("first", first), ("second", second)):
        if "eigenvectors" not in spectrum:
            raise ValueError(f"the {name} spectrum has no eigenvectors: ask for them by top_eigenpairs(vectors=True)")
        rows.append(spectrum["eigenvectors"].values.astype(float))
    if rows[0].shape[1:] != rows[1].shape[1:] or not np.array_equal(first["dim"].values, second["dim"].values):
        raise ValueError(f"expected eigenvectors of one space, got shapes {rows[0].shape} and {rows[1].shape}")
    for part in rows:
        if np.abs(part @ part.T - np.eye(len(part))).max() > 1e-3:
            raise ValueError("expected orthonormal eigenvectors, one a row, got rows that are not")
    count = min(len(part) for part in rows)
    cosines = (rows[0][:count] @ rows[1][:count].T) ** 2
    shared = np.array([cosines[:j, :j].sum() / j for j in range(1, count + 1)])
    return dataset({"overlap": shared.clip(0, 1)}, ("eigenvalue",), {"eigenvalue": range(count)})


def perturb(objective: MeanLoss, theta: Theta, spectrum: xr.Dataset, sizes: Sequence[float]) -> xr.Dataset:
    """Step along every eigenvector and see what becomes of the loss and of the predictions.

    Directions of large curvature change what the network says; along those of little it says the same (Maddox, Benton
    and Wilson 2020, section 5). Take both ends by ``top_eigenpairs(which="both", vectors=True)``.

    Parameters
    ----------
    objective, theta
        The loss and the point; outputs are taken as logits (n, C).
    spectrum
        With ``eigenvectors``, of the whole network or a block.
    sizes
        Distances in theta, of either sign. Not scale-aware: a network of twice the weights bears twice the step.

    Returns
    -------
    xarray.Dataset
        Over ``eigenvalue, x``: ``loss``, ``agreement`` (share of examples whose largest output stays) and ``kl`` from
        the predictions at theta, in nats. Costs two passes over the data a step.
    """
    if "eigenvectors" not in spectrum:
        raise ValueError("the spectrum has no eigenvectors: ask for them by top_eigenpairs(vectors=True)")
    point = objective.ravel(theta)
    before = objective.predict(point)
    if not isinstance(before, Tensor) or before.ndim != 2 or before.shape[1] < 2:
        raise ValueError("expected outputs of logits (n, C) with C of at least 2; got another shape")
    places = torch.tensor(spectrum["dim"].values, device=point.device)
    rows: list[list[float]] = []
    for vector in torch.tensor(spectrum["eigenvectors"].values).to(point):
        for size in sizes:
            moved = point.index_add(0, places, size * vector)
            after = objective.predict(moved)
            logs = log_softmax(before, -1), log_softmax(after, -1)
            kl = (logs[0].exp() * (logs[0] - logs[1])).sum(-1).mean()
            same = (after.argmax(-1) == before.argmax(-1)).to(kl.dtype).mean()
            rows.append([float(value(objective, moved)), float(same), float(kl)])
    table = np.array(rows).reshape(-1, len(sizes), 3)
    values = {name: table[..., i] for i, name in enumerate(("loss", "agreement", "kl"))}
    coords = {"eigenvalue": spectrum["eigenvalue"].values, "x": list(sizes)}
    return dataset(values, ("eigenvalue", "x"), coords, num_examples=objective.num_examples)
