"""Small networks for signals and square images, and their random initial weights as theta."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from inspect import signature
from itertools import pairwise

import torch
from torch import Tensor, nn

from kdlandscape.distillation import vision
from kdlandscape.landscape.params import Ravel
from kdlandscape.landscape.paths.interpolation import mix
from kdlandscape.nearest import did_you_mean


def mlp(num_features: int, num_classes: int, *, width: int = 100, depth: int = 2, norm: str = "none") -> nn.Module:
    """Multilayer perceptron with ``depth`` hidden ReLU layers; ``norm="layer"`` puts LayerNorm before each ReLU."""
    if norm not in ("none", "layer"):
        raise ValueError(f"expected norm to be none or layer for an MLP, got {norm!r}")
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise([num_features, *[width] * depth]):
        layers += [nn.Linear(fan_in, fan_out), *([nn.LayerNorm(fan_out)] if norm == "layer" else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width if depth else num_features, num_classes))


def cnn(
    num_features: int, num_classes: int, *, width: int = 25, depth: int = 3, norm: str = "none", dims: int = 1
) -> nn.Module:
    """Strided convolutions (kernel 5, 3, 3, …) over a signal, or with ``dims=2`` over a square image.

    ``norm="group"`` puts ``GroupNorm(1, C)`` before each ReLU.
    """
    if norm not in ("none", "group"):
        raise ValueError(f"expected norm to be none or group for a CNN, got {norm!r}")
    length = _side(num_features, dims)
    layers: list[nn.Module] = [nn.Unflatten(1, (1, *[length] * dims))]
    channels = 1
    for kernel in [5, *[3] * (depth - 1)]:
        layers.append(_CONVOLUTION[dims](channels, width, kernel, stride=2, padding=1))
        layers += [*([nn.GroupNorm(1, width)] if norm == "group" else []), nn.ReLU()]
        length, channels = (length + 2 - kernel) // 2 + 1, width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(length**dims * channels, num_classes))


class Residual(nn.Module):
    """A pre-activation residual block: x + conv(relu(norm(conv(relu(norm(x))))))  (He et al. 2016b)."""

    def __init__(self, channels: int, norm: str, dims: int) -> None:
        super().__init__()
        branch: list[nn.Module] = []
        for _ in range(2):
            convolution = _CONVOLUTION[dims](channels, channels, 3, padding=1)
            branch += [_NORM[norm](channels, dims), nn.ReLU(), convolution]
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the stream."""
        return x + self.branch(x)


def resnet(
    num_features: int, num_classes: int, *, width: int = 16, depth: int = 2, norm: str = "none", dims: int = 1
) -> nn.Module:
    """Residual network: a strided convolution, ``depth`` pre-activation blocks of one width, mean over places, linear.

    ``norm`` is ``none``, ``group`` (``GroupNorm(1, C)``) or ``batch``; ``dims=2`` reads the input as a square image.
    """
    if norm not in _NORM:
        raise ValueError(f"expected norm to be {', '.join(_NORM)} for a residual network, got {norm!r}")
    stem = _CONVOLUTION[dims](1, width, 3, stride=2, padding=1)
    return nn.Sequential(
        nn.Unflatten(1, (1, *[_side(num_features, dims)] * dims)),
        stem,
        *[Residual(width, norm, dims) for _ in range(depth)],
        _NORM[norm](width, dims),
        nn.ReLU(),
        _POOL[dims](1),
        nn.Flatten(),
        nn.Linear(width, num_classes),
    )


