"""The cases every probe is tested on: network x loss x data, in float64, small enough for dense references."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdlandscape.distillation import networks

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@dataclass(frozen=True)
class Case:
    """A network, its loss and its data; ``make()`` builds the same one every time."""

    name: str
    network: Callable[[], nn.Module]
    loss: Callable[[], Any]
    inputs: Callable[[torch.Generator], Any]
    targets: Callable[[torch.Generator], Any]

    def make(self, device: str = "cpu", dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Any, tuple[Any, Any]]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = self.network().to(device, dtype)
        generator = torch.Generator().manual_seed(1)
        inputs, targets = self.inputs(generator), self.targets(generator)

        def move(value: Any) -> Any:
            if isinstance(value, dict):
                return {k: move(v) for k, v in value.items()}
            if isinstance(value, tuple):
                return tuple(move(v) for v in value)
            return value.to(device, dtype if value.is_floating_point() else value.dtype)

        return module, self.loss().to(device, dtype), (move(inputs), move(targets))


N = 23  # a prime: every batch size leaves an uneven last batch


def floats(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randn(N, *shape, generator=generator, dtype=torch.float64)


def classes(count: int, *shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randint(count, (N, *shape), generator=generator)


def with_ignored(count: int) -> Callable[[torch.Generator], Tensor]:
    def targets(generator: torch.Generator) -> Tensor:
        labels = torch.randint(count, (N,), generator=generator).sort().values  # sorted: the batches differ most
        labels[::4] = -100
        return labels

    return targets


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Frozen(nn.Module):
    """A trainable head on frozen features."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Linear(4, 6).requires_grad_(False), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.features(x)))


class Unused(nn.Module):
    """A parameter that the loss does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(4, 3), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x) ** 2


class TwoInputs(nn.Module):
    """Inputs as a dict of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 5), nn.Linear(2, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head(torch.tanh(self.left(left) + self.right(right)))


class Attention(nn.Module):
    """One self-attention layer over 5 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    """An LSTM read at its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def batch_norm_cnn() -> nn.Module:
    module = nn.Sequential(nn.Conv1d(1, 3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 6, 3))
    module[1].running_mean.uniform_(-0.5, 0.5)
    module[1].running_var.uniform_(0.5, 2)
    return module


def residual(norm: str, dims: int) -> Callable[[], nn.Module]:
    def network() -> nn.Module:
        module = networks.resnet(9, 3, width=3, depth=1, norm=norm, dims=dims)
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.5, 0.5)
                layer.running_var.uniform_(0.5, 2)
        return module

    return network


def weighted(**settings: Any) -> Callable[[], nn.Module]:
    return lambda: nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 5.0]), **settings)


CASES = [
    Case("mlp", lambda: networks.mlp(4, 3, width=5), nn.CrossEntropyLoss, floats(4), classes(3)),
    Case(
        "tanh",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)),
        nn.CrossEntropyLoss,
        floats(4),
        classes(3),
    ),
    Case("layer_norm", lambda: networks.mlp(4, 3, width=5, norm="layer"), nn.CrossEntropyLoss, floats(4), classes(3)),
    Case(
        "cnn_group_norm",
        lambda: networks.cnn(12, 3, width=3, depth=2, norm="group"),
        nn.CrossEntropyLoss,
        floats(12),
        classes(3),
    ),
    Case("residual", residual("none", 1), nn.CrossEntropyLoss, floats(9), classes(3)),
    Case("residual_group_norm", residual("group", 2), nn.CrossEntropyLoss, floats(9), classes(3)),
    Case("residual_batch_norm", residual("batch", 1), nn.CrossEntropyLoss, floats(9), classes(3)),
    Case("batch_norm", batch_norm_cnn, nn.CrossEntropyLoss, floats(1, 8), classes(3)),
    Case(
        "class_weights",
        lambda: networks.mlp(4, 3, width=5),
        weighted(),
        floats(4),
        lambda g: classes(3)(g).sort().values,
    ),
    Case("ignore_index", lambda: networks.mlp(4, 3, width=5), weighted(ignore_index=-100), floats(4), with_ignored(3)),
    Case(
        "label_smoothing",
        lambda: networks.mlp(4, 3, width=5),
        lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
        floats(4),
        classes(3),
    ),
    Case("regression", lambda: networks.mlp(4, 2, width=5), nn.MSELoss, floats(4), floats(2)),
    Case("tied", Tied, nn.CrossEntropyLoss, floats(4), classes(3)),
    Case("frozen", Frozen, nn.CrossEntropyLoss, floats(4), classes(3)),
    Case("unused", Unused, nn.CrossEntropyLoss, floats(4), classes(3)),
    Case(
        "dict_inputs",
        TwoInputs,
        nn.CrossEntropyLoss,
        lambda g: {"left": floats(4)(g), "right": floats(2)(g)},
        classes(3),
    ),
    Case("attention", Attention, nn.CrossEntropyLoss, floats(5, 4), classes(3)),
    Case("lstm", Recurrent, nn.CrossEntropyLoss, floats(4, 3), classes(3)),
    Case(
        "embedding",
        lambda: nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(9, 3)),
        nn.CrossEntropyLoss,
        classes(7, 3),
        classes(3),
    ),
]
IDS = [case.name for case in CASES]
