"""What each network of a comparison is by itself: losses, calibrated temperature, spectrum, sharpness."""

from collections.abc import Sequence
from typing import Any

import xarray as xr

from kdlandscape.cubes import spectra
from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.distillation.label_positions import positions_of
from kdlandscape.distillation.loaded import Loaded
from kdlandscape.distillation.pairwise import SPLITS, UNDEFINED
from kdlandscape.distillation.problems import Problem, first_examples
from kdlandscape.landscape.curvature.curvatures import ggn, hessian
from kdlandscape.landscape.evaluation.points import evaluate
from kdlandscape.landscape.many_networks import stacked
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import Ravel
from kdlandscape.landscape.reduction import error
from kdlandscape.landscape.sharpness.measures import Kind, sharpness
from kdlandscape.landscape.temperature import best_temperature, calibrated_loss

CURVATURES = {"hessian": hessian, "ggn": ggn}


def objectives_of(
    problem: Problem, num_examples: int, *, batch_size: int | None = None, temperature: bool = False
) -> dict[str, Objective]:
    """Return the loss of a problem on the first examples of each split, with the metrics that a comparison takes.

    Where running statistics are estimated anew, those of the training data are taken for the test data too.
    These are ``calibrated_loss``; for classes ``error``, the share of wrong decisions; and on request ``temperature``,
    at which the calibrated loss is taken.
    """
    metrics: dict[str, Any] = {"calibrated_loss": calibrated_loss(problem.loss)}
    if positions_of(problem).kind == "classes":
        metrics["error"] = error
    if temperature:
        metrics["temperature"] = best_temperature(problem.loss)
    train, test = (
        Objective(
            problem.model,
            problem.loss,
            first_examples(getattr(problem, split), num_examples),
            metrics=metrics,
            batch_size=batch_size,
        )
        for split in SPLITS
    )
    return dict(zip(SPLITS, (train, test.with_statistics_of(train)), strict=True))


def network_losses(networks: Sequence[Loaded], num_examples: int, *, batch_size: int | None = None) -> xr.Dataset:
    """Return the numbers of each network by itself, with its own running statistics.

    Returns
    -------
    xarray.Dataset
        ``network_loss``, ``network_calibrated_loss``, ``network_temperature`` and for classes ``network_error`` over
        ``network, split``; ``num_parameters``, and which set of its checkpoint a network is (``weight_set``), over
        ``network``.
    """
    names, rows = [one.name for one in networks], []
    for one in networks:
        parts: list[xr.Dataset | None] = []
        for objective in objectives_of(one.problem, num_examples, batch_size=batch_size, temperature=True).values():
            loss, point = objective.at(dict(one.state))
            numbers = {name: float(value[0]) for name, value in evaluate(loss, point[None]).items()}
            values = {f"network_{name}": variable((), x, *objective.labels[name]) for name, x in numbers.items()}
            parts.append(dataset(values))
        rows.append(stacked(parts, "split", SPLITS))
    found = stacked(rows, "network", names)
    count = [Ravel.of(one.model).dim for one in networks]
    found["num_parameters"] = variable("network", count, "number of trainable parameters")
    found["weight_set"] = variable("network", [one.weights for one in networks], "set of weights in the checkpoint")
    return found.assign_coords(network=variable("network", names, "network"))


def network_spectra(
    networks: Sequence[Loaded],
    num_examples: int,
    *,
    batch_size: int | None = None,
    curvature: str = "hessian",
    num_eigenvalues: int = 5,
    num_matvecs: int = 60,
    num_draws: int = 5,
    precision: Sequence[float] = (0.01, 0.1, 1.0, 10.0, 100.0),
    kinds: Sequence[Kind] = ("sam", "adaptive", "pac_bayes"),
    tol: float = 1e-4,
) -> xr.Dataset:
    """Return spectrum, effective dimension and sharpness of the training loss at each network.

    Parameters
    ----------
    networks
        Of one problem, of any shape: each has a curvature operator of its own, with its own running statistics.
    num_examples, batch_size
        The first examples of the training data, and how many are run at once.
    curvature
        ``hessian`` or ``ggn``.
    num_eigenvalues, tol
        Largest eigenvalues, and their relative tolerance.
    num_matvecs, num_draws
        Of the quadrature rules, from which density and effective dimension come.
    precision
        z of the effective dimension, in units of the summed loss.
    kinds
        Of `kdlandscape.sharpness`.

    Returns
    -------
    xarray.Dataset
        ``eigenvalues`` and ``residuals`` over ``network, eigenvalue``; ``nodes`` and ``weights`` over
        ``network, draw, node``; ``effective_dimension`` and its errors over ``network, z``; each sharpness over
        ``network``. ``spectrum_note`` says for which networks there is none, and why.
    """
    rows: list[xr.Dataset | None] = []
    notes = []
    for one in networks:
        data = first_examples(one.problem.train, num_examples)
        objective = Objective(one.model, one.problem.loss, data, batch_size=batch_size)
        state = dict(one.state)
        try:
            operator = CURVATURES[curvature](objective, state)
            rules = operator.quadrature(num_matvecs=num_matvecs, num_draws=num_draws)
            ends = operator.top_eigenpairs(min(num_eigenvalues, operator.dim), tol=tol)
            values: dict[Any, xr.DataArray] = {**ends[["eigenvalues", "residuals"]], **rules[["nodes", "weights"]]}
            values |= spectra.effective_dimension(rules, list(precision))
            values |= {f"{kind}_sharpness": sharpness(objective, state, kind=kind)["sharpness"] for kind in kinds}
            facts = {name: rules.attrs[name] for name in ("curvature", "total_weight", "num_examples")}
            rows.append(dataset(values, **facts))
            notes.append("")
        except UNDEFINED as error:
            rows.append(None)
            notes.append(str(error).splitlines()[0])
    found = stacked(rows, "network", [one.name for one in networks])
    found["spectrum_note"] = variable("network", notes, "why the spectrum is not defined; empty where it is")
    if "z" in found:
        found = found.assign_coords(z=variable("z", found["z"], "prior precision z of the summed loss"))
    return found.assign_coords(network=variable("network", [one.name for one in networks], "network"))
