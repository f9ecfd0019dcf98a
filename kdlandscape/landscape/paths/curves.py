"""Trained curves of low loss between two networks: Bezier curves and polygonal chains."""

from collections.abc import Sequence
from math import comb, cos, pi
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.draws import seeded
from kdlandscape.landscape.evaluation.points import combined, evaluate_along
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta
from kdlandscape.landscape.paths.ends import shared_loss
from kdlandscape.landscape.paths.interpolation import mix, over_t

CURVES = ("bezier", "chain")


class _Settings(NamedTuple):
    kind: str
    bends: int
    steps: int
    lr: float
    momentum: float


def coefficients(t: float, bends: int, kind: str = "bezier") -> list[float]:
    r"""Return the weights :math:`c_k(t)` of start, bends and end on a curve :math:`\phi(t) = \sum_k c_k(t) w_k`.

    ``bezier``: :math:`\binom{n}{k} t^k (1-t)^{n-k}` with n = bends + 1 (two bends: cubic); ``chain``: linear from one
    point to the next, each at an equal share of [0, 1]. They sum to 1, and are exactly 0 and 1 at the ends.
    """
    n = bends + 1
    if kind == "bezier":
        return [comb(n, k) * t**k * (1 - t) ** (n - k) for k in range(n + 1)]
    return [max(0.0, 1 - abs(t * n - k)) for k in range(n + 1)]


def bezier(
    objective: MeanLoss,
    start: Theta,
    end: Theta,
    *,
    generator: torch.Generator | None = None,
    kind: str = "bezier",
    bends: int = 1,
    steps: int = 500,
    lr: float = 0.05,
    momentum: float = 0.9,
    t: int | Sequence[float] = 51,
    control_points: bool = False,
) -> xr.Dataset:
    r"""Train a curve of low loss from start to end, and evaluate the loss and the metrics along it.

    Minimizes :math:`E_{t \sim U[0,1]} L(\phi_w(t))` over the bends w by stochastic gradient descent with momentum:
    each step takes the objective's next batch and a fresh t, and :math:`\partial L / \partial w_k = c_k(t) \nabla L`.
    The learning rate falls to zero as a cosine.

    Parameters
    ----------
    objective
        The loss; its ``batch_size`` is the minibatch of the training, in the objective's order of examples.
    start, end
        The fixed ends: theta, module or state dict.
    generator
        Draws every t; the same generator state gives the same curve to the bit. Default: seed 0.
    kind, bends
        ``bezier`` (one bend: quadratic) or ``chain`` (polygonal), with so many trained points between the ends. They
        start evenly spaced on the straight line.
    steps, lr, momentum
        Of the descent.
    t
        The points at which the curve is evaluated, or how many of them from 0 to 1.
    control_points
        Whether to keep the trained points, ``control_points`` over ``bend, dim``.

    Returns
    -------
    xarray.Dataset
        ``loss`` and every metric over ``t`` and ``curve_loss``, the mean loss seen in each tenth of the training, over
        ``phase``. ``barrier`` takes it. Costs one gradient of a batch a step.

    Raises
    ------
    SpaceError
        If an end does not belong to the objective's network.
    ValueError
        For an unknown kind, or fewer than one bend or step.
    RuntimeError
        If the loss becomes NaN or infinite.

    Notes
    -----
    Garipov et al. 2018 (mode connectivity), section 3.
    """
    if kind not in CURVES:
        raise ValueError(f"expected kind to be one of {', '.join(CURVES)}; got {kind!r}")
    if bends < 1 or steps < 1:
        raise ValueError(f"expected at least one bend and one step, got {bends} and {steps}")
    objective, (first, last) = shared_loss(objective, start, end)
    straight = mix(first, last, torch.arange(bends + 2, dtype=torch.float64) / (bends + 1))
    settings = _Settings(kind, bends, steps, lr, momentum)
    control, losses = _descend(objective, straight, settings, seeded(generator, objective.device))
    points = np.linspace(0.0, 1.0, t) if isinstance(t, int) else np.asarray(t, dtype=float)
    shares = torch.tensor([coefficients(value, bends, kind) for value in points.tolist()], dtype=torch.float64)
    values = over_t(objective, evaluate_along(objective, control, shares))
    phases = [float(part.mean()) for part in losses.tensor_split(min(10, steps))]
    values["curve_loss"] = variable(
        "phase", phases, f"mean {objective.labels['loss'][0]} on the curve during its training", objective.units
    )
    coords: dict[str, Any] = {"t": points, "phase": np.arange(1, len(phases) + 1) / len(phases)}
    if control_points:
        values["control_points"] = variable(("bend", "dim"), control[1:-1].cpu(), "trained point of the curve")
        coords |= {"bend": range(bends), "dim": range(objective.dim)}
    facts: dict[str, Any] = {
        "distance": float((last - first).norm()),
        "num_examples": objective.num_examples,
        "bn": objective.bn,
    }
    return dataset(values, coords=coords, path=f"{kind} curve", **settings._asdict(), **facts)


def _descend(
    objective: MeanLoss, control: Tensor, settings: _Settings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the control points (bends + 2, P), those between the ends trained, and the loss of every step."""
    kind, bends, steps, lr, momentum = settings
    control, velocity = control.clone(), torch.zeros_like(control[1:-1])
    draws = torch.rand(steps, generator=generator, device=generator.device, dtype=torch.float64).tolist()
    losses = torch.zeros(steps, dtype=torch.float64)
    stream = objective.stream()
    for step, t in enumerate(draws):
        batch = next(stream, None)
        if batch is None:
            stream = objective.stream()
            batch = next(stream)
        weights = coefficients(t, bends, kind)
        theta = combined(control, weights).requires_grad_()
        reduced = objective.reduced(theta, batch)
        loss = reduced.total / reduced.weight
        slope = torch.autograd.grad(loss, theta)[0]
        losses[step] = loss.detach()
        if not torch.isfinite(losses[step]):
            raise RuntimeError(f"the loss on the curve became {float(losses[step])} in step {step + 1}: lower lr")
        slopes = torch.tensor(weights[1:-1], dtype=torch.float64).to(control)[:, None] * slope
        velocity = momentum * velocity + slopes
        control[1:-1] -= lr * (1 + cos(pi * step / steps)) / 2 * (slopes + momentum * velocity)
    return control, losses
