"""The network as a recorded graph with BatchNorm folded into the convolutions before it, for derivatives."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_flatten

from kdlandscape.landscape.evaluation.graph import fold_batch_norm, trace
from kdlandscape.landscape.loss import MeanLoss


class Folded:
    r"""Outputs of the network as a function of theta and inputs, equal to the objective's but to rounding.

    With fixed statistics, :math:`\gamma (w * x + b - \mu) / \sqrt{v + \epsilon} + \beta` is one convolution with
    weights :math:`w \gamma / \sqrt{v + \epsilon}`. The derivatives for w, gamma and beta then pass through arrays of
    the size of the weights, and no pass over activations is left for BatchNorm, whose second derivative takes many.

    Parameters
    ----------
    objective
        The network; inputs of shapes that cannot be recorded, or give other outputs, go to it unchanged.
    piece
        A first piece of the data: inputs of its shapes are recorded, others go to the objective.
    """

    def __init__(self, objective: MeanLoss, piece: tuple[Any, Any]) -> None:
        self.objective, self.graph = objective, None
        self.key = _shapes(piece[0])
        try:
            graph = fold_batch_norm(trace(lambda theta, x: [objective.outputs(theta, x)], objective.theta, piece[0]))
            self.graph = graph
            with torch.no_grad():
                ours, expected = self(objective.theta, piece[0]), objective.outputs(objective.theta, piece[0])
            tolerance = 1e4 * torch.finfo(expected.dtype).eps
            if not torch.allclose(ours, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max())):
                self.graph = None
        except (ValueError, RuntimeError, TypeError, AttributeError):
            self.graph = None

    def __call__(self, theta: Tensor, inputs: Any) -> Any:
        """Return the outputs (n, ...) at theta."""
        if self.graph is None or _shapes(inputs) != self.key:
            return self.objective.outputs(theta, inputs)
        return self.graph(theta, *tree_flatten(inputs)[0])[0]


def can_fold(objective: MeanLoss) -> bool:
    """Whether there is a BatchNorm layer with fixed statistics."""
    layers = (layer for layer in objective.model.modules() if isinstance(layer, _BatchNorm))
    return objective.bn == "frozen" and any(layer.running_mean is not None for layer in layers)


def _shapes(inputs: Any) -> list[Any]:
    return [(leaf.shape, leaf.stride(), leaf.dtype) for leaf in tree_flatten(inputs)[0]]
