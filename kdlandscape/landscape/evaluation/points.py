"""Evaluate the loss and the metrics at any points, by the strategy that is fastest."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdlandscape.landscape.evaluation.evaluator import Rows, evaluator
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.evaluation.trial import choose
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta


def evaluate(objective: MeanLoss, thetas: Tensor, *, strategy: Strategy | None = None) -> dict[str, Tensor]:
    """Evaluate the loss and every metric at K points (K, P): name -> (K,); see `Objective.evaluate`."""
    if thetas.ndim != 2 or thetas.shape[1] != objective.dim:
        raise ValueError(f"expected points of shape (K, {objective.dim}), got {tuple(thetas.shape)}")
    return evaluator(objective, strategy or choose(objective, thetas))(thetas)


def combined(rows: Rows, weights: Sequence[float]) -> Tensor:
    r"""Return :math:`\sum_d w_d \, \text{rows}_d`, (P,); weights of 0 and 1 are exact."""
    total = torch.zeros_like(rows[0])
    for weight, row in zip(weights, rows, strict=True):
        if weight:
            total = torch.add(total, row, alpha=weight)
    return total


def evaluate_along(objective: MeanLoss, rows: Rows, coefficients: Tensor) -> dict[str, Tensor]:
    r"""Evaluate the loss and every metric at :math:`\theta_k = \sum_d c_{kd} \, \text{rows}_d`: name -> (K,).

    Coefficients of 0 and 1 are exact, and the first and the last point are to the bit what `value` gives. One theta is
    made at a time: memory is the rows and a few copies of theta, however many points there are.

    Parameters
    ----------
    rows
        D vectors (P,): the ends of a path, or the control points of a curve.
    coefficients
        (K, D), in float64.
    """
    first, last = (evaluate(objective, combined(rows, coefficients[k].tolist())[None]) for k in (0, -1))
    if len(coefficients) == 2:
        return {name: torch.cat([first[name], last[name]]) for name in first}
    inner, nothing = coefficients[1:-1], torch.zeros_like(rows[0])
    strategy = choose(objective, inner, nothing, rows)
    between = evaluator(objective, strategy, nothing, rows)(inner)
    return {name: torch.cat([first[name], between[name], last[name]]) for name in first}


def value(objective: MeanLoss, theta: Theta) -> Tensor:
    """Return the mean loss at theta, a scalar. Costs one forward pass over the data."""
    loss, point = objective.at(theta)
    return evaluate(loss, point[None])["loss"][0]


def gradient(objective: MeanLoss, theta: Theta) -> Tensor:
    """Return the gradient (P,) of the mean loss at theta. Costs one forward and backward pass over the data."""
    loss, point = objective.at(theta)
    point = point.clone().requires_grad_()
    total, weight = torch.zeros_like(point, dtype=loss.loss_dtype), torch.zeros((), device=loss.device)
    for batch in loss.stream():
        reduced = loss.reduced(point, batch)
        total += torch.autograd.grad(reduced.total, point)[0]
        weight = weight + reduced.weight
    return (total / weight).to(point)


def predictions(objective: MeanLoss, theta: Theta) -> Tensor:
    """Return the outputs (n, ...) of the network for every example, in the order of the data. Costs one forward pass.

    Raises
    ------
    ValueError
        If the batches give outputs of other shapes.
    """
    loss, point = objective.at(theta)
    with torch.no_grad():
        parts = [loss.criteria.counted(loss.raw(point, inputs)) for inputs, _ in loss.stream()]
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"expected outputs of one shape an example, got {sorted(map(tuple, shapes))}: pad the data")
    return torch.cat(parts)
