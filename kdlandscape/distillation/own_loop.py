"""Training by a loop of the user's own, which gets a network, its loss and the data and does the rest."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._pytree import tree_map

from kdlandscape.distillation.copies import Copies, Members, members
from kdlandscape.distillation.descent import Generators, Trained, drawn_seeds
from kdlandscape.distillation.lesson import Lesson
from kdlandscape.distillation.predictions import labeller
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.landscape.batches import preserve_rng
from kdlandscape.landscape.network import arguments, own_copy, picked
from kdlandscape.landscape.params import Ravel
from kdlandscape.landscape.reduction import num_examples

#: (number of the network, its output, inputs, their view, targets) -> mean loss of a batch
LossOf = Callable[[int, Tensor, Any, Any, Any], Tensor]


def fit_each(
    network: nn.Module,
    networks: Members,
    loss_of: LossOf,
    data: tuple[Any, Any],
    recipe: Recipe,
    generator: Generators,
    *,
    view: Callable[[Any, torch.Generator], Any] | None = None,
    lr_scale: Tensor | None = None,
    record_every: int | None = None,
) -> Trained:
    """Train networks one after another by the recipe's own loop; see `kdlandscape.distillation.training.train`.

    Each starts with torch's random state at a seed that is drawn from the generator: one generator gives all of them
    the same seed. A network whose rate is scaled to 0 is not trained.
    """
    assert recipe.fit is not None
    if record_every is not None and record_every < 1:
        raise ValueError(f"expected record_every of at least 1 step, got {record_every}")
    if isinstance(generator, Sequence) and len(generator) != len(networks):
        raise ValueError(
            f"expected one generator, or one for each of the {len(networks)} networks, got {len(generator)}"
        )
    seeds = drawn_seeds(generator, len(networks))
    draws = _each(generator, len(networks))
    made, ways, losses = [], [], []
    for k in range(len(networks)):
        asked = _Asked(loss_of, k, view, draws[k], num_examples(data))
        one = _loaded(network, networks, k)
        way = _Way(one, record_every)
        scale = 1.0 if lr_scale is None else float(lr_scale[k])
        if scale:
            with preserve_rng(), way.followed(), torch.enable_grad():
                torch.manual_seed(seeds[k])
                one = _fitted(one, asked, data, _scaled(recipe, scale))
        made.append(one)
        ways.append(way)
        losses.append(asked.each_pass(recipe.epochs))
    length = max(map(len, losses))
    rows = torch.tensor([row + [torch.nan] * (length - len(row)) for row in losses]).T.to(networks.thetas)
    trained = members(network, made)
    return Trained(trained, rows, *(() if record_every is None else _joined(ways, trained.thetas)))


def _fitted(network: nn.Module, asked: "_Asked", data: tuple[Any, Any], recipe: Recipe) -> nn.Module:
    """Run the user's loop and return the network that counts."""
    assert recipe.fit is not None
    found = recipe.fit(network, asked, data, recipe)
    if not (found is None or isinstance(found, nn.Module)):
        raise TypeError(f"expected fit to return a network, or nothing, got {type(found).__name__}")
    asked.check(recipe.fit)
    return network if found is None else found


def student_loss(lesson: Lesson, draws: torch.Generator) -> LossOf:
    """Return the distillation loss of student k on a batch; see `kdlandscape.distillation.training.distill`."""
    copies, teachers = Copies(lesson.network, training=False), lesson.teachers
    known = isinstance(teachers, Members)

    def of_student(k: int, z: Tensor, x: Any, view: Any, y: Any) -> Tensor:
        seen = lesson.seen_by_teachers(x, view, draws)
        one = teachers[k : k + 1] if isinstance(teachers, Members) else teachers
        with torch.autocast(z.device.type, enabled=False), torch.no_grad():
            labels = labeller(one, copies, None)(seen, draws)
        return lesson.mean_loss(labels[0] if known else labels, z, lesson.temperatures[k], lesson.weights[k], y)

    return of_student


