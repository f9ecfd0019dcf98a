"""Image sets of the Hugging Face hub, or of local parquet files with the same schema (extra ``hf``)."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from kdlandscape.cubes.provenance import note_data
from kdlandscape.cubes.seals import cache_folder, cached

_LABELS = ("fine_label", "label")  # CIFAR-100 has coarse labels too


def load_images(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Load training and test images with their labels; the training images are also the distillation set.

    Parameters
    ----------
    name
        ``hub:<dataset>`` such as ``hub:cifar100`` or ``hub:cifar100@<revision>``, or ``parquet:<folder>`` with
        ``train*.parquet`` and ``test*.parquet``, both with one column of images and one of class labels
        (``fine_label``, ``label``, or the only one). A hub set is downloaded once; with ``HF_HUB_OFFLINE=1`` it has to
        be in the cache. Without a revision the newest one at the first use is kept in the cache folder and used from
        then on. A run's provenance says which revision, or which content of the files, it used.

    Returns
    -------
    tuple
        Train, test and distillation set: images (n, c, h, w) in [-1, 1] as float32, and labels (n,). All images of a
        set must have one size. In memory: CIFAR-100 takes 740 MB.

    Raises
    ------
    ValueError
        If a file, a split or a column is missing, or images differ in size.
    """
    from datasets import load_dataset

    kind, _, place = name.partition(":")
    if kind == "parquet":
        files = {split: sorted(map(str, Path(place).glob(f"{split}*.parquet"))) for split in ("train", "test")}
        for split, found in files.items():
            if not found:
                raise ValueError(f"expected {split}*.parquet in {place}, got none")
        note_data(name, _digest(path for found in files.values() for path in found))
        splits = {split: load_dataset("parquet", data_files=found, split="train") for split, found in files.items()}
    else:
        place, _, revision = place.partition("@")
        revision = revision or _pinned(place)
        note_data(f"hub:{place}", revision)
        loaded = load_dataset(place, revision=revision)
        splits = {split: loaded[split] for split in ("train", "test") if split in loaded}
        if len(splits) < 2:
            raise ValueError(f"expected the splits train and test in {place}, got {', '.join(loaded)}")
    train, test = (_tensors(splits[split], name) for split in ("train", "test"))
    return *train, *test, *train


def _pinned(place: str) -> str:
    """Return the revision of a hub set that was the newest when it was first used here."""

    def newest(file: BinaryIO) -> None:
        file.write(_newest(place).encode())

    return cached(cache_folder() / "data" / f"hub-{place.replace('/', '--')}.revision", newest).decode()


def _newest(place: str) -> str:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        revision = HfApi().dataset_info(place).sha
    except (OfflineModeIsEnabled, OSError) as error:
        kept = Path(constants.HF_HUB_CACHE) / f"datasets--{place.replace('/', '--')}" / "refs" / "main"
        if not kept.is_file():
            raise ValueError(
                f"expected the hub to say which revision of {place} is the newest, got {error}; name one as "
                f"hub:{place}@<revision>"
            ) from error
        revision = kept.read_text(encoding="utf-8").strip()
    if revision is None:
        raise ValueError(f"expected a revision of {place} from the hub, got none; name one as hub:{place}@<revision>")
    return revision


def _digest(paths: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]


def _tensors(rows: Any, name: str) -> tuple[Tensor, Tensor]:
    image, label = _columns(rows, name)
    images = [np.asarray(picture) for picture in rows[image]]
    shapes = {picture.shape for picture in images}
    if len(shapes) > 1:
        raise ValueError(f"expected images of one size and number of channels in {name}, got {sorted(shapes)[:3]}")
    pixels = torch.from_numpy(np.stack(images))
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.movedim(-1, 1)
    return pixels.to(torch.float32) / 127.5 - 1, torch.as_tensor(rows[label][:], dtype=torch.long)


def _columns(rows: Any, name: str) -> tuple[str, str]:
    """Return the names of the image and of the label column."""
    kinds = {column: type(feature).__name__ for column, feature in rows.features.items()}
    images = [column for column, kind in kinds.items() if kind == "Image"]
    labels = [column for column in _LABELS if column in kinds]
    labels += [column for column, kind in kinds.items() if kind == "ClassLabel" and column not in labels]
    if len(images) != 1 or not labels:
        listed = ", ".join(f"{column}: {kind}" for column, kind in kinds.items())
        raise ValueError(f"expected one column of images and one of class labels in {name}, got {listed}")
    return images[0], labels[0]
