"""Running statistics of BatchNorm, estimated again at any theta."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.reduction import num_examples


def statistics(objective: MeanLoss, theta: Tensor) -> dict[str, Tensor]:
    """Return running means and unbiased variances at theta: those of each batch, averaged by its number of examples.

    One forward pass over the data, in which every BatchNorm layer normalizes by its own batch.
    """
    layers = {name: m for name, m in objective.model.named_modules() if isinstance(m, _BatchNorm)}
    names = [f"{name}.running_{kind}" for name in layers for kind in ("mean", "var")]
    total: dict[str, Any] = dict.fromkeys(names, 0.0)
    count = 0
    try:
        for layer in layers.values():  # of the objective's private copy
            layer.train()
            layer.momentum = 1.0  # the buffer becomes the statistic of the batch
        for inputs, targets in objective.estimated_on:
            buffers = {name: objective.constants[name].clone() for name in names}
            objective.outputs(theta, inputs, buffers | _counters(objective, layers))
            n = num_examples(targets)
            total = {name: total[name] + n * buffers[name] for name in names}
            count += n
    finally:
        for layer in layers.values():
            layer.eval()
    return {name: value / count for name, value in total.items()}


def _counters(objective: MeanLoss, layers: dict[str, Any]) -> dict[str, Tensor]:
    names = [f"{name}.num_batches_tracked" for name in layers]
    return {name: torch.zeros_like(objective.constants[name]) for name in names}
