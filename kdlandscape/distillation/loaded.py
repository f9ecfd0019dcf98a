"""The networks of a comparison: checkpoints by name, each as weights of the problem's network or of one of its own."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from kdlandscape.cubes.user_paths import places_of
from kdlandscape.distillation.folders import network_in
from kdlandscape.distillation.problem_files import ProblemError, made_by
from kdlandscape.distillation.problems import Problem
from kdlandscape.distillation.weight_files import CONFIG, CheckpointError, digest_of, read_weights
from kdlandscape.distillation.weight_sets import choose_weights, same_weights, state_of
from kdlandscape.landscape.params import Ravel
from kdlandscape.nearest import did_you_mean, listed

CONTROL = "control"  # the name of the independent network


class Place(NamedTuple):
    """Where a network comes from: ``name=path#weights`` taken apart; no name and no choice are empty."""

    name: str
    path: Path
    choice: str


@dataclass(frozen=True)
class Loaded:
    """A network from a checkpoint.

    Attributes
    ----------
    name
        What it is called in the result.
    problem
        The problem with this network's architecture, which may be another one than the problem's own.
    state
        Its parameters and buffers.
    weights, found
        The set of weights that was taken from the checkpoint, and all that fit.
    digest
        Of the bytes of the checkpoint.
    """

    name: str
    problem: Problem
    state: Mapping[str, Tensor]
    weights: str = "weights"
    found: tuple[str, ...] = ("weights",)
    digest: str = ""

    @property
    def model(self) -> nn.Module:
        """The architecture."""
        return self.problem.model

    def difference(self, other: "Loaded") -> str:
        """Return the first difference of two parameter spaces in words; empty where they are the same."""
        first, second = (Ravel.of(one.model).shapes for one in (self, other))
        for name in {**first, **second}:
            if first.get(name) != second.get(name):
                here, there = (tuple(shapes[name]) if name in shapes else "none" for shapes in (first, second))
                return f"their parameters differ, first in {name}: {here} in {self.name}, {there} in {other.name}"
        return ""


def place_of(text: str) -> Place:
    """Take ``name=path#weights`` apart; a path that exists as it is written stays whole."""
    name, path, choice = "", text, ""
    if not _found(path).exists() and "=" in path and os.sep not in path.partition("=")[0]:
        name, _, path = path.partition("=")
    if not _found(path).exists() and "#" in path:
        path, _, choice = path.rpartition("#")
    return Place(name, _found(path), choice)


def named_places(checkpoints: Sequence[str], control: str = "") -> dict[str, Place]:
    """Return where each network comes from, by its name: the given one, or as much of the path as tells it apart.

    Raises
    ------
    CheckpointError
        If there are fewer than two, a name is given twice, or the control's name is taken.
    """
    places = [place_of(text) for text in checkpoints]
    if len(places) < 2:
        raise CheckpointError(
            f"expected two or more checkpoints to compare, got {len(places)}: give each as a file or folder, the "
            "teacher first"
        )
    names = [place.name or _short(place, places) for place in places]
    names, every = (names, places) if not control else ([*names, CONTROL], [*places, place_of(control)])
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        first, second = (place.path for place, name in zip(every, names, strict=True) if name == twice[0])
        what = "the same checkpoint twice" if first == second else "two networks of one name"
        raise CheckpointError(
            f"expected different checkpoints, got {what}, {twice[0]} ({first}): give another file, another set of its "
            "weights as FILE#SET, or a name as NAME=FILE"
        )
    return dict(zip(names, every, strict=True))


