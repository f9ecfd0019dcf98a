"""Spectra of many networks: along a path, shared eigenspaces of two, and what a step along an eigenvector does."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import log_softmax

from kdlandscape.cubes.spectra import effective_dimension
from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.curvature.questions import Curvature
from kdlandscape.landscape.draws import seeded
from kdlandscape.landscape.evaluation.points import predictions, value
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta
from kdlandscape.linalg.lanczos.ritz import Stop, Which
from kdlandscape.linalg.warm import warm_start


def spectrum_along(
    curvatures: Iterable[Curvature],
    coordinates: Sequence[float],
    k: int,
    *,
    dim: str = "t",
    which: Which = "largest",
    tol: float = 1e-6,
    stop: Stop = "residual",
    max_matvecs: int | None = None,
    vectors: bool = False,
    warm: bool = True,
    z: Any = None,
    scale: Literal["sum", "mean"] = "sum",
    num_matvecs: int = 0,
    num_draws: int = 5,
    generator: torch.Generator | None = None,
) -> xr.Dataset:
    """Follow the spectrum along a sequence of networks: a path, or students of neighbouring λ.

    Parameters
    ----------
    curvatures
        The operators in order; each is asked once and may be made on the way:
        ``(kdl.hessian(objective, theta) for theta in thetas)``.
    coordinates
        Where they stand, increasing.
    k, which, tol, stop, max_matvecs, vectors
        The eigenpairs at each point, as for `Curvature.top_eigenpairs`.
    dim
        Name of the new axis.
    warm
        Start each point from the eigenvectors extrapolated from those before (`kdlandscape.linalg.warm`). It pays on a
        path of nearby points; k pairs take k products at least. Costs 5 k vectors of memory.
    z, scale
        With ``num_matvecs``: also N_eff at these z, as `kdlandscape.cubes.spectra.effective_dimension` defines it.
    num_matvecs, num_draws
        Lanczos steps and random vectors of the quadrature at each point, the same vectors at all; 0 leaves it out.
    generator
        The generator for the random vectors; default: seed 0.

    Returns
    -------
    xarray.Dataset
        Over ``dim, eigenvalue``: ``eigenvalues``, ``residuals``, ``eigenvalue_errors``, ``converged``, and
        ``eigenvectors`` on request; ``num_matvecs``, the products of the eigenpairs, over ``dim``; with
        ``num_matvecs``, ``nodes`` and ``weights`` over ``dim, draw, node``; with z, ``effective_dimension`` over
        ``dim, z``. Nodes are on one grid once `kdlandscape.cubes.spectra.density` broadens them.
    """
    places = [float(value) for value in coordinates]
    known: list[Tensor] = []
    found: list[xr.Dataset] = []
    state = None if generator is None else generator.get_state()
    for index, a in enumerate(curvatures):
        generator = seeded(generator, a.theta.device)
        start = None
        if warm and known:
            start = warm_start(known, places[max(0, index - len(known)) : index], places[index], generator=generator)
        pairs = a.top_eigenpairs(
            k,
            which=which,
            tol=tol,
            stop=stop,
            max_matvecs=max_matvecs,
            start=start,
            vectors=True,
            generator=generator,
        )
        known = [*known, torch.as_tensor(pairs["eigenvectors"].values, device=a.theta.device)][-5:]
        taken = pairs.attrs.pop("num_matvecs")
        pairs["num_matvecs"] = variable((), taken, "products taken for the eigenpairs")
        here = pairs if vectors else pairs.drop_vars(["eigenvectors", "dim"])
        if num_matvecs:
            same = None if state is None else torch.Generator(generator.device).set_state(state)
            rules = a.quadrature(num_matvecs=num_matvecs, num_draws=num_draws, generator=same)
            del rules.attrs["num_matvecs"]
            here = here.merge(rules, combine_attrs="override")
            if z is not None:
                here = here.merge(effective_dimension(rules, z, scale=scale), combine_attrs="override")
        found.append(here)
    axis = xr.DataArray(places, dims=dim, name=dim)
    return xr.concat(found, axis, combine_attrs="drop_conflicts").assign_attrs(warm=int(warm))


def eigenspace_overlap(first: xr.Dataset, second: xr.Dataset) -> xr.Dataset:
    r"""Return how much the leading eigenspaces of two networks share: :math:`\frac{1}{j} \|V_j W_j^T\|_F^2`, j = 1 … k.

    1 where the spans of the first j eigenvectors agree, 0 where they are orthogonal, j/P on average for random spaces;
    neither signs nor rotations inside the spans matter (the mean squared cosine of the principal angles).

    Parameters
    ----------
    first, second
        With ``eigenvectors``, from ``top_eigenpairs(vectors=True)`` of the same block of parameters.

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
    overlap = variable("eigenvalue", shared.clip(0, 1), "overlap of the leading eigenspaces")
    return dataset({"overlap": overlap}, coords={"eigenvalue": range(count)})


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
    objective, point = objective.at(theta)
    before = predictions(objective, point)
    if not isinstance(before, Tensor) or before.ndim != 2 or before.shape[1] < 2:
        raise ValueError("expected outputs of logits (n, C) with C of at least 2; got another shape")
    places = torch.tensor(spectrum["dim"].values, device=point.device)
    rows: list[list[float]] = []
    for vector in torch.tensor(spectrum["eigenvectors"].values).to(point):
        for size in sizes:
            moved = point.index_add(0, places, size * vector)
            after = predictions(objective, moved)
            logs = log_softmax(before, -1), log_softmax(after, -1)
            kl = (logs[0].exp() * (logs[0] - logs[1])).sum(-1).mean()
            same = (after.argmax(-1) == before.argmax(-1)).to(kl.dtype).mean()
            rows.append([float(value(objective, moved)), float(same), float(kl)])
    table, dims = np.array(rows).reshape(-1, len(sizes), 3), ("eigenvalue", "x")
    values = {
        "loss": variable(dims, table[..., 0], "loss after the step", objective.units),
        "agreement": variable(dims, table[..., 1], "share of examples whose largest output stays"),
        "kl": variable(dims, table[..., 2], "KL(network at theta ‖ network after the step)", "nat"),
    }
    coords = {
        "eigenvalue": spectrum["eigenvalue"].values,
        "x": variable("x", list(sizes), "length of the step along the eigenvector"),
    }
    return dataset(values, coords=coords, num_examples=objective.num_examples)