class _Asked:
    """The loss that the user's loop is given: ``loss(network, inputs, targets)``, the mean over a batch."""

    def __init__(self, loss_of: LossOf, number: int, view: Any, draws: torch.Generator, count: int) -> None:
        self._loss_of, self._number, self._view, self._draws, self._count = loss_of, number, view, draws, count
        self._seen: list[tuple[int, Tensor]] = []

    def __call__(self, network: nn.Module, inputs: Any, targets: Any) -> Tensor:
        x = inputs if self._view is None else self._view(inputs, self._draws)
        by_place, by_name = arguments(x)
        found = picked(network(*by_place, **by_name))
        value = self._loss_of(self._number, found, inputs, x, targets)
        if torch.is_grad_enabled():  # what a loop validates by is no step
            self._seen.append((num_examples(inputs), value.detach()))
        return value

    def check(self, fit: Any) -> None:
        """Refuse a loop that trained by something else, or went astray."""
        name = getattr(fit, "__name__", "fit")
        if not self._seen:
            raise ValueError(
                f"expected {name} to train by the loss that it gets, loss(network, inputs, targets); it never asked "
                "for it"
            )
        last = float(self._seen[-1][1])
        if last != last or abs(last) == float("inf"):
            raise RuntimeError(
                f"the loss of network {self._number} became {last} in {name}: lower its rate, or look at the inputs"
            )

    def each_pass(self, epochs: int) -> list[float]:
        """Return the mean loss in each pass over as many examples as the data have; NaN where there was none."""
        sums: list[list[float]] = []
        done = 0
        for count, value in self._seen:
            number = done // self._count
            sums += [[0.0, 0.0]] * (number + 1 - len(sums))
            sums[number] = [sums[number][0] + count * float(value), sums[number][1] + count]
            done += count
        means = [total / count if count else torch.nan for total, count in sums]
        return means + [torch.nan] * (epochs - len(means))


class _Way:
    """The weights of a network at a stride of the steps of any optimizer that moves it."""

    def __init__(self, network: nn.Module, every: int | None) -> None:
        self._network, self._every, self.taken = network, every, 0
        self._space = Ravel.of(network)
        self._own = {id(parameter) for parameter in network.parameters()}
        self.kept = {0: self._theta()} if every else {}

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Count the steps that are taken meanwhile."""
        if self._every is None:
            yield
            return
        handle = register_optimizer_step_post_hook(self._count)
        try:
            yield
        finally:
            handle.remove()

    def _count(self, optimizer: Optimizer, arguments: Any, settings: Any) -> None:
        if any(id(parameter) in self._own for group in optimizer.param_groups for parameter in group["params"]):
            self.taken += 1
            if self._every and self.taken % self._every == 0:
                self.kept[self.taken] = self._theta()

    def _theta(self) -> Tensor:
        return self._space.ravel(self._network).clone()


def _joined(ways: Sequence[_Way], ends: Tensor) -> tuple[tuple[int, ...], Tensor]:
    """Return the recorded steps (S,) and the weights there (S, K, P); a network that was not trained stays."""
    last = max(way.taken for way in ways)
    if any(way.taken not in (0, last) for way in ways):
        raise ValueError(f"expected as many steps of every network to record, got {[way.taken for way in ways]}")
    steps = sorted({step for way in ways for step in way.kept} | {last})
    inner = [torch.stack([way.kept.get(step, end) for way, end in zip(ways, ends, strict=True)]) for step in steps[:-1]]
    return tuple(steps), torch.stack([*inner, ends])


def shuffled(data: tuple[Any, Any], batch_size: int) -> Iterator[tuple[Any, Any]]:
    """Yield the batches ``(inputs, targets)`` of one epoch in an order drawn by torch's global generator.

    For a training loop of one's own: inputs and targets are tensors, or tuples and dicts of tensors, that share their
    first axis.
    """
    for rows in torch.randperm(num_examples(data)).split(batch_size):
        yield tree_map(lambda leaf, rows=rows: leaf[rows.to(leaf.device)], data)


def _loaded(network: nn.Module, networks: Members, k: int) -> nn.Module:
    """Return a copy of the architecture in training mode that holds the weights and buffers of one network."""
    one = own_copy(network).train()
    own = dict(one.named_parameters()) | dict(one.named_buffers())
    with torch.no_grad():
        for name, tensor in networks.states[k].items():
            own[name].copy_(tensor)
    return one


def _scaled(recipe: Recipe, scale: float) -> Recipe:
    return recipe if scale == 1 else replace(recipe, lr=recipe.lr * scale, lr_end=recipe.lr_end * scale)


def _each(generator: Generators, count: int) -> list[torch.Generator]:
    if not isinstance(generator, torch.Generator):
        return list(generator)
    states = [generator.get_state()] * count  # every network sees the same views
    return [torch.Generator(generator.device).set_state(state) for state in states]
