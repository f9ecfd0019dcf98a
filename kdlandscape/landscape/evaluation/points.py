"""Evaluate the loss and the metrics at any points, by the strategy that is fastest."""

from torch import Tensor

from kdlandscape.landscape.evaluation.evaluator import evaluator
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.evaluation.trial import choose
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta


def evaluate(objective: MeanLoss, thetas: Tensor, *, strategy: Strategy | None = None) -> dict[str, Tensor]:
    """Evaluate the loss and every metric at K points (K, P): name -> (K,); see `Objective.evaluate`."""
    if thetas.ndim != 2 or thetas.shape[1] != objective.dim:
        raise ValueError(f"expected points of shape (K, {objective.dim}), got {tuple(thetas.shape)}")
    return evaluator(objective, strategy or choose(objective, thetas))(thetas)


def value(objective: MeanLoss, theta: Theta) -> Tensor:
    """Return the mean loss at theta, a scalar. Costs one forward pass over the data."""
    loss, point = objective.at(theta)
    return evaluate(loss, point[None])["loss"][0]
