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
