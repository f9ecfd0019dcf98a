"""Measures of sharpness and capacity at one theta, under one name."""

from collections.abc import Callable
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset
from kdlandscape.landscape.curvature.spectra import top_eigenpairs
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta
from kdlandscape.landscape.sharpness.flatness import ascent, largest_noise
from kdlandscape.landscape.sharpness.norms import fisher_rao, margins, path_norm

Values = dict[str, float]


def sharpness(objective: MeanLoss, theta: Theta, *, kind: str = "lambda_max", **settings: Any) -> xr.Dataset:
    r"""Measure the sharpness of the mean loss at theta; larger is sharper.

    *Rescaling* means multiplying a ReLU unit's incoming weights by c and its outgoing ones by 1/c, which changes theta
    but not the function (Dinh et al. 2017).

    Parameters
    ----------
    objective, theta
        The loss and the point.
    kind
        ``lambda_max``
            Largest Hessian eigenvalue, in units of loss. Changes under rescaling. Settings of `top_eigenpairs`.
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
            over ``num_draws`` = 32 common draws (Jiang et al. 2020). Changes under rescaling.
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
    settings
        As named above. ``generator`` for the noise; default: seed 0.

    Returns
    -------
    xarray.Dataset
        ``sharpness``, a scalar, and what it rests on: ``sigma``, ``loss_increase`` and their ``_sem`` for noise,
        ``margin`` for margins. ``kind`` and settings in the attrs.

    Raises
    ------
    ValueError
        An unknown kind or setting, a radius that is not positive, or a measure that is undefined here.
    """
    if kind not in _KINDS:
        raise ValueError(f"expected kind to be one of {', '.join(_KINDS)}; got {kind!r}")
    point = objective.ravel(theta)
    measure, defaults = _KINDS[kind]
    unknown = [name for name in settings if name not in defaults] if kind != "lambda_max" else []
    if unknown:
        raise ValueError(f"{kind} has no setting {unknown[0]!r}: expected {', '.join(defaults) or 'none'}")
    chosen = {**defaults, **settings}
    if "radius" in chosen and not chosen["radius"] > 0:
        raise ValueError(f"expected a positive radius, got {chosen['radius']}")
    values = measure(objective, point, **chosen)
    plain: dict[str, Any] = {name: x for name, x in chosen.items() if isinstance(x, int | float | str)}
    return dataset(values, kind=kind, num_examples=objective.num_examples, **plain)


def _lambda_max(objective: MeanLoss, point: Tensor, **settings: Any) -> Values:
    return {"sharpness": float(top_eigenpairs(objective, point, 1, **settings)["eigenvalues"][0])}


def _sam(objective: MeanLoss, point: Tensor, *, radius: float) -> Values:
    return {"sharpness": ascent(objective, point, radius)}


def _sam_max(objective: MeanLoss, point: Tensor, *, radius: float, steps: int) -> Values:
    return {"sharpness": ascent(objective, point, radius, steps=max(steps, 2))}


def _adaptive(objective: MeanLoss, point: Tensor, *, radius: float) -> Values:
    return {"sharpness": ascent(objective, point, radius, adaptive=True)}


def _noise(magnitude: bool) -> Callable[..., Values]:
    def measure(objective: MeanLoss, point: Tensor, *, generator: torch.Generator | None, **settings: Any) -> Values:
        generator = generator or torch.Generator(objective.device).manual_seed(0)
        found = largest_noise(objective, point, generator=generator, magnitude=magnitude, **settings)
        return {
            "sharpness": found.sigma**-2,
            "sharpness_sem": 2 * found.sigma_sem * found.sigma**-3,
            "sigma": found.sigma,
            "sigma_sem": found.sigma_sem,
            "loss_increase": found.increase,
            "loss_increase_sem": found.increase_sem,
        }

    return measure


def _margin(objective: MeanLoss, point: Tensor, *, quantile: float) -> Values:
    found = margins(objective, point).double()
    at = float(found.quantile(quantile))
    return {"sharpness": at**-2 if at > 0 else float("inf"), "margin": at, "margin_mean": float(found.mean())}


_NOISE = {"target": 0.1, "num_draws": 32, "rtol": 1e-2, "metric": "loss", "generator": None}
_KINDS: dict[str, tuple[Callable[..., Values], dict[str, Any]]] = {
    "lambda_max": (_lambda_max, {}),
    "sam": (_sam, {"radius": 0.05}),
    "sam_max": (_sam_max, {"radius": 0.05, "steps": 10}),
    "adaptive": (_adaptive, {"radius": 0.5}),
    "pac_bayes": (_noise(False), _NOISE),
    "magnitude_aware": (_noise(True), {**_NOISE, "epsilon": 1e-3}),
    "path_norm": (lambda objective, point: {"sharpness": path_norm(objective, point)}, {}),
    "fisher_rao": (lambda objective, point: {"sharpness": fisher_rao(objective, point)}, {}),
    "margin": (_margin, {"quantile": 0.1}),
}
