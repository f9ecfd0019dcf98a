"""Networks of the literature for images (and a Transformer, also for signals); all train as rows of one batch.

``norm="batch"`` is BatchNorm without running statistics: networks in one batch cannot share such buffers, so it
normalizes by the batch at hand in training and in evaluation alike; evaluate on large batches.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "group": lambda channels: nn.GroupNorm(1, channels),
    "batch": lambda channels: nn.BatchNorm2d(channels, track_running_stats=False),
}


def lenet(num_features: int, num_classes: int, *, channels: int = 1, width: int = 6) -> nn.Module:
    """LeNet-5 (LeCun et al. 1998) with ReLU and average pooling, ``width`` and 16/6 width convolution channels."""
    side = image_side(num_features, channels)
    wide = width * 16 // 6
    last = (side // 2 - 4) // 2
    return nn.Sequential(
        _as_image(channels, side),
        nn.Conv2d(channels, width, 5, padding=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(width, wide, 5),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(wide * last**2, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, num_classes),
    )


class PreactivationBlock(nn.Module):
    """norm, ReLU, conv, norm, ReLU, conv, beside a shortcut that is a 1x1 convolution where the shape changes.

    He et al. 2016b; where it changes, the shortcut starts after the first ReLU.
    """

    def __init__(self, fan_in: int, fan_out: int, stride: int, norm: str) -> None:
        super().__init__()
        self.first = nn.Sequential(NORMS[norm](fan_in), nn.ReLU())
        self.branch = nn.Sequential(
            nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=norm == "none"),
            NORMS[norm](fan_out),
            nn.ReLU(),
            nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=norm == "none"),
        )
        same = stride == 1 and fan_in == fan_out
        self.shortcut = None if same else nn.Conv2d(fan_in, fan_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the stream."""
        ready = self.first(x)
        return self.branch(ready) + (x if self.shortcut is None else self.shortcut(ready))


def preact_resnet(
    num_features: int, num_classes: int, *, channels: int = 3, depth: int = 20, width: int = 16, norm: str = "group"
) -> nn.Module:
    """Pre-activation ResNet of depth 6n + 2 for small images: three stages of n blocks, widths w, 2w, 4w.

    ``norm`` is ``group`` (``GroupNorm(1, C)``, the "LayerNorm" of Stanton et al. 2021, section 6), ``batch`` or
    ``none``.
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"expected a depth of 6n + 2, such as 20, 56 or 110; got {depth}")
    if norm not in NORMS:
        raise ValueError(f"expected norm to be {', '.join(NORMS)} for a pre-activation ResNet, got {norm!r}")
    stem = nn.Conv2d(channels, width, 3, padding=1, bias=norm == "none")
    blocks: list[nn.Module] = []
    fan_in = width
    for stage in range(3):
        for block in range((depth - 2) // 6):
            fan_out = width * 2**stage
            blocks.append(PreactivationBlock(fan_in, fan_out, 2 if stage and not block else 1, norm))
            fan_in = fan_out
    return nn.Sequential(
        _as_image(channels, image_side(num_features, channels)),
        stem,
        *blocks,
        NORMS[norm](fan_in),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(fan_in, num_classes),
    )


def vgg(num_features: int, num_classes: int, *, channels: int = 3, width: int = 64, norm: str = "none") -> nn.Module:
    """VGG-16 (Simonyan & Zisserman 2015) for small images: 13 convolutions, one linear layer; no BatchNorm by default.

    A stage is pooled only while its images are larger than 1x1.
    """
    if norm not in NORMS:
        raise ValueError(f"expected norm to be {', '.join(NORMS)} for VGG, got {norm!r}")
    side = image_side(num_features, channels)
    layers: list[nn.Module] = [_as_image(channels, side)]
    fan_in = channels
    for stage, count in enumerate([2, 2, 3, 3, 3]):
        fan_out = width * min(2**stage, 8)
        for _ in range(count):
            layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), NORMS[norm](fan_out), nn.ReLU()]
            fan_in = fan_out
        if side > 1:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(fan_in, num_classes))


class Attention(nn.Module):
    """Pre-norm self-attention and a feed-forward layer, each added to the stream (n, tokens, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_qkv, self.to_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.forward_layer = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the stream after this block."""
        n, tokens, width = x.shape
        q, k, v = self.to_qkv(self.norm1(x)).view(n, tokens, 3, self.heads, -1).movedim(2, 0).transpose(2, 3)
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + self.to_out((weights @ v).transpose(1, 2).reshape(n, tokens, width))
        return x + self.forward_layer(self.norm2(x))


class Transformer(nn.Module):
    """Encoder over patches of the flattened input with learnt positions; mean over tokens, then linear."""

    def __init__(self, num_features: int, num_classes: int, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(patch, width)
        self.position = nn.Linear(num_features // patch, width, bias=False)  # a layer, so that it can be drawn afresh
        self.blocks = nn.Sequential(*[Attention(width, heads) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, C)."""
        tokens = self.embed(x.flatten(1).unflatten(1, (-1, self.patch))) + self.position.weight.T
        return self.head(self.norm(self.blocks(tokens)).mean(1))


def transformer(
    num_features: int, num_classes: int, *, width: int = 32, depth: int = 2, heads: int = 4, patch: int = 4
) -> nn.Module:
    """Small Transformer over patches of ``patch`` neighbouring numbers of a signal or a flattened image."""
    if num_features % patch or width % heads:
        raise ValueError(
            f"expected patch to divide {num_features} features and heads to divide width {width}, got {patch} and "
            f"{heads}"
        )
    return Transformer(num_features, num_classes, patch, width, depth, heads)


def image_side(num_features: int, channels: int) -> int:
    """Return the side of a square image with this many numbers."""
    side = round((num_features / channels) ** 0.5)
    if channels * side**2 != num_features:
        raise ValueError(f"expected {num_features} features to be a square image with {channels} channels")
    return side


def _as_image(channels: int, side: int) -> nn.Module:
    """Accept flat inputs and images alike."""
    return nn.Sequential(nn.Flatten(1), nn.Unflatten(1, torch.Size((channels, side, side))))
