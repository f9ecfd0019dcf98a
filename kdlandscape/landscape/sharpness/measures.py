"""Measures of sharpness and capacity at one theta, under one name."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.curvature.curvatures import hessian
from kdlandscape.landscape.draws import seeded
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta
from kdlandscape.landscape.sharpness.flatness import ascent, largest_noise
from kdlandscape.landscape.sharpness.norms import fisher_rao, margins, path_norm

Kind = Literal[
    "lambda_max", "sam", "sam_max", "adaptive", "pac_bayes", "magnitude_aware", "path_norm", "fisher_rao", "margin"
]
Values = dict[str, xr.Variable]


def sharpness(
    objective: MeanLoss,
    theta: Theta,
    *,
    kind: Kind = "lambda_max",
    tol: float | None = None,
    radius: float | None = None,
    steps: int | None = None,
    target: float | None = None,
    num_draws: int | None = None,
    rtol: float | None = None,
    metric: str | None = None,
    epsilon: float | None = None,
    quantile: float | None = None,
    generator: torch.Generator | None = None,
) -> xr.Dataset:
    r"""Measure the sharpness of the mean loss at theta; larger is sharper.

    *Rescaling* means multiplying a ReLU unit's incoming weights by c and its outgoing ones by 1/c, which changes theta
    but not the function (Dinh et al. 2017).

    Parameters
    ----------
    objective, theta
        The loss and the point.
    kind
        ``lambda_max``
            Largest Hessian eigenvalue, in units of loss, to ``tol`` = 1e-6. Changes under rescaling.
        ``sam``
            :math:`L(\theta + \rho g / \|g\|) - L(\theta)`, ``radius`` = 0.05 (Foret et al. 2021). Changes under
            rescaling. A gradient and two passes.
        ``sam_max``
            The maximum over the ball of that radius, by ``steps`` = 10 projected steps of ascent; never less than 0.
        ``adaptive``
            :math:`L(\theta + \rho T^2 g / \|T g\|) - L(\theta)` with T = diag(abs(theta)), ``radius`` = 0.5 (ASAM, Kwon
            et al. 2021). Unchanged by rescaling.
        ``pac_bayes``
            :math:`1 / \sigma^2` of the largest isotropic noise with a mean rise of the loss of at most ``target`` = 0.1
            over ``num_draws`` = 32 common draws (Jiang et al. 2020), to ``rtol`` = 1e-2; ``metric`` takes the rise of
            another metric than the loss. Changes under rescaling.
        ``magnitude_aware``
            The same with noise of variance :math:`\sigma^2 \theta_i^2 + \epsilon^2`, ``epsilon`` = 1e-3. Unchanged by
            rescaling up to epsilon.
        ``path_norm``
            :math:`\sqrt{\sum_o f_o(1; \theta^2)}`. Unchanged by rescaling; undefined with normalization.
        ``fisher_rao``
            :math:`\theta^T \hat F \theta`. Unchanged by rescaling.
        ``margin``
            1 / margin², of the 10 % quantile ``quantile`` of output margins; infinite where that is not positive.
            Unchanged by rescaling, but a network whose outputs are doubled has twice the margin.
    tol, radius, steps, target, num_draws, rtol, metric, epsilon, quantile
        As the kinds above name them; one that the kind does not have is refused.
    generator
        The generator for the noise, and for the start vector of ``lambda_max``; default: seed 0.

    Returns
    -------
    xarray.Dataset
        ``sharpness``, a scalar, and what it rests on: ``sigma``, ``loss_increase`` and their ``_sem`` for noise,
        ``margin`` for margins. ``kind`` and settings in the attrs.

    Raises
    ------
    ValueError
        An unknown kind, a setting that it does not have, a radius that is not positive, or a measure that is
        undefined here.
    """
    if kind not in _KINDS:
        raise ValueError(f"expected kind to be one of {', '.join(_KINDS)}; got {kind!r}")
    measure, defaults = _KINDS[kind]
    named: dict[str, Any] = {"tol": tol, "radius": radius, "steps": steps, "target": target, "num_draws": num_draws}
    named |= {"rtol": rtol, "metric": metric, "epsilon": epsilon, "quantile": quantile, "generator": generator}
    given = {name: value for name, value in named.items() if value is not None}
    if unknown := [name for name in given if name not in defaults]:
        raise ValueError(f"{kind} has no setting {unknown[0]!r}: expected {', '.join(defaults) or 'none'}")
    chosen = {**defaults, **given}
    if "radius" in chosen and not chosen["radius"] > 0:
        raise ValueError(f"expected a positive radius, got {chosen['radius']}")
    objective, point = objective.at(theta)
    values = measure(objective, point, **chosen)
    plain: dict[str, Any] = {name: x for name, x in chosen.items() if isinstance(x, int | float | str)}
    return dataset(values, kind=kind, num_examples=objective.num_examples, **plain)


def _number(value: float, long_name: str, units: str = "1") -> xr.Variable:
    return variable((), value, long_name, units)


def _lambda_max(objective: MeanLoss, point: Tensor, *, tol: float, generator: torch.Generator | None) -> Values:
    found = hessian(objective, point, num_matvecs=13).top_eigenpairs(tol=tol, generator=generator)
    largest = float(found["eigenvalues"][0])
    return {"sharpness": _number(largest, "largest Hessian eigenvalue of the mean loss", objective.units)}


def _sam(objective: MeanLoss, point: Tensor, *, radius: float) -> Values:
    rise = ascent(objective, point, radius).rise
    return {"sharpness": _number(rise, "rise of the loss after a step along the gradient", objective.units)}


def _sam_max(objective: MeanLoss, point: Tensor, *, radius: float, steps: int) -> Values:
    rise = ascent(objective, point, radius, steps=max(steps, 2)).rise
    return {"sharpness": _number(rise, "largest rise of the loss found in a ball", objective.units)}


def _adaptive(objective: MeanLoss, point: Tensor, *, radius: float) -> Values:
    rise = ascent(objective, point, radius, adaptive=True).rise
    label = "adaptive sharpness: rise of the loss in a ball scaled by the weights"
    return {"sharpness": _number(rise, label, objective.units)}


def _noise(magnitude: bool) -> Callable[..., Values]:
    what = "noise relative to the weights" if magnitude else "isotropic noise"

    def measure(
        objective: MeanLoss,
        point: Tensor,
        *,
        target: float,
        num_draws: int,
        rtol: float,
        metric: str,
        generator: torch.Generator | None,
        epsilon: float = 0.0,
    ) -> Values:
        found = largest_noise(
            objective,
            point,
            target=target,
            num_draws=num_draws,
            rtol=rtol,
            metric=metric,
            epsilon=epsilon,
            generator=seeded(generator, objective.device),
            magnitude=magnitude,
        )
        units = objective.units if metric == "loss" else "1"
        error = 2 * found.sigma_sem * found.sigma**-3
        return {
            "sharpness": _number(found.sigma**-2, f"1/σ² of the largest {what} at a given rise of the {metric}"),
            "sharpness_sem": _number(error, "standard error of 1/σ²"),
            "sigma": _number(found.sigma, f"standard deviation σ of the {what}"),
            "sigma_sem": _number(found.sigma_sem, "standard error of σ"),
            "loss_increase": _number(found.increase, f"mean rise of the {metric} at σ", units),
            "loss_increase_sem": _number(found.increase_sem, "standard error of the rise", units),
        }

    return measure


def _path_norm(objective: MeanLoss, point: Tensor) -> Values:
    return {"sharpness": _number(path_norm(objective, point), "path norm: root of the sum over paths of θ²")}


def _fisher_rao(objective: MeanLoss, point: Tensor) -> Values:
    units = objective.units if objective.units == "1" else f"{objective.units}²"
    return {"sharpness": _number(fisher_rao(objective, point), "Fisher–Rao norm θᵀFθ, F the empirical Fisher", units)}


def _margin(objective: MeanLoss, point: Tensor, *, quantile: float) -> Values:
    found = margins(objective, point).double()
    at = float(found.quantile(quantile))
    return {
        "sharpness": _number(at**-2 if at > 0 else float("inf"), f"1/margin² at the quantile {quantile}"),
        "margin": _number(at, f"margin of the outputs at the quantile {quantile}"),
        "margin_mean": _number(float(found.mean()), "mean margin of the outputs"),
    }


_NOISE = {"target": 0.1, "num_draws": 32, "rtol": 1e-2, "metric": "loss", "generator": None}
_KINDS: dict[str, tuple[Callable[..., Values], dict[str, Any]]] = {
    "lambda_max": (_lambda_max, {"tol": 1e-6, "generator": None}),
    "sam": (_sam, {"radius": 0.05}),
    "sam_max": (_sam_max, {"radius": 0.05, "steps": 10}),
    "adaptive": (_adaptive, {"radius": 0.5}),
    "pac_bayes": (_noise(False), _NOISE),
    "magnitude_aware": (_noise(True), {**_NOISE, "epsilon": 1e-3}),
    "path_norm": (_path_norm, {}),
    "fisher_rao": (_fisher_rao, {}),
    "margin": (_margin, {"quantile": 0.1}),
}
