"""Many networks trained as one batched tensor program: gradients by ``vmap(grad)`` over the rows of theta (K, P)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from kdlandscape.distillation.losses import tempered_kl
from kdlandscape.landscape.params import Ravel
from kdlandscape.landscape.reduction import cross_entropy


@dataclass(frozen=True)
class Recipe:
    r"""Stochastic gradient descent with momentum and a cosine schedule over the whole training.

    The rate falls from ``lr`` to ``lr_end`` as :math:`lr_{end} + (lr - lr_{end})(1 + \cos(\pi s/S))/2` at step s of S.
    """

    epochs: int = 50
    batch_size: int = 128
    lr: float = 0.1
    lr_end: float = 0.0
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not self.lr > 0:
            raise ValueError(f"expected lr above 0, got {self.lr}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"expected momentum in [0, 1), got {self.momentum}")


@dataclass(frozen=True)
class Trained:
    """What came out of a training.

    Attributes
    ----------
    thetas
        Final weights (K, P).
    losses
        The mean loss (epochs, K) seen during each epoch.
    steps, trajectory
        Where a stride was asked for: the recorded steps (S,) from 0, the initial weights, to the last one, and the
        weights there (S, K, P).
    """

    thetas: Tensor
    losses: Tensor = field(repr=False)
    steps: tuple[int, ...] = field(default=(), repr=False)
    trajectory: Tensor | None = field(default=None, repr=False)


def train(
    network: nn.Module,
    thetas: Tensor,
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    *,
    generator: torch.Generator,
    lr_scale: Tensor | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    record_every: int | None = None,
) -> Trained:
    """Train K copies of a network from the rows of ``thetas`` (K, P), all on the same batches.

    Parameters
    ----------
    network
        Gives the architecture; its own weights are not used and not changed.
    thetas
        Initial weights (K, P).
    inputs, targets
        The training set, (n, ...) and (n,).
    recipe
        Optimizer and schedule.
    generator
        Draws the order of the examples, one order for all K networks.
    lr_scale
        Factor (K,) on the learning rate of each network.
    loss
        ``loss(outputs, targets)`` with one value for each example.
    record_every
        Stride, in steps, at which the weights are kept; default: not at all. Memory: S K P numbers.

    Raises
    ------
    ValueError
        If the stride is below 1.
    RuntimeError
        If a loss becomes NaN or infinite, with the first such network and its epoch.
    """
    model = _Stacked(network)

    def objective(theta: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        return loss(model.outputs(theta, batch[0]), batch[1]).mean()

    gradient = vmap(grad_and_value(objective), in_dims=(0, None))
    return _descend(gradient, thetas, (inputs, targets), recipe, generator, lr_scale, record_every)


def distill(
    network: nn.Module,
    thetas: Tensor,
    teachers: Tensor,
    inputs: Tensor,
    recipe: Recipe,
    *,
    generator: torch.Generator,
    temperature: float | Tensor = 1.0,
    lr_scale: Tensor | None = None,
    record_every: int | None = None,
) -> Trained:
    r"""Distil K students from K teachers of the same architecture, all on the same batches.

    The loss is :math:`\tau^2 KL(\sigma(z_t/\tau) \| \sigma(z_s/\tau))`. Teachers label each batch as it comes, by the
    same batched program as the students, so that a student equal to its teacher has a gradient of exactly zero.

    Parameters
    ----------
    network
        Gives the architecture.
    thetas, teachers
        Initial students and their teachers, (K, P) each.
    inputs
        The distillation set (n, ...), unlabelled.
    recipe
        Optimizer and schedule.
    generator
        Draws the order of the examples, one order for all students.
    temperature
        One number, or (K,).
    lr_scale
        Factor (K,) on the learning rate of each student.
    record_every
        Stride, in steps, at which the weights are kept; default: not at all. Memory: S K P numbers.

    Raises
    ------
    ValueError
        If there are not as many teachers as students, or the stride is below 1.
    RuntimeError
        If a loss becomes NaN or infinite.
    """
    if teachers.shape != thetas.shape:
        raise ValueError(
            f"expected a teacher for each student: shape {tuple(thetas.shape)}, got {tuple(teachers.shape)}; "
            "repeat a shared teacher with teacher.expand(K, -1)"
        )
    model = _Stacked(network)
    temperatures = torch.as_tensor(temperature, dtype=thetas.dtype, device=thetas.device).expand(len(thetas))

    def objective(theta: Tensor, teacher_logits: Tensor, tau: Tensor, x: Tensor) -> Tensor:
        return tempered_kl(teacher_logits, model.outputs(theta, x), tau).mean()

    label = vmap(model.outputs, in_dims=(0, None))
    step = vmap(grad_and_value(objective), in_dims=(0, 0, 0, None))

    def gradient(students: Tensor, batch: tuple[Tensor]) -> tuple[Tensor, Tensor]:
        return step(students, label(teachers, batch[0]), temperatures, batch[0])

    return _descend(gradient, thetas, (inputs,), recipe, generator, lr_scale, record_every)


def logits(network: nn.Module, thetas: Tensor, inputs: Tensor) -> Tensor:
    """Return the outputs (K, n, C) of K copies of a network, weights (K, P), in eval mode. One forward pass each."""
    with torch.no_grad():
        return vmap(_Stacked(network, training=False).outputs, in_dims=(0, None))(thetas, inputs)


class _Stacked:
    """A network as a pure function of theta."""

    def __init__(self, network: nn.Module, training: bool = True) -> None:
        if any(isinstance(buffer, Tensor) for buffer in network.buffers()):
            raise ValueError(
                f"{type(network).__name__} has buffers (running statistics), which students in one batch cannot share: "
                "use LayerNorm, GroupNorm(1, C) or no normalization"
            )
        self.network, self.training = network, training
        self.space = Ravel.of(network)

    def outputs(self, theta: Tensor, inputs: Tensor) -> Tensor:
        return functional_call(self.network, self.space.unravel(theta), (inputs,))


def _descend(
    gradient: Callable[[Tensor, Any], tuple[Tensor, Tensor]],
    thetas: Tensor,
    data: tuple[Tensor, ...],
    recipe: Recipe,
    generator: torch.Generator,
    lr_scale: Tensor | None,
    record_every: int | None,
) -> Trained:
    """Run SGD as torch.optim.SGD defines it, on all rows at once."""
    if record_every is not None and record_every < 1:
        raise ValueError(f"expected record_every of at least 1 step, got {record_every}")
    thetas, velocity = thetas.clone(), torch.zeros_like(thetas)
    scale = torch.ones(len(thetas)) if lr_scale is None else lr_scale
    scale = scale.to(thetas)[:, None]
    n = len(data[0])
    steps_per_epoch = -(-n // recipe.batch_size)
    last = recipe.epochs * steps_per_epoch
    kept = {} if record_every is None else {0: thetas.clone()}
    losses = torch.zeros(recipe.epochs, len(thetas), dtype=thetas.dtype, device=thetas.device)
    for epoch in range(recipe.epochs):
        for step, rows in enumerate(_order(n, recipe.batch_size, generator)):
            slopes, values = gradient(thetas, tuple(tensor[rows] for tensor in data))
            losses[epoch] += values * (len(rows) / n)
            if recipe.weight_decay:
                slopes = slopes + recipe.weight_decay * thetas
            velocity.mul_(recipe.momentum).add_(slopes)
            move = slopes + recipe.momentum * velocity if recipe.nesterov else velocity
            done = (epoch + step / steps_per_epoch) / recipe.epochs
            lr = recipe.lr_end + (recipe.lr - recipe.lr_end) * (1 + cos(pi * done)) / 2
            thetas -= lr * scale * move
            taken = epoch * steps_per_epoch + step + 1
            if record_every is not None and (taken % record_every == 0 or taken == last):
                kept[taken] = thetas.clone()
        _refuse_divergence(losses[epoch], epoch)
    return Trained(thetas, losses, tuple(kept), torch.stack(list(kept.values())) if kept else None)


def _order(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    return iter(torch.randperm(n, generator=generator, device=generator.device).split(batch_size))


def _refuse_divergence(losses: Tensor, epoch: int) -> None:
    bad = (~torch.isfinite(losses)).nonzero().flatten().tolist()
    if bad:
        raise RuntimeError(
            f"the loss of network {bad[0]} of {len(losses)} became {float(losses[bad[0]])} in epoch {epoch + 1}: "
            "lower lr, or look at the inputs"
        )
