"""How a network is trained: optimizer, schedule, and when to stop."""

from collections.abc import Callable
from dataclasses import Field, dataclass, fields
from inspect import signature
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, nn

from kdlandscape.summary import Summarized

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("cosine", "constant")
#: (network, inputs, targets) -> mean loss of a batch; the network may be wrapped
BatchLoss = Callable[[nn.Module, Any, Any], Tensor]
#: (network, loss, data, recipe): trains the network in place, or returns the one that counts
Fit = Callable[[nn.Module, BatchLoss, tuple[Any, Any], "Recipe"], nn.Module | None]


@dataclass(frozen=True)
class Recipe(Summarized):
    r"""An optimizer and its schedule over the whole training, as ``torch.optim`` defines them.

    After the warm-up the rate falls from ``lr`` to ``lr_end`` as :math:`lr_{end} + (lr - lr_{end})(1 + \cos(\pi u))/2`
    with u the share of the remaining steps that is done; during the warm-up it grows in equal steps to ``lr``.

    Attributes
    ----------
    epochs, batch_size
        Passes over the data, and examples a step; the last batch of an epoch may be smaller.
    lr, lr_end, schedule, warmup_epochs
        The learning rate. ``schedule="constant"`` stays at ``lr``.
    optimizer
        ``sgd`` (with ``momentum`` and ``nesterov``), ``adam`` or ``adamw`` (with ``beta1``, ``beta2``, ``eps``).
    weight_decay
        Added to the gradient, times theta; for ``adamw`` decoupled from it.
    patience, min_delta
        Early stop: a network whose mean loss over an epoch has not fallen by ``min_delta`` below its best for
        ``patience`` epochs stays as it is. Default: never.
    fit
        A training loop of one's own, ``fit(network, loss, data, recipe)``, for all that is not said here: augmentation,
        another optimizer or schedule, mixed precision, clipping, averages of the weights. It trains ``network``, which
        is in training mode, by ``loss(network, inputs, targets)``, the mean over a batch of ``data``, a pair (inputs,
        targets); for a student this loss is the distillation loss, whose teacher sees the same inputs, in its own
        precision. It follows as much of ``recipe`` as it likes, and may return another network, such as an average.
        Networks train one after another.
    """

    epochs: int = 50
    batch_size: int = 128
    lr: float = 0.1
    lr_end: float = 0.0
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0
    optimizer: str = "sgd"
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    patience: int | None = None
    min_delta: float = 0.0
    fit: Fit | None = None

    def _summary(self) -> tuple[str, dict[str, Any]]:
        return "Recipe", {one.name: getattr(self, one.name) for one in fields(self) if _says(self, one)}

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not self.lr > 0:
            raise ValueError(f"expected lr above 0, got {self.lr}")
        for name in ("momentum", "beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"expected {name} in [0, 1), got {getattr(self, name)}")
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise ValueError(f"expected {name} to be {', '.join(known)}; got {getattr(self, name)!r}")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(f"expected warmup_epochs in [0, {self.epochs}), got {self.warmup_epochs}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"expected patience of at least 1 epoch, got {self.patience}")
        if self.fit is not None:
            check_fit(self.fit)

    def rate(self, epoch: int, share: float) -> float:
        """Return the learning rate when ``share`` of the steps of an epoch (counted from 0) is done."""
        done = epoch + share
        if done < self.warmup_epochs:
            return self.lr * done / self.warmup_epochs
        if self.schedule == "constant":
            return self.lr
        u = (done - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return self.lr_end + (self.lr - self.lr_end) * (1 + cos(pi * u)) / 2


def check_fit(fit: Any) -> None:
    """Raise TypeError unless a training loop takes what it will be given."""
    form = "a function fit(network, loss, data, recipe)"
    if not callable(fit):
        raise TypeError(f"expected {form}, got {type(fit).__name__}")
    try:
        signature(fit).bind(None, None, None, None)
    except TypeError as error:
        name = getattr(fit, "__name__", "fit")
        raise TypeError(f"expected {form}, got {name}{signature(fit)}: {error}") from error


def fresh_state(thetas: Tensor, recipe: Recipe) -> dict[str, Tensor]:
    """Return the optimizer's memory before the first step: one or two tensors like thetas, and the steps taken."""
    names = ("velocity",) if recipe.optimizer == "sgd" else ("first", "second")
    return {name: torch.zeros_like(thetas) for name in names} | {"steps": torch.zeros((), dtype=torch.long)}


def direction(recipe: Recipe, thetas: Tensor, slopes: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Update the memory in place and return the move (K, P) that is subtracted after scaling by the rate."""
    state["steps"] += 1
    if recipe.weight_decay and recipe.optimizer != "adamw":
        slopes = torch.add(slopes, thetas, alpha=recipe.weight_decay)
    if recipe.optimizer == "sgd":
        velocity = torch.add(slopes, state["velocity"], alpha=recipe.momentum, out=state["velocity"])
        return torch.add(slopes, velocity, alpha=recipe.momentum) if recipe.nesterov else velocity
    first = state["first"].mul_(recipe.beta1).add_(slopes, alpha=1 - recipe.beta1)
    second = state["second"].mul_(recipe.beta2).addcmul_(slopes, slopes, value=1 - recipe.beta2)
    steps = int(state["steps"])
    root = (second / (1 - recipe.beta2**steps)).sqrt_().add_(recipe.eps)
    move = (first / (1 - recipe.beta1**steps)).div_(root)
    if recipe.weight_decay and recipe.optimizer == "adamw":
        move += recipe.weight_decay * thetas
    return move


def _says(recipe: Recipe, one: Field) -> bool:
    """Whether a setting tells a reader something: the main ones always, the others where they are not the default."""
    return (
        one.name in ("epochs", "batch_size", "lr", "optimizer", "schedule") or getattr(recipe, one.name) != one.default
    )