def load_networks(
    problem: Problem,
    checkpoints: Sequence[str],
    *,
    control: str = "",
    networks: Sequence[str] = (),
    digests: Sequence[str] = (),
) -> list[Loaded]:
    """Load the networks of a comparison, and refuse what does not fit, all of it in one message.

    Parameters
    ----------
    problem
        Gives the architecture and the data.
    checkpoints
        Two or more, the teacher first: ``path``, or ``name=path#weights``. A path is a ``.safetensors`` file, a file of
        ``torch.save``, or a folder of ``transformers``, whose own network is taken where the weights do not fit that of
        the problem. ``weights`` chooses one of several sets in a file, such as ``ema``.
    control
        An independent network, which has seen neither of the others; it comes last.
    networks
        Architectures of their own, as ``name=my/problem.py:function``; the function returns a problem or a module.
    digests
        Of the bytes of each checkpoint, in this order, control last, as it was when the study was made.

    Raises
    ------
    CheckpointError
        With a line for each checkpoint that cannot be used.
    """
    places = named_places(checkpoints, control)
    known = dict(zip(places, digests, strict=False))
    own, wrong = _architectures(networks, places), list[str]()
    found: list[Loaded] = []
    for name, place in places.items():
        try:
            one = _load(name, place, problem, own.get(name))
            if known.get(name, one.digest) != one.digest:
                raise CheckpointError("its content has changed since the study was made: give the command again")
            found.append(one)
        except ProblemError as error:
            wrong.append(f"{name} ({place.path}): {error}")
    for k, one in enumerate(found):
        same = next((other.name for other in found[:k] if same_weights(one.state, other.state)), None)
        if same is not None:
            wrong.append(f"{one.name} ({places[one.name].path}): it holds the same weights as {same}; give another one")
    if wrong:
        raise CheckpointError("\n".join(wrong))
    return found


def _load(name: str, place: Place, problem: Problem, network: Callable[[], nn.Module] | None) -> Loaded:
    tree = read_weights(place.path)
    fitted = problem if network is None else replace(problem, network=network).checked()
    try:
        chosen, found = choose_weights(tree, fitted.model, place.choice or None)
        state = state_of(chosen, fitted.model)
    except CheckpointError as error:
        if network is not None or not (place.path / CONFIG).is_file():
            raise
        module = network_in(place.path, str(error))
        fitted = replace(problem, network=lambda: module).checked()
        chosen, found = choose_weights(dict(module.state_dict()), module)
        state = state_of(chosen, module)
    return Loaded(name, fitted, state, chosen.name, tuple(found), digest_of(place.path))


def _architectures(networks: Sequence[str], places: Mapping[str, Place]) -> dict[str, Callable[[], nn.Module]]:
    made: dict[str, Callable[[], nn.Module]] = {}
    for text in networks:
        name, equals, function = text.partition("=")
        if not equals or name not in places:
            raise CheckpointError(
                f"expected an architecture as NAME=my/problem.py:function with a name of {listed(places)}, got "
                f"{text!r}.{did_you_mean(name, places)}"
            )
        made[name] = _network_of(function)
    return made


def _network_of(function: str) -> Callable[[], nn.Module]:
    found: Any = made_by(function, {})
    if isinstance(found, Problem):
        return found.checked().network
    if isinstance(found, nn.Module):
        return lambda: found
    raise CheckpointError(
        f"{function}: expected it to return a kdlandscape Problem or a torch module, got {type(found).__name__}"
    )


def _found(path: str) -> Path:
    """Return a path from the working folder, or from the folder in which the command was given."""
    every = places_of(path)
    return next((one for one in every if one.exists()), every[-1])


def _short(place: Place, places: Sequence[Place]) -> str:
    """Return the last parts of a path that tell it apart from those of other files, with the chosen weights."""
    parts = _parts(place.path)
    others = [_parts(other.path) for other in places if other.path != place.path]
    count = next((k for k in range(1, len(parts)) if not any(o[-k:] == parts[-k:] for o in others)), len(parts) - 1)
    return "/".join(parts[-count:]) + (f"#{place.choice}" if place.choice else "")


def _parts(path: Path) -> tuple[str, ...]:
    return (path if path.is_dir() else path.with_suffix("")).parts