_CONVOLUTION: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d}
_POOL: dict[int, Callable[..., nn.Module]] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d}
_BATCH_NORM: dict[int, Callable[..., nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
_NORM: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda channels, dims: nn.Identity(),
    "group": lambda channels, dims: nn.GroupNorm(1, channels),
    "batch": lambda channels, dims: _BATCH_NORM[dims](channels),
}


def _side(num_features: int, dims: int) -> int:
    """Return the side of the input: its length, or that of a square image."""
    if dims not in _CONVOLUTION:
        raise ValueError(f"expected dims to be 1 or 2, got {dims}")
    side = round(num_features ** (1 / dims))
    if side**dims != num_features:
        raise ValueError(f"expected a square number of features for dims={dims}, got {num_features}")
    return side


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "lenet": vision.lenet,
    "preact_resnet": vision.preact_resnet,
    "vgg": vision.vgg,
    "transformer": vision.transformer,
}


def network(
    name: str,
    num_features: int,
    num_classes: int,
    *,
    width: int | None = None,
    depth: int | None = None,
    norm: str | None = None,
    dims: int | None = None,
    channels: int | None = None,
) -> nn.Module:
    """Build a network by name; None leaves a setting to the network.

    Raises
    ------
    ValueError
        For an unknown name. A network that has no ``dims`` or no ``channels`` reads inputs of any shape, so these two
        are left out where it does not take them.
    """
    if name not in NETWORKS:
        raise ValueError(f"expected a network of {', '.join(NETWORKS)}; got {name!r}.{did_you_mean(name, NETWORKS)}")
    settings = {"width": width, "depth": depth, "norm": norm, "dims": dims, "channels": channels}
    ignored = {"dims", "channels"} - set(signature(NETWORKS[name]).parameters)
    given = {key: value for key, value in settings.items() if value is not None and key not in ignored}
    return NETWORKS[name](num_features, num_classes, **given)


Architecture = nn.Module | Callable[[], nn.Module]  # a module, or a function that makes one with fresh weights


def architecture(network: Architecture) -> nn.Module:
    """Return the module, or one that the function makes; the global random state stays as it is."""
    if isinstance(network, nn.Module):
        return network
    with torch.random.fork_rng(devices=[]):
        return network()


def random_thetas(network: Architecture, seeds: Sequence[int]) -> Tensor:
    """Return freshly initialized weights (K, P), one row a seed.

    Parameters
    ----------
    network
        A function that makes a network; its random numbers are torch's. Or a module: every layer's own
        ``reset_parameters`` draws its weights afresh.
    seeds
        One for each row.

    Raises
    ------
    ValueError
        If a module has a parameter that no layer draws afresh, which all rows would share.
    """
    make = network if not isinstance(network, nn.Module) else _redrawn(network)
    rows = []
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = make()
        rows.append(Ravel.of(fresh).ravel(fresh))
    return torch.stack(rows)


def _redrawn(module: nn.Module) -> Callable[[], nn.Module]:
    """Return a function that draws the weights of a copy of a module afresh."""
    fresh = deepcopy(module)
    resets = {name: _reset(layer) for name, layer in fresh.named_modules()}
    for name, parameter in fresh.named_parameters():
        if parameter.requires_grad and resets[name.rpartition(".")[0]] is None:
            raise ValueError(
                f"no layer draws the parameter {name!r} afresh, so all networks would start with it: expected "
                "layers with reset_parameters, or a function that makes the network in place of the module"
            )

    def make() -> nn.Module:
        for reset in resets.values():
            if reset is not None:
                reset()
        return fresh

    return make


def _reset(layer: nn.Module) -> Callable[[], None] | None:
    """Return what draws the weights of a layer; `nn.MultiheadAttention` has it under a private name."""
    found = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
    return found if callable(found) else None


def mixed_starts(random: Tensor, teacher: Tensor, init_lambda: Sequence[float]) -> Tensor:
    r"""Return initial students (K, P), :math:`\lambda\,\theta_{teacher} + (1-\lambda)\,\theta_{random}` for each λ.

    Both ends are exact: a student at λ = 1 has the teacher's weights to the bit (Stanton et al. 2021, section 6).
    """
    return mix(random, teacher, torch.tensor(list(init_lambda), device=teacher.device))
