"""What a study is about: a network, its loss and its data in one object; ours by name, a user's from a file."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from kdlandscape.distillation import data
from kdlandscape.distillation.copies import Copies
from kdlandscape.distillation.data import Data, tensors_of
from kdlandscape.distillation.networks import architecture, random_thetas
from kdlandscape.distillation.networks import network as build
from kdlandscape.distillation.problem_checks import check_part
from kdlandscape.distillation.problem_files import ProblemError, made_by
from kdlandscape.distillation.recipe import Fit, check_fit
from kdlandscape.landscape.batch_norm import running_statistics
from kdlandscape.landscape.batches import preserve_rng
from kdlandscape.landscape.network import Outputs, picked
from kdlandscape.landscape.params import Ravel
from kdlandscape.landscape.reduction import cross_entropy, num_examples
from kdlandscape.summary import Summarized, count

_TRIED = 8  # examples that a problem is tried on


@dataclass(frozen=True, repr=False)
class Problem(Summarized):
    """A network, its loss, and the data.

    Attributes
    ----------
    network
        A function without arguments that makes a network with fresh initial weights, drawn from torch's global
        generator as usual. Every call gives the same architecture. Its output is logits over classes: a tensor (n, C),
        or an object that holds them.
    train, test
        Pairs of inputs and labels. Inputs are a tensor (n, ...), or a tuple or dict of the network's arguments; a
        ``Dataset`` of pairs stands for both.
    loss
        ``loss(outputs, targets)`` with one value for each example, which teachers are trained by.
    metrics
        More that counts, by name: functions like the loss, which fidelity measures teachers and students by.
    fit
        A training loop of one's own, ``fit(network, loss, data, recipe)``, for augmentation, optimizers, schedules and
        mixed precision that a `kdlandscape.Recipe` does not have; see its ``fit``. Default: the recipe's own loop.
    distill
        Inputs that students are distilled on, with labels that are only for measuring, or None; default: ``train``.
    outputs
        What of the network's output counts: a function of it, or a key, index or attribute; default: its ``logits``,
        else the first tensor.
    shape
        The shape of an example, which augmentations need; default: that of the inputs, if they are one tensor.
    name
        What the problem is called in messages.
    """

    network: Callable[[], nn.Module]
    train: Any
    test: Any
    loss: Callable[[Tensor, Any], Tensor] = cross_entropy
    metrics: Mapping[str, Callable[[Tensor, Any], Tensor]] = field(default_factory=dict)
    fit: Fit | None = None
    distill: Any = None
    outputs: Outputs = None
    shape: tuple[int, ...] | None = None
    name: str = field(default="problem", compare=False)

    def _summary(self) -> tuple[str, dict[str, Any]]:
        parts = {"train": self.train, "test": self.test, "distill": self.distill}
        sizes = {name: _size_of(part) for name, part in parts.items() if part is not None}
        known = {"network": type(self.model).__name__} if "model" in vars(self) else {}
        loss = getattr(self.loss, "__name__", type(self.loss).__name__)
        return "Problem", {"name": self.name, **known, **sizes, "loss": loss}

    @cached_property
    def model(self) -> nn.Module:
        """The architecture; its own weights mean nothing."""
        return architecture(self.network)

    @property
    def batch_norm(self) -> str:
        """What paths and planes do about BatchNorm: ``recalibrate`` for networks with running statistics."""
        return "recalibrate" if running_statistics(self.model) else "frozen"

    @property
    def same_in_training(self) -> bool:
        """Whether the network computes the same in training mode, which BatchNorm and dropout do not."""
        with preserve_rng():
            return torch.equal(self._logits(self.train[0], training=True), self._logits(self.train[0]))

    @property
    def num_classes(self) -> int:
        """C, the number of logits."""
        return self._logits(self.train[0]).shape[-1]

    def initial(self, seeds: Sequence[int]) -> Tensor:
        """Return freshly initialized weights (K, P), one row a seed."""
        return random_thetas(self.network, seeds)

    def to(self, device: torch.device | str) -> "Problem":
        """Return the same problem with its data, networks, loss and metrics on another device."""

        def moved(leaf: Any) -> Any:
            own = copy.deepcopy(leaf) if isinstance(leaf, nn.Module) else leaf  # a module moves in place
            return own.to(device) if isinstance(own, Tensor | nn.Module) else own

        parts = {name: tree_map(moved, getattr(self, name)) for name in ("train", "test", "distill", "loss")}
        metrics = tree_map(moved, dict(self.metrics))
        return replace(self, network=lambda: self.network().to(device), metrics=metrics, **parts)

    def checked(self) -> "Problem":
        """Return the problem with its data as tensors, after trying each part on a few examples.

        Raises
        ------
        ProblemError
            The first part that does not fit, with what was expected and what came.
        """
        if self.outputs is not None:
            return replace(self, network=_picking(self.network, self.outputs), outputs=None).checked()
        if self.fit is not None:
            try:
                check_fit(self.fit)
            except TypeError as error:
                raise ProblemError(f"{self.name}: its fit: {error}") from error
        made, again = self._made(), self._made()
        self._same(Ravel.of(made).shapes, Ravel.of(again).shapes, "two networks of the problem")
        parts = {name: self._pair(name, made) for name in ("train", "test")}
        parts["distill"] = parts["train"] if self.distill is None else self._pair("distill", made)
        for name in ("test", "distill"):
            self._same(_form(parts["train"][0]), _form(parts[name][0]), f"the inputs of train and of {name}")
        shape = self.shape
        if shape is None and isinstance(parts["train"][0], Tensor):
            shape = tuple(parts["train"][0].shape[1:])
        whole = replace(self, train=parts["train"], test=parts["test"], distill=parts["distill"], shape=shape)
        for name in parts:
            whole._try(name)
        return whole

    def _made(self) -> nn.Module:
        try:
            made = self.network()
        except Exception as error:
            raise ProblemError(f"{self.name}: its network() raised {type(error).__name__}: {error}") from error
        if not isinstance(made, nn.Module):
            raise ProblemError(f"{self.name}: expected network() to return a torch module, got {type(made).__name__}")
        if not any(parameter.requires_grad for parameter in made.parameters()):
            raise ProblemError(
                f"{self.name}: expected a network with a parameter to train, got none that needs a gradient"
            )
        return made

    def _pair(self, name: str, like: nn.Module) -> tuple[Any, Any]:
        given = getattr(self, name)
        first, second = given if isinstance(given, tuple | list) and len(given) == 2 else (given, None)
        try:
            inputs, targets = tensors_of(first, second, like)
        except (TypeError, ValueError) as error:
            raise ProblemError(f"{self.name}: its {name} data: {error}") from error
        if targets is None and name != "distill":
            raise ProblemError(f"{self.name}: expected {name} as a pair (inputs, targets) or a Dataset of pairs")
        return inputs, targets

    def _same(self, first: Mapping[str, Any], second: Mapping[str, Any], what: str) -> None:
        for name in {**first, **second}:
            if first.get(name) != second.get(name):
                raise ProblemError(
                    f"{self.name}: {what} differ, first in {name}: {first.get(name)} and {second.get(name)}"
                )

    def _try(self, name: str) -> None:
        """Run the network and the loss on a few examples of a part of the data."""
        inputs, targets = getattr(self, name)
        metrics = {f"its metric {key!r}": metric for key, metric in self.metrics.items()}
        try:
            found = self._logits(inputs)
        except Exception as error:
            raise ProblemError(
                f"{self.name}: its network fails on the {name} inputs ({_form(inputs)}): {error}"
            ) from error
        check_part(f"{self.name}: ", name, found, targets, {"its loss": self.loss, **metrics})

    def _logits(self, inputs: Any, *, training: bool = False) -> Tensor:
        copies = Copies(self.model, training=training)
        with torch.no_grad():
            return copies.outputs(copies.space.ravel(self.model), _few(inputs))


def problem(
    name: str,
    network: str = "mlp",
    *,
    num_train: int | None = None,
    num_fresh: int = 0,
    num_test: int = 0,
    label_noise: float = 0.0,
    seed: int = 0,
    width: int | None = None,
    depth: int | None = None,
    norm: str | None = None,
    options: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
) -> Problem:
    """Make a problem: a data set of ours with a network of ours, or a user's own.

    Parameters
    ----------
    name
        A data set; see `kdlandscape.distillation.data.load`. Or a function of the user that returns a `Problem`, as
        ``folder/file.py:function`` or ``package.module:function``; of all that a study names, only this is executed.
    network, width, depth, norm
        The architecture for a data set of ours; see `network_for`.
    num_train, num_fresh, num_test, label_noise, seed
        The data of ours; see `kdlandscape.distillation.data.load`.
    options
        Arguments of the user's function.
    device
        The device of the data and of the networks that are made.

    Raises
    ------
    ProblemError
        If the user's function cannot be found or called, returns something else, or its parts do not fit.
    ValueError
        For an unknown data set or network.
    """
    if ":" in name and not name.startswith(("hub:", "parquet:")):
        made = made_by(name, options or {})
        if not isinstance(made, Problem):
            raise ProblemError(f"{name}: expected it to return a kdlandscape Problem, got {type(made).__name__}")
        return replace(made, name=name).checked().to(device)
    if options:
        raise ProblemError(f"expected no options for {name}, a data set of ours; got {', '.join(options)}")
    loaded = data.load(
        name, num_train=num_train, num_fresh=num_fresh, num_test=num_test, label_noise=label_noise, seed=seed
    )
    ours = Problem(
        network=lambda: network_for(loaded, network, width=width, depth=depth, norm=norm),
        train=(loaded.train_inputs, loaded.train_targets),
        test=(loaded.test_inputs, loaded.test_targets),
        distill=(loaded.distill_inputs, loaded.distill_targets),
        shape=loaded.shape,
        name=name,
    )
    return ours.to(device)


def network_for(
    of: Data, name: str, *, width: int | None = None, depth: int | None = None, norm: str | None = None
) -> nn.Module:
    """Build a network by name for the inputs and classes of a data set; None leaves a setting to the network."""
    return build(
        name, of.num_features, of.num_classes, width=width, depth=depth, norm=norm, channels=of.channels, dims=of.dims
    )


def _picking(network: Callable[[], nn.Module], outputs: Outputs) -> Callable[[], nn.Module]:
    """Return a function that makes the same network, with a part of its output in place of the whole."""

    def make() -> nn.Module:
        made = network()
        if isinstance(made, nn.Module):  # the name of no parameter changes
            made.register_forward_hook(lambda module, arguments, found: picked(found, outputs))
        return made

    return make


def first_examples(tree: Any, count: int | None) -> Any:
    """Return the first examples of a tensor, or of every tensor of a tuple or dict, such as a pair; None: all."""
    return tree_map(lambda leaf: None if leaf is None else leaf[:count], tree)


def _few(tree: Any) -> Any:
    return first_examples(tree, min(_TRIED, num_examples(tree)))


def _form(inputs: Any) -> dict[str, Any]:
    """Return name -> (shape of an example, dtype) of each input."""
    leaves = {f"input {i}": leaf for i, leaf in enumerate(tree_leaves(inputs))}
    named = inputs if isinstance(inputs, Mapping) else leaves
    return {name: (tuple(leaf.shape[1:]), str(leaf.dtype).removeprefix("torch.")) for name, leaf in named.items()}


def _size_of(part: Any) -> str:
    """Return how many examples a part of the data has and what their inputs look like, as far as it says so."""
    if not isinstance(part, tuple | list):
        return count(len(part), "example") if hasattr(part, "__len__") else type(part).__name__
    tensors = [leaf for leaf in tree_leaves(part) if torch.is_tensor(leaf)]
    if not tensors:
        return type(part[0]).__name__
    return f"{count(len(tensors[0]), 'example')} of {' × '.join(map(str, tensors[0].shape[1:])) or 'one number'}"
