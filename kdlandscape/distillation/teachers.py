"""Teachers: trained once for a recipe, found again by its hash, shared by every run of a study."""

import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor, nn

import kdlandscape
from kdlandscape.cubes.seals import cache_folder, cached
from kdlandscape.distillation.augment import NamedViews
from kdlandscape.distillation.networks import random_thetas
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.training import train


def train_teachers(
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    *,
    seeds: list[int],
    views: NamedViews | None = None,
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
    views
        The augmentation of the training inputs; see `kdlandscape.distillation.augment.named_views`.
    folder
        Where trained teachers are kept; default: ``teachers`` in the cache folder. Runs that want the same teacher at
        the same time wait for the one that trains it. A file that is damaged is not used: its teacher is trained again.
    """
    return torch.stack([_teacher(network, inputs, targets, recipe, seed, views, folder) for seed in seeds])


def _teacher(
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    seed: int,
    views: NamedViews | None,
    folder: Path | None,
) -> Tensor:
    folder = folder or cache_folder() / "teachers"
    path = folder / f"{_hash(network, inputs, targets, recipe, seed, views)}.pt"

    def make(file: BinaryIO) -> None:
        start = random_thetas(network, [seed]).to(inputs)
        generator = torch.Generator(inputs.device).manual_seed(seed)
        torch.save(train(network, start, inputs, targets, recipe, generator=generator, views=views).thetas[0], file)

    return torch.load(io.BytesIO(cached(path, make)), map_location=inputs.device, weights_only=True)


def _hash(
    network: nn.Module, inputs: Tensor, targets: Tensor, recipe: Recipe, seed: int, views: NamedViews | None
) -> str:
    """Hash everything that the weights follow from."""
    facts = [
        str(network),
        asdict(recipe),
        seed,
        None if views is None else asdict(views),
        inputs.device.type,
        torch.__version__,
        kdlandscape.__version__,
    ]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for tensor in (inputs, targets):
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]
