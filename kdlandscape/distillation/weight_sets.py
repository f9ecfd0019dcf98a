"""The weights of one network inside a checkpoint of a trainer: under which names, and which of several averages."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdlandscape.distillation.weight_files import CheckpointError, tensors_in
from kdlandscape.landscape.batch_norm import running_statistics
from kdlandscape.landscape.loss import COUNTER
from kdlandscape.landscape.params import Ravel, SpaceError, unwrapped
from kdlandscape.nearest import did_you_mean, listed

#: Parts of a name that wrappers of a module, or of a layer inside it, put in.
WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_COUNTERS = ("n_averaged", "num_updates")  # of averaged models, beside their weights
_NEST = 6  # mappings inside each other


@dataclass(frozen=True)
class WeightSet:
    """One set of weights in a checkpoint.

    Attributes
    ----------
    name
        Where it is: the keys of the mappings and the prefix of its names, such as ``state_dict`` or
        ``state_dict/ema_model.module``; ``weights`` for a file that holds nothing else.
    tensors
        Parameters and buffers under the names of the network; others that stand beside them under their own.
    """

    name: str
    tensors: Mapping[str, Tensor]


def choose_weights(tree: Any, network: nn.Module, choice: str | None = None) -> tuple[WeightSet, list[str]]:
    """Return the weights of a network from a checkpoint, and the names of all sets that fit it.

    Parameters
    ----------
    tree
        What `kdlandscape.distillation.weight_files.read_weights` gives.
    network
        The architecture. Prefixes (``module.``, ``model.``), names of compiled modules (``_orig_mod``) and of averaged
        ones, and the mappings in which trainers nest a state dict are understood.
    choice
        The name of a set, or a part that only one name has.

    Raises
    ------
    CheckpointError
        If no set fits: the first difference of the nearest one. If several sets differ and none is chosen.
    """
    found = distinct(fitting(tree, network))
    names = [one.name for one in found]
    if not found:
        raise CheckpointError(_difference(tree, network))
    if choice is not None:
        return _chosen(found, choice), names
    if len(found) > 1:
        raise CheckpointError(
            f"expected one set of weights, got {len(found)} that differ ({listed(names)}): choose one by its name, "
            f"as FILE#{names[0]}"
        )
    return found[0], names


def state_of(chosen: WeightSet, network: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a set in the precision of the network, after checking that nothing is missing.

    Raises
    ------
    CheckpointError
        If a parameter or a buffer is missing, unknown or of another shape, or a weight is not finite.
    """
    network, given = unwrapped(network), dict(chosen.tensors)
    space, expected = Ravel.of(network), network.state_dict()
    try:
        space.ravel(given)
    except SpaceError as error:
        raise CheckpointError(f"it is of another network: {error}") from error
    result = {}
    for name, like in (dict(network.named_buffers()) | dict(network.named_parameters())).items():
        tensor = given.get(name, given.get(next((k for k, v in space.aliases.items() if v == name), name)))
        if tensor is None:
            if name in expected and not name.endswith(COUNTER):
                raise CheckpointError(_without(name, name in running_statistics(network)))
            tensor = like.detach()
        elif tensor.shape != like.shape:
            raise CheckpointError(
                f"it is of another network: {name!r} differs: expected shape {tuple(like.shape)}, got "
                f"{tuple(tensor.shape)}"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"expected finite weights, got NaN or infinity in {name!r}")
        result[name] = tensor.detach().to(like.dtype).clone()
    return result


def fitting(tree: Any, network: nn.Module) -> list[WeightSet]:
    """Return every set in a checkpoint that has all parameters of the network, by name and shape."""
    space = Ravel.of(network)
    found = []
    for place, tensors in _nested(tree):
        prefixes = _prefixes(tensors, space)
        for prefix, _ in prefixes.most_common():
            one = _under(tensors, prefix, space)
            if all(name in one and one[name].shape == shape for name, shape in space.shapes.items()):
                others = [p for p in prefixes if p != prefix and p.startswith(prefix)]
                kept = {k: x for k, x in one.items() if k in space.shapes or not _of_others(k, prefix, others)}
                found.append(WeightSet(_named(place, prefix), kept))
    return found


