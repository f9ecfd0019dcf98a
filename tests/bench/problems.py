"""The problems that the benches measure: a small network (P1), a convolutional one (P2), and on a GPU larger ones."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


class Problem(NamedTuple):
    """A network in eval mode, its mean loss and its data, in float32."""

    name: str
    module: nn.Module
    loss: nn.Module
    inputs: Tensor
    targets: Tensor

    def batches(self, size: int | None = None) -> list[tuple[Tensor, Tensor]]:
        """Return the data in batches, all at once by default."""
        count = len(self.inputs) if size is None else size
        return list(zip(self.inputs.split(count), self.targets.split(count), strict=True))

    def to(self, device: str) -> "Problem":
        """Return the same problem on a device, with a network of its own."""
        return self._replace(
            module=copy.deepcopy(self.module).to(device), inputs=self.inputs.to(device), targets=self.targets.to(device)
        )

    def own(self) -> "Problem":
        """Return the same problem with a network that a peer may change."""
        return self._replace(module=copy.deepcopy(self.module))


def p1(steps: int = 300) -> Problem:
    """P1: MLP 64-128-128-10 (26 k parameters) on 1437 digits, after ``steps`` Adam steps on random batches of 64."""
    digits = load_digits()
    rows = torch.randperm(len(digits.data), generator=torch.Generator().manual_seed(0))[:1437]
    inputs = torch.tensor(digits.data / 16, dtype=torch.float32)[rows]
    targets = torch.tensor(digits.target)[rows]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    train(module, inputs, targets, steps)
    return Problem("P1", module.eval(), nn.CrossEntropyLoss(), inputs, targets)


def p2(num_examples: int = 512) -> Problem:
    """P2: ResNet-20 of width 16 (272 k parameters, BatchNorm in eval mode) on random 3x32x32 inputs."""
    return _residual("P2", lambda: ResNet(16, stages=3, blocks=3), num_examples)


def resnet18(num_examples: int = 256, width: int = 64) -> Problem:
    """ResNet-18 with the stem of CIFAR (11 M parameters, BatchNorm in eval mode) on random 3x32x32 inputs."""
    return _residual("ResNet-18", lambda: ResNet(width, stages=4, blocks=2), num_examples)


def _residual(name: str, make: Callable[[], nn.Module], num_examples: int) -> Problem:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(num_examples, 3, 32, 32, generator=generator)
    targets = torch.randint(10, (num_examples,), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make()
    with torch.no_grad():  # running statistics that fit the data
        module(inputs[:128])
    return Problem(name, module.eval(), nn.CrossEntropyLoss(), inputs, targets)


def train(module: nn.Module, inputs: Tensor, targets: Tensor, steps: int) -> None:
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (64,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(inputs[rows]), targets[rows]).backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class Block(nn.Module):
    """Two 3x3 convolutions with BatchNorm and a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm_first, self.norm_second = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.norm_first(self.first(x)))
        return torch.relu(self.norm_second(self.second(inner)) + self.shortcut(x))


class ResNet(nn.Sequential):
    """Stages of blocks, each stage twice as wide (He et al. 2016, section 4.2, with projection shortcuts)."""

    def __init__(self, width: int, *, stages: int, blocks: int, num_classes: int = 10) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
        for stage in range(stages):
            for index in range(blocks):
                layers.append(Block(channels, width * 2**stage, 2 if stage and not index else 1))
                channels = width * 2**stage
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
