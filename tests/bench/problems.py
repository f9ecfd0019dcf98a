"""The two problems every bench script measures: a small network (P1) and a convolutional one (P2)."""

import copy
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


class Problem(NamedTuple):
    """A network in eval mode, its mean loss and its data, on the CPU in float32."""

    name: str
    module: nn.Module
    loss: nn.Module
    inputs: Tensor
    targets: Tensor

    def batches(self, size: int | None = None) -> list[tuple[Tensor, Tensor]]:
        """Return the data in batches, all at once by default."""
        count = len(self.inputs) if size is None else size
        return list(zip(self.inputs.split(count), self.targets.split(count), strict=True))

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
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(num_examples, 3, 32, 32, generator=generator)
    targets = torch.randint(10, (num_examples,), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = ResNet20()
    with torch.no_grad():  # running statistics that fit the data
        module(inputs[:128])
    return Problem("P2", module.eval(), nn.CrossEntropyLoss(), inputs, targets)


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


class ResNet20(nn.Sequential):
    """Nine blocks in three stages (He et al. 2016, section 4.2, with projection shortcuts)."""

    def __init__(self, width: int = 16, num_classes: int = 10) -> None:
        stem = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        blocks, channels = [], width
        for stage in range(3):
            for index in range(3):
                stride = 2 if stage and not index else 1
                blocks.append(Block(channels, width * 2**stage, stride))
                channels = width * 2**stage
        super().__init__(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
