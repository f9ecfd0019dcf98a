"""Small networks for one-dimensional signals, and their random initial weights as theta."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn

from kdlandscape.landscape.params import Ravel


def mlp(num_features: int, num_classes: int, *, width: int = 100, depth: int = 2, norm: str = "none") -> nn.Module:
    """Multilayer perceptron with ``depth`` hidden ReLU layers; ``norm="layer"`` puts LayerNorm before each ReLU."""
    if norm not in ("none", "layer"):
        raise ValueError(f"expected norm to be none or layer for an MLP, got {norm!r}")
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise([num_features, *[width] * depth]):
        layers += [nn.Linear(fan_in, fan_out), *([nn.LayerNorm(fan_out)] if norm == "layer" else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width if depth else num_features, num_classes))


def cnn(num_features: int, num_classes: int, *, width: int = 25, depth: int = 3, norm: str = "none") -> nn.Module:
    """Strided 1-D convolutions (kernel 5, 3, 3, …); ``norm="group"`` puts ``GroupNorm(1, C)`` before each ReLU."""
    if norm not in ("none", "group"):
        raise ValueError(f"expected norm to be none or group for a CNN, got {norm!r}")
    layers: list[nn.Module] = [nn.Unflatten(1, (1, num_features))]
    length, channels = num_features, 1
    for kernel in [5, *[3] * (depth - 1)]:
        layers.append(nn.Conv1d(channels, width, kernel, stride=2, padding=1))
        layers += [*([nn.GroupNorm(1, width)] if norm == "group" else []), nn.ReLU()]
        length, channels = (length + 2 - kernel) // 2 + 1, width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(length * channels, num_classes))


NETWORKS: dict[str, Callable[..., nn.Module]] = {"mlp": mlp, "cnn": cnn}


def network(name: str, num_features: int, num_classes: int, **settings: int | str) -> nn.Module:
    """Build a network by name: ``mlp`` or ``cnn``, with ``width``, ``depth`` and ``norm``."""
    if name not in NETWORKS:
        raise ValueError(f"expected a network of {', '.join(NETWORKS)}; got {name!r}")
    return NETWORKS[name](num_features, num_classes, **settings)


def random_thetas(module: nn.Module, seeds: Sequence[int]) -> Tensor:
    """Return freshly initialized weights (K, P), one row a seed; every layer's own ``reset_parameters`` draws them."""
    fresh = deepcopy(module)
    space = Ravel.of(fresh)
    rows = []
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for layer in fresh.modules():
                if callable(reset := getattr(layer, "reset_parameters", None)):
                    reset()
        rows.append(space.ravel(fresh))
    return torch.stack(rows)
