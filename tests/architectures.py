"""More networks than the case list has, for what follows units through a network: name -> (network, inputs)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdlandscape.distillation import networks
from tests.cases import CASES


class Functional(nn.Module):
    """Reshapes, transposes and sums written as functions, and a scale that is a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(2, 4, 3, padding=1), nn.Conv1d(4, 4, 3, padding=1)
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        self.head, self.last = nn.Linear(4, 5), nn.Linear(5 * 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x))
        x = x + torch.tanh(self.second(x))
        x = functional.avg_pool1d(x, 1).transpose(1, 2) * self.scale
        x = self.head(x).relu() * 0.5
        return self.last(x.reshape(x.size(0), -1))


class Gated(nn.Module):
    """Units gated by a function of their own mean over places (squeeze and excite)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.head = nn.Conv1d(1, 4, 3), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        gate = torch.sigmoid(self.gate(x.mean(2)))
        return self.head((x * gate.unsqueeze(2)).mean(dim=-1))


def sequential(*layers: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*(layer() for layer in layers))


MADE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "functional": (Functional, (2, 6)),
    "gated": (Gated, (1, 8)),
    "deep_residual": (lambda: networks.resnet(16, 3, width=4, depth=3, norm="group", dims=2), (16,)),
    "cnn_2d": (lambda: networks.cnn(64, 3, width=4), (64,)),
    "depthwise": (
        sequential(
            lambda: nn.Conv2d(1, 3, 3),
            nn.PReLU,
            lambda: nn.Conv2d(3, 6, 3, groups=3),
            lambda: nn.PReLU(6),
            nn.Flatten,
            lambda: nn.Linear(6 * 4, 4),
            nn.GELU,
            lambda: nn.Linear(4, 3),
        ),
        (1, 6, 6),
    ),
    "transposed": (
        sequential(
            lambda: nn.ConvTranspose1d(2, 4, 3),
            lambda: nn.InstanceNorm1d(4, affine=True),
            nn.ReLU,
            lambda: nn.MaxPool1d(2),
            lambda: nn.Conv1d(4, 3, 2, bias=False),
            lambda: nn.AdaptiveAvgPool1d(1),
            nn.Flatten,
        ),
        (2, 6),
    ),
    "norms": (
        sequential(
            lambda: nn.Conv1d(1, 4, 3),
            lambda: nn.LayerNorm([4, 6]),
            lambda: nn.GroupNorm(4, 4),
            nn.Flatten,
            lambda: nn.BatchNorm1d(24),
            lambda: nn.Linear(24, 5),
            lambda: nn.RMSNorm(5),
            nn.Dropout,
            lambda: nn.Linear(5, 3),
        ),
        (1, 8),
    ),
}
NAMES = [*(case.name for case in CASES), *MADE]


def make(name: str) -> tuple[nn.Module, object]:
    """Return a network in float64 and eval mode, and a batch, the same every time."""
    for case in CASES:
        if case.name == name:
            module, _, (inputs, _) = case.make()
            return module.eval(), inputs
    network, shape = MADE[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = network().double().eval()
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.LayerNorm | nn.RMSNorm | nn.GroupNorm | nn.InstanceNorm1d):
                for tensor in layer.state_dict().values():
                    if tensor.is_floating_point():
                        tensor.uniform_(0.5, 2)
    return module, torch.randn(23, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
