"""What BatchNorm does away from the trained weights: keep its statistics, re-estimate them, or use the batch's."""

import copy

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

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


def running_statistics(model: nn.Module) -> set[str]:
    """Return the names of the buffers that BatchNorm layers keep."""
    layers = ((name, layer) for name, layer in model.named_modules() if isinstance(layer, _BatchNorm))
    return {f"{name}.{key}" if name else key for name, layer in layers for key, _ in layer.named_buffers(recurse=False)}
