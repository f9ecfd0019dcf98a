"""Teachers: trained once for a recipe, found again by its hash, shared by every run of a study."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
from filelock import FileLock
from torch import Tensor, nn

import kdlandscape
from kdlandscape.distillation.augment import named_views
from kdlandscape.distillation.data import cache_folder
from kdlandscape.distillation.networks import random_thetas
from kdlandscape.distillation.training import Recipe, train


def train_teachers(
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    *,
    seeds: list[int],
    augmentation: str = "none",
    folder: Path | None = None,
) -> Tensor:
    """Return independently trained networks (K, P), one a seed: own initial weights, own order of the examples.

    Parameters
    ----------
    network
        The architecture.
    inputs, targets, recipe
        The training set and the optimizer.
    seeds
        One for each teacher.
    augmentation
        Of the training inputs, by name; see `kdlandscape.distillation.augment.named_views`.
    folder
        Where trained teachers are kept; default: ``teachers`` in the cache folder. Runs that want the same teacher at
        the same time wait for the one that trains it.
    """
    return torch.stack([_teacher(network, inputs, targets, recipe, seed, augmentation, folder) for seed in seeds])


def _teacher(
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    seed: int,
    augmentation: str,
    folder: Path | None,
) -> Tensor:
    folder = folder or cache_folder() / "teachers"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_hash(network, inputs, targets, recipe, seed, augmentation)}.pt"
    with FileLock(f"{path}.lock"):
        if path.exists():
            return torch.load(path, map_location=inputs.device, weights_only=True)
        start = random_thetas(network, [seed]).to(inputs)
        generator = torch.Generator(inputs.device).manual_seed(seed)
        views = named_views(augmentation)
        theta = train(network, start, inputs, targets, recipe, generator=generator, views=views).thetas[0]
        with NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
            torch.save(theta, file)
        os.replace(file.name, path)
        return theta


def _hash(network: nn.Module, inputs: Tensor, targets: Tensor, recipe: Recipe, seed: int, augmentation: str) -> str:
    """Hash everything that the weights follow from."""
    facts = [
        str(network),
        asdict(recipe),
        seed,
        augmentation,
        inputs.device.type,
        torch.__version__,
        kdlandscape.__version__,
    ]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for tensor in (inputs, targets):
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]
