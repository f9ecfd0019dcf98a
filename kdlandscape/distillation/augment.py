"""Random views of a batch of inputs: ``views(inputs, generator)`` gives a tensor of the same shape.

Signal augmentation for MNIST-1D, MixUp for any input, and image augmentation through kornia (extra ``images``).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kdlandscape.nearest import did_you_mean

Views = Callable[[Tensor, torch.Generator], Tensor]
TEACHER_VIEWS = ("consistent", "independent", "fixed")


def mixup(inputs: Tensor, generator: torch.Generator) -> Tensor:
    r"""Return :math:`\lambda x + (1 - \lambda) x_\pi` with one :math:`\lambda \sim Beta(1, 1)` a batch.

    :math:`\pi` is a random permutation of the batch (Zhang et al. 2018). In distillation the teacher labels the mixed
    input (Stanton et al. 2021, section 5).
    """
    share = torch.rand((), generator=generator, device=generator.device).to(inputs)  # Beta(1, 1) is uniform
    return share * inputs + (1 - share) * inputs[_permutation(inputs, generator)]


def shift(inputs: Tensor, generator: torch.Generator, *, largest: int = 4) -> Tensor:
    """Rotate each signal (n, d) by up to ``largest`` places to either side."""
    n, d = inputs.shape
    steps = torch.randint(-largest, largest + 1, (n, 1), generator=generator, device=generator.device)
    places = (torch.arange(d, device=inputs.device) - steps.to(inputs.device)) % d
    return inputs.gather(1, places)


def flip(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Reverse each signal (n, d), or mirror each image (n, c, h, w) left to right, with probability one half."""
    chosen = _uniform(inputs, generator) < 0.5
    return torch.where(chosen, inputs.flip(-1), inputs)


def jitter(inputs: Tensor, generator: torch.Generator, *, scale: float = 0.3) -> Tensor:
    """Scale each input by a factor uniform in 1 ± ``scale`` and add an offset uniform in ± ``scale``."""
    factor, offset = (scale * (2 * _uniform(inputs, generator) - 1) for _ in range(2))
    return (1 + factor) * inputs + offset


def noise(inputs: Tensor, generator: torch.Generator, *, scale: float = 0.3) -> Tensor:
    """Add independent Gaussian noise of standard deviation ``scale`` to every number."""
    drawn = torch.randn(inputs.shape, generator=generator, device=generator.device)
    return inputs + scale * drawn.to(inputs)


def rotation(inputs: Tensor, generator: torch.Generator, *, degrees: float = 15.0) -> Tensor:
    """Rotate each image (n, c, h, w) by an angle uniform in ± ``degrees`` (kornia, bilinear, zeros outside)."""
    from kornia.geometry.transform import rotate

    angles = degrees * (2 * _uniform(inputs, generator).flatten() - 1)
    return rotate(inputs, angles)


def color(inputs: Tensor, generator: torch.Generator, *, scale: float = 0.4) -> Tensor:
    """Jitter brightness, contrast and (three channels) saturation of images in [-1, 1], in this order (kornia)."""
    from kornia.enhance import adjust_brightness, adjust_contrast, adjust_saturation

    amounts = [scale * (2 * _uniform(inputs, generator).flatten() - 1) for _ in range(3)]
    images = adjust_brightness((inputs + 1) / 2, amounts[0])
    images = adjust_contrast(images, 1 + amounts[1])
    if images.shape[1] == 3:
        images = adjust_saturation(images, 1 + amounts[2])
    return images * 2 - 1


def crop(inputs: Tensor, generator: torch.Generator, *, padding: int = 4) -> Tensor:
    """Pad each image (n, c, h, w) by zeros and cut out a random window of its size."""
    n, _, h, w = inputs.shape
    padded = torch.nn.functional.pad(inputs, [padding] * 4)
    top, left = (
        torch.randint(2 * padding + 1, (n, 1), generator=generator, device=generator.device).to(inputs.device)
        for _ in range(2)
    )
    rows = (top + torch.arange(h, device=inputs.device))[:, None, :, None]
    columns = (left + torch.arange(w, device=inputs.device))[:, None, None, :]
    examples = torch.arange(n, device=inputs.device)[:, None, None, None]
    channels = torch.arange(inputs.shape[1], device=inputs.device)[None, :, None, None]
    return padded[examples, channels, rows, columns]


def combined(*views: Views) -> Views:
    """Return the views applied one after another."""

    def view(inputs: Tensor, generator: torch.Generator) -> Tensor:
        for one in views:
            inputs = one(inputs, generator)
        return inputs

    return view


VIEWS: dict[str, Views] = {
    "mixup": mixup,
    "shift": shift,
    "flip": flip,
    "jitter": jitter,
    "noise": noise,
    "rotation": rotation,
    "color": color,
    "crop": crop,
}


def named_views(name: str) -> Views | None:
    """Return views by name: one of ``VIEWS``, several joined by ``+`` such as ``shift+jitter``, or ``none``."""
    if name == "none":
        return None
    parts = name.split("+")
    for part in parts:
        if part not in VIEWS:
            raise ValueError(
                f"expected an augmentation of none, {', '.join(VIEWS)}; got {part!r}.{did_you_mean(part, VIEWS)}"
            )
    return VIEWS[name] if len(parts) == 1 else combined(*(VIEWS[part] for part in parts))


def one_pass(inputs: Tensor, views: Views | None, generator: torch.Generator, *, batch_size: int = 128) -> Tensor:
    """Return the inputs as one epoch of training would see them: shuffled into batches, each batch viewed (n, ...)."""
    if views is None:
        return inputs
    order = torch.randperm(len(inputs), generator=generator, device=generator.device).to(inputs.device)
    result = torch.empty_like(inputs)
    for rows in order.split(batch_size):
        result[rows] = views(inputs[rows], generator)
    return result


def _uniform(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one number for each example, shaped to broadcast."""
    drawn = torch.rand(len(inputs), generator=generator, device=generator.device).to(inputs)
    return drawn.view(-1, *[1] * (inputs.ndim - 1))


def _permutation(inputs: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(inputs), generator=generator, device=generator.device).to(inputs.device)
