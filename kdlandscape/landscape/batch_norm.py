"""What BatchNorm does away from the trained weights: keep its statistics, re-estimate them, or use the batch's."""

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kdlandscape.landscape.reduction import num_examples

if TYPE_CHECKING:
    from kdlandscape.landscape.objective import Objective

POLICIES = ("frozen", "recalibrate", "batch")


def with_policy(model: nn.Module, bn: str) -> nn.Module:
    """Return a copy of a model in eval mode whose BatchNorm layers follow the policy.

    Raises
    ------
    ValueError
        If the policy is unknown, or the original statistics are gone (``batch`` cannot be undone).
    """
    if bn not in POLICIES:
        raise ValueError(f"expected bn to be one of {', '.join(POLICIES)}; got {bn!r}")
    model = copy.deepcopy(model)
    for name, layer in model.named_modules():
        if not isinstance(layer, _BatchNorm):
            continue
        if bn == "batch":
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
        elif bn == "recalibrate" and layer.running_mean is None:
            raise ValueError(f"layer {name!r} has no running statistics to re-estimate: expected bn='batch'")
    return model


def statistics(objective: "Objective", theta: Tensor) -> dict[str, Tensor]:
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
        for inputs, targets in objective.stream():
            buffers = {name: objective.constants[name].clone() for name in names}
            objective.outputs(theta, inputs, buffers | _counters(objective, layers))
            n = num_examples(targets)
            total = {name: total[name] + n * buffers[name] for name in names}
            count += n
    finally:
        for layer in layers.values():
            layer.eval()
    return {name: value / count for name, value in total.items()}


def _counters(objective: "Objective", layers: dict[str, Any]) -> dict[str, Tensor]:
    names = [f"{name}.num_batches_tracked" for name in layers]
    return {name: torch.zeros_like(objective.constants[name]) for name in names}
