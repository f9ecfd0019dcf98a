"""Teachers: trained once for a recipe, found again by its hash, shared by every run of a study."""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

import kdlandscape
from kdlandscape.cubes.seals import cache_folder, cached
from kdlandscape.distillation.augment import NamedViews
from kdlandscape.distillation.copies import Copies, Members
from kdlandscape.distillation.data import tensors_of
from kdlandscape.distillation.networks import Architecture, architecture, random_thetas
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.training import train
from kdlandscape.landscape.batches import preserve_rng
from kdlandscape.landscape.params import Ravel
from kdlandscape.landscape.reduction import cross_entropy


def train_teachers(
    network: Architecture,
    inputs: Any,
    targets: Any,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    loss: Callable[[Tensor, Any], Tensor] = cross_entropy,
    views: NamedViews | None = None,
    folder: Path | None = None,
) -> Members:
    """Return independently trained networks (K, P), one a seed: own initial weights, own order of the examples.

    Parameters
    ----------
    network
        The architecture, or a function that makes a network with fresh initial weights.
    inputs, targets, recipe
        The training set and the optimizer, as in `kdlandscape.distillation.training.train`.
    seeds
        One for each teacher.
    loss
        ``loss(outputs, targets)`` with one value for each example.
    views
        The augmentation of the training inputs; see `kdlandscape.distillation.augment.named_views`.
    folder
        Where trained teachers are kept; default: ``teachers`` in the cache folder. Runs that want the same teacher at
        the same time wait for the one that trains it. A file that is damaged is not used: its teacher is trained again.
        Teachers are the same if all that they follow from is: the data, the recipe, the initial weights, and what the
        network and the loss make of the first examples (to 4 digits). Those of a training loop of one's own (``fit`` of
        the recipe) are trained each time, since nobody can tell whether a loop is still the same.
    """
    model = architecture(network)
    inputs, targets = tensors_of(inputs, targets, model)
    starts = random_thetas(network, seeds).to(next(model.parameters()))
    each = []
    for seed, start in zip(seeds, starts, strict=True):

        def make(file: BinaryIO, seed: int = seed, start: Tensor = start) -> None:
            generator = torch.Generator(start.device).manual_seed(seed)
            trained = train(model, start, inputs, targets, recipe, generator=generator, loss=loss, views=views)
            one = {"theta": trained.thetas[0], "buffers": trained.members[0].buffers}
            torch.save(tree_map(torch.Tensor.cpu, one), file)

        content = io.BytesIO()
        if recipe.fit is None:
            name = _hash(model, start, inputs, targets, recipe, seed, loss, views)
            content = io.BytesIO(cached((folder or cache_folder() / "teachers") / f"{name}.pt", make))
        else:
            make(content)
            content.seek(0)
        kept = torch.load(content, map_location="cpu", weights_only=True)
        each.append(tree_map(lambda leaf, to=start.device: leaf.to(to), kept))
    buffers = {key: torch.stack([one["buffers"][key] for one in each]) for key in each[0]["buffers"]}
    return Members(torch.stack([one["theta"] for one in each]), buffers, Ravel.of(model))


def _hash(
    model: nn.Module,
    start: Tensor,
    inputs: Any,
    targets: Any,
    recipe: Recipe,
    seed: int,
    loss: Callable[[Tensor, Any], Tensor],
    views: NamedViews | None,
) -> str:
    """Hash everything that the weights follow from."""
    facts = [
        str(model),
        asdict(recipe),
        seed,
        None if views is None else asdict(views),
        start.device.type,
        torch.__version__,
        kdlandscape.__version__,
        _behaviour(model, start, inputs, targets, loss),
    ]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for tensor in (start, *tree_leaves((inputs, targets))):
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def _behaviour(
    model: nn.Module, start: Tensor, inputs: Any, targets: Any, loss: Callable[[Tensor, Any], Tensor]
) -> list[str]:
    """Return outputs and losses of the first examples in both modes, which tell one forward or loss from another."""
    found = []
    x, y = tree_map(lambda leaf: leaf[:_TOLD], (inputs, targets))
    for training in (True, False):
        copies = Copies(model, training=training)
        with preserve_rng(), torch.no_grad():
            torch.manual_seed(0)
            z = copies.outputs(start, x)
            found += [f"{float(number):.3e}" for number in (*z.flatten(), *loss(z, y).flatten())]
    return found


_TOLD = 4  # examples
