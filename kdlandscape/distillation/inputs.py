"""What students are distilled on: the teacher's own data, data it never saw, and data of another kind."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from kdlandscape.distillation.data import fresh_mnist1d, load

KINDS = ("train", "held_out", "both", "fresh", "train+fresh", "ood", "noise")
_OTHER = {"mnist1d": "digits", "digits": "mnist1d", "mnist5k": "digits"}


def distillation_set(
    kind: str, name: str, *, num_train: int | None = None, num_fresh: int = 0, seed: int = 0, other: str | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return inputs to distil on, and their clean labels, which are only for measuring.

    Parameters
    ----------
    kind
        ``train``: the first ``num_train`` training inputs, which the teacher learnt. ``held_out``: as many or fewer of
        the rest, which it did not. ``both``. ``fresh``: ``num_fresh`` new examples of the same distribution (MNIST-1D
        only). ``train+fresh``: both, or ``train`` where ``num_fresh`` is 0. ``ood``: inputs of another data set,
        resampled to the shape and scaled to the mean and standard deviation of the training inputs. ``noise``: uniform
        between their least and greatest number. The last two are as many as the training inputs (or ``num_fresh``) and
        have no labels.
    name
        Data set; see `kdlandscape.distillation.data.load`.
    num_train, num_fresh, seed
        Size of the teacher's training set, size and seed of what is drawn.
    other
        Data set that ``ood`` inputs are of; default: digits (for digits: MNIST-1D).

    Raises
    ------
    ValueError
        For an unknown kind, or one that the data set cannot give.
    """
    if kind not in KINDS:
        raise ValueError(f"expected a distillation set of {', '.join(KINDS)}; got {kind!r}")
    whole = load(name)
    n = len(whole.train_inputs) if num_train is None else num_train
    own, rest = ((whole.train_inputs[rows], whole.train_targets[rows]) for rows in (slice(n), slice(n, 2 * n)))
    if kind in ("ood", "noise"):
        return _foreign(kind, own[0], num_fresh or n, seed, other or _OTHER.get(name, "digits")), None
    if kind in ("held_out", "both") and not len(rest[0]):
        raise ValueError(f"expected num_train below {n}, all training examples of {name}, to hold some out")
    parts = {"train": [own], "held_out": [rest], "both": [own, rest], "train+fresh": [own]}.get(kind)
    if kind == "fresh" or (kind == "train+fresh" and num_fresh):
        if name != "mnist1d" or num_fresh < 1:
            raise ValueError(f"expected num_fresh above 0 and mnist1d for fresh examples, got {num_fresh} and {name}")
        parts = [*(parts or []), fresh_mnist1d(num_fresh, seed)]
    assert parts is not None
    inputs, targets = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
    return inputs, targets


def _foreign(kind: str, own: Tensor, count: int, seed: int, other: str) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if kind == "noise":
        low, high = float(own.min()), float(own.max())
        return torch.rand(count, *own.shape[1:], generator=generator).to(own) * (high - low) + low
    source = load(other).train_inputs
    source = source[torch.randint(len(source), (count,), generator=generator)]
    return standardized(resampled(source, own.shape[1:]), own)


def resampled(inputs: Tensor, shape: torch.Size) -> Tensor:
    """Resample signals (n, d) or images (n, c, h, w) to another shape, linearly; a square signal counts as an image."""
    if len(shape) == 1:
        return interpolate(inputs.flatten(1)[:, None], shape[0], mode="linear", align_corners=True)[:, 0]
    side = round(inputs[0].numel() ** 0.5)
    images = inputs if inputs.ndim == 4 else inputs[:, : side**2].view(-1, 1, side, side)
    images = interpolate(images, tuple(shape[1:]), mode="bilinear", align_corners=True)
    return images.mean(1, keepdim=True).expand(-1, shape[0], -1, -1).contiguous()


def standardized(inputs: Tensor, like: Tensor) -> Tensor:
    """Scale inputs to the mean and the standard deviation, over everything, of others."""
    return (inputs - inputs.mean()) / inputs.std() * like.std() + like.mean()
