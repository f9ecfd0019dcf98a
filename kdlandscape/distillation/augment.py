"""Random views of a batch of inputs: ``views(inputs, generator)`` gives a tensor of the same shape.

Augmentation of signals (n, d), of images (n, c, h, w) (through kornia, extra ``images``, where it resamples), and of
any inputs. `named_views` knows the shape of an example, so that the 64 numbers of a digit move as an image of 8 x 8.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

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


def shift(inputs: Tensor, generator: torch.Generator, *, largest: int | None = None) -> Tensor:
    """Move each input by up to ``largest`` places to either side.

    Signals (n, d) are rotated, by up to 4 places by default. Images (n, c, h, w) move along both axes, by up to an
    eighth of the shorter side by default; the pixels of the border are repeated.
    """
    if inputs.ndim == 4:
        n, _, h, w = inputs.shape
        most = max(1, min(h, w) // 8) if largest is None else largest
        padded = torch.nn.functional.pad(inputs, [most] * 4, mode="replicate")
        return _windows(padded, h, w, [_steps(n, 2 * most + 1, generator, inputs) for _ in range(2)])
    n, d = inputs.shape
    most = 4 if largest is None else largest
    places = (torch.arange(d, device=inputs.device) - (_steps(n, 2 * most + 1, generator, inputs) - most)[:, None]) % d
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
    return _windows(padded, h, w, [_steps(n, 2 * padding + 1, generator, inputs) for _ in range(2)])


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
_OF_IMAGES = ("rotation", "color", "crop")
_OF_PLACES = ("shift", "flip", *_OF_IMAGES)  # views for which it matters where in the example a number is


@dataclass(frozen=True)
class NamedViews:
    """Views by name, one after another, of examples of a known shape, however their numbers are laid out.

    Attributes
    ----------
    names
        Names of ``VIEWS``.
    shape
        The shape of one example: (d,) of a signal, (c, h, w) of an image.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Return views of inputs (n, ...), whose examples may be flattened."""
        if inputs[0].numel() != prod(self.shape):
            raise ValueError(f"expected inputs of examples {self.shape}, got shape {tuple(inputs.shape)}")
        viewed = inputs.reshape(-1, *self.shape)
        for name in self.names:
            viewed = VIEWS[name](viewed, generator)
        return viewed.reshape(inputs.shape)

    @property
    def mixes(self) -> bool:
        """Whether an example is mixed with others, so that it has no label of its own."""
        return "mixup" in self.names


def named_views(name: str, shape: Sequence[int]) -> NamedViews | None:
    """Return views by name.

    Parameters
    ----------
    name
        One of ``VIEWS``, several joined by ``+`` such as ``shift+jitter``, or ``none``.
    shape
        The shape of one example, such as that of `kdlandscape.distillation.data.Data`: (d,) of a signal, (c, h, w) of
        an image.

    Raises
    ------
    ValueError
        For an unknown name, or a view of images where an example is none.
    """
    if name == "none":
        return None
    names = tuple(name.split("+"))
    for part in names:
        if part not in VIEWS:
            raise ValueError(
                f"expected an augmentation of none, {', '.join(VIEWS)}; got {part!r}.{did_you_mean(part, VIEWS)}"
            )
        known = len(shape) == 3 or (len(shape) == 1 and part not in _OF_IMAGES)
        if part in _OF_PLACES and not known:
            wanted = "images (c, h, w)" if part in _OF_IMAGES else "signals (d,) or images (c, h, w)"
            raise ValueError(f"expected {wanted} to be augmented by {part}, got examples of shape {tuple(shape)}")
    return NamedViews(names, tuple(shape))


def one_pass(inputs: Tensor, views: Views | None, generator: torch.Generator, *, batch_size: int = 128) -> Tensor:
    """Return the inputs as one epoch of training would see them: shuffled into batches, each batch viewed (n, ...)."""
    if views is None:
        return inputs
    order = torch.randperm(len(inputs), generator=generator, device=generator.device).to(inputs.device)
    result = torch.empty_like(inputs)
    for rows in order.split(batch_size):
        result[rows] = views(inputs[rows], generator)
    return result


def _steps(n: int, count: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw n whole numbers from 0 to count - 1."""
    return torch.randint(count, (n, 1), generator=generator, device=generator.device).to(like.device)[:, 0]


def _windows(padded: Tensor, h: int, w: int, starts: Sequence[Tensor]) -> Tensor:
    """Cut a window of h x w out of each padded image, from a row and a column of its own."""
    rows, columns = (
        first[:, None] + torch.arange(size, device=padded.device) for first, size in zip(starts, (h, w), strict=True)
    )
    examples = torch.arange(len(padded), device=padded.device)[:, None, None, None]
    channels = torch.arange(padded.shape[1], device=padded.device)[None, :, None, None]
    return padded[examples, channels, rows[:, None, :, None], columns[:, None, None, :]]


def _uniform(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one number for each example, shaped to broadcast."""
    drawn = torch.rand(len(inputs), generator=generator, device=generator.device).to(inputs)
    return drawn.view(-1, *[1] * (inputs.ndim - 1))


def _permutation(inputs: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(inputs), generator=generator, device=generator.device).to(inputs.device)