def distinct(sets: Sequence[WeightSet]) -> list[WeightSet]:
    """Return the sets whose tensors differ, the first of those that are equal."""
    kept: list[WeightSet] = []
    for one in sets:
        if not any(same_weights(one.tensors, other.tensors) for other in kept):
            kept.append(one)
    return kept


def same_weights(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether two state dicts hold the same names with equal tensors."""
    return first.keys() == second.keys() and all(torch.equal(x, second[name]) for name, x in first.items())


def _chosen(found: Sequence[WeightSet], choice: str) -> WeightSet:
    exact = [one for one in found if one.name == choice]
    near = exact or [one for one in found if choice in one.name]
    if len(near) != 1:
        names = [one.name for one in found]
        raise CheckpointError(
            f"expected one of the sets of weights {listed(names)}, got {choice!r}.{did_you_mean(choice, names)}"
        )
    return near[0]


def _nested(tree: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield the tensors of every mapping in a checkpoint, under plain names; lists of tensors under their numbers."""
    if isinstance(tree, list | tuple):
        tree = {str(i): part for i, part in enumerate(tree)}
    if not isinstance(tree, Mapping):
        return
    tensors = {_plain(name): value for name, value in tensors_in(tree).items()}
    if tensors:
        yield place, tensors
    if len(place) < _NEST:
        for name, part in tree.items():
            yield from _nested(part, (*place, str(name)))


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _prefixes(tensors: Mapping[str, Tensor], space: Ravel) -> Counter[str]:
    """Count, for every prefix, how many of the parameters' names follow it in the names of the tensors."""
    known = {*map(_plain, space.shapes), *map(_plain, space.aliases)}
    counts: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        for k in range(len(parts)):
            if ".".join(parts[k:]) in known:
                counts[".".join([*parts[:k], ""])] += 1
    return counts


def _under(tensors: Mapping[str, Tensor], prefix: str, space: Ravel) -> dict[str, Tensor]:
    """Return the tensors behind a prefix under the network's own names."""
    own = {_plain(name): name for name in [*space.constants, *space.aliases, *space.shapes]}
    behind = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
    result = {own.get(name, name): x for name, x in behind.items() if name not in _COUNTERS}
    for alias, name in space.aliases.items():
        if alias in result:
            result.setdefault(name, result[alias])
    return result


def _of_others(name: str, prefix: str, others: Sequence[str]) -> bool:
    return any(f"{prefix}{name}".startswith(other) for other in others)


def _named(place: Sequence[str], prefix: str) -> str:
    return "/".join([*place, *([prefix.rstrip(".")] if prefix else [])]) or "weights"


def _difference(tree: Any, network: nn.Module) -> str:
    """Say what is different first in the set that has most of the names."""
    space = Ravel.of(network)
    counts = [(count, place, prefix, x) for place, x in _nested(tree) for prefix, count in _prefixes(x, space).items()]
    if not counts:
        names = [name for _, tensors in _nested(tree) for name in tensors][:3]
        return (
            f"it is of another network: expected {next(iter(space.shapes))!r} and {len(space.shapes) - 1} more "
            f"parameters, got {listed(names) if names else 'no tensors by name'}"
        )
    _, place, prefix, tensors = max(counts, key=lambda one: one[0])
    try:
        space.ravel(_under(tensors, prefix, space))
    except SpaceError as error:
        return f"it is of another network: {error}"
    return f"it is of another network than {type(unwrapped(network)).__name__}, in {_named(place, prefix)}"


def _without(name: str, statistic: bool) -> str:
    way = (
        "an average of the parameters alone has none: estimate them by torch.optim.swa_utils.update_bn and save again"
        if statistic
        else "save the whole state dict"
    )
    return f"expected {name!r}, got none: {way}"
