"""Many networks trained by one recipe: as one batched tensor program, or one after another where ``vmap`` cannot."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from kdlandscape.distillation.augment import Views
from kdlandscape.distillation.copies import Copies, Members, members
from kdlandscape.distillation.data import tensors_of
from kdlandscape.distillation.descent import Checkpoint, Generators, Gradient, Trained, descend
from kdlandscape.distillation.lesson import Lesson, viewed
from kdlandscape.distillation.losses import DistillationLoss, tempered_kl
from kdlandscape.distillation.own_loop import fit_each, student_loss
from kdlandscape.distillation.predictions import batched_labels, labeller
from kdlandscape.distillation.programs import Program
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.training_checks import check_students, refuse_checkpoint, refuse_views
from kdlandscape.landscape.plain_layers import plain_layers
from kdlandscape.landscape.reduction import cross_entropy, num_examples


def train(
    network: nn.Module,
    networks: Any,
    inputs: Any,
    targets: Any,
    recipe: Recipe,
    *,
    generator: Generators,
    lr_scale: Tensor | None = None,
    loss: Callable[[Tensor, Any], Tensor] = cross_entropy,
    views: Views | None = None,
    record_every: int | None = None,
    checkpoint: Checkpoint | None = None,
    chunk_size: int | None = None,
) -> Trained:
    """Train K copies of a network.

    Networks that ``vmap`` can batch are one tensor program. Others train one after another by the same recipe, and a
    warning says why: BatchNorm with running statistics, dropout, recurrent layers on some devices. Copies are in
    training mode. Random numbers of a forward pass follow the generator: each step draws a seed from it.

    Parameters
    ----------
    network
        Gives the architecture; its own weights are not used and not changed.
    networks
        The initial networks: weights (K, P), a module, a state dict, a sequence of them, or what a training gave.
    inputs, targets
        The training set: a tensor (n, ...), or a tuple or dict of arguments of the network, and what the loss takes.
        Or a ``Dataset`` or ``DataLoader`` of pairs as the inputs, and None; the batches are the recipe's.
    recipe
        Optimizer and schedule, or with ``fit`` a training loop of one's own.
    generator
        Draws the order of the examples and the views: one for all K networks, or K of them.
    lr_scale
        Factor (K,) on the learning rate of each network.
    loss
        ``loss(outputs, targets)`` with one value for each example, or each position of each example. Outputs that are
        objects are represented by their ``logits``, else by their first tensor.
    views
        Augments each batch of inputs; see `kdlandscape.distillation.augment`.
    record_every
        Stride, in steps, at which the weights are kept; default: not at all. Memory: S K P numbers.
    checkpoint
        Where to save the training, and to go on from.
    chunk_size
        Networks in one tensor program; default: all. Fewer need less memory.

    Raises
    ------
    ValueError
        If the stride is below 1, the generators are not as many as the networks, a checkpoint is of another training,
        or the network does not compute on the inputs.
    TypeError
        If networks or data are of a kind that is not listed here.
    RuntimeError
        If a loss becomes NaN or infinite, with the first such network and its epoch.
    """
    inputs, targets = tensors_of(inputs, targets, network)
    if targets is None:
        raise ValueError("expected targets beside the inputs, or a Dataset or DataLoader of pairs; got none")
    refuse_views(views, inputs)
    starts = members(network, networks).flat()
    if recipe.fit is not None:
        refuse_checkpoint(checkpoint)
        return fit_each(
            network,
            starts,
            lambda k, z, x, view, y: loss(z, y).mean(),
            (inputs, targets),
            recipe,
            generator,
            view=views,
            lr_scale=lr_scale,
            record_every=record_every,
        )
    program = Program(network, starts, inputs, generator, chunk_size)

    def objective(theta: Tensor, buffers: dict[str, Tensor], x: Any, y: Any) -> Tensor:
        return loss(program.copies.outputs(theta, x, buffers), y).mean()

    step = program.step(objective, (program.own, program.own))

    def gradient(thetas: Tensor, batch: tuple[Any, ...], draws: Generators) -> tuple[Tensor, Tensor]:
        x = batch[0] if views is None else viewed(views, batch[0], draws)
        return step(thetas, draws, x, batch[1])

    with plain_layers() if program.batched else nullcontext():
        return descend(
            gradient,
            program.networks,
            (inputs, targets),
            recipe,
            generator,
            lr_scale=lr_scale,
            record_every=record_every,
            checkpoint=checkpoint,
        )


def distill(
    network: nn.Module,
    networks: Any,
    teachers: Any,
    inputs: Any,
    recipe: Recipe,
    *,
    generator: Generators,
    temperature: float | Tensor = 1.0,
    lr_scale: Tensor | None = None,
    record_every: int | None = None,
    loss: DistillationLoss = tempered_kl,
    targets: Tensor | None = None,
    hard_weight: float | Tensor = 0.0,
    teacher_network: nn.Module | None = None,
    views: Views | None = None,
    teacher_view: str = "consistent",
    checkpoint: Checkpoint | None = None,
    chunk_size: int | None = None,
) -> Trained:
    r"""Distil K students from K teachers.

    The loss is :math:`w\, NLL(y, z_s) + (1-w)\, \tau^2 KL(\sigma(z_t/\tau) \| \sigma(z_s/\tau))` with w the
    ``hard_weight``. Students are in training mode, teachers in eval mode; how networks are batched is told in `train`.
    Teachers label each batch as it comes, by the same program as the students, so that a student equal to its teacher
    has a gradient of exactly zero (one teacher a student, same network, same view, no BatchNorm, no dropout).

    Parameters
    ----------
    network
        Gives the architecture.
    networks
        Initial students, as in `train`.
    teachers
        The teacher of each student (K, P), or the ensemble of each (K, m, P), whose prediction is the mean of its
        members' probabilities, in the same forms as the students; one module or state dict teaches all. Or a function
        ``teacher(inputs, generator) -> logits`` that labels for all students.
    inputs
        The distillation set: a tensor (n, ...), a tuple or dict of arguments, a ``Dataset`` or a ``DataLoader`` of
        pairs, whose labels stand in for ``targets``.
    recipe
        Optimizer and schedule, or with ``fit`` a training loop of one's own.
    generator
        Draws the order of the examples and the views: one for all K students, or K of them.
    temperature
        One number, or (K,).
    lr_scale
        Factor (K,) on the learning rate of each student.
    record_every
        Stride, in steps, at which the weights are kept; default: not at all. Memory: S K P numbers.
    loss
        ``loss(teacher_logits, student_logits, temperature)`` with one value for each example.
    targets, hard_weight
        Labels (n,) and their weight w in [0, 1], one number or (K,).
    teacher_network
        The teachers' architecture; default: the students'.
    views
        Augments each batch of inputs; see `kdlandscape.distillation.augment`.
    teacher_view
        What the teacher labels (Beyer et al. 2022): the student's view (``consistent``), another draw
        (``independent``) or the input itself (``fixed``).
    checkpoint
        Where to save the training, and to go on from.
    chunk_size
        Students in one tensor program; default: all. Fewer need less memory.

    Raises
    ------
    ValueError
        If there are not as many teachers as students, labels are weighed but not given, labels meet MixUp, or the
        stride is below 1.
    RuntimeError
        If a loss becomes NaN or infinite.
    """
    inputs, targets = tensors_of(inputs, targets, network)
    refuse_views(views, inputs)
    students = members(network, networks).flat()
    weights, temperatures = (_each(value, students.thetas) for value in (hard_weight, temperature))
    model = teacher_network or network
    known = teachers if _asks(teachers) else _shared(members(model, teachers), len(students))
    lesson = Lesson(known, model, loss, temperatures, weights, bool(weights.any()), views, teacher_view)
    check_students(students, lesson, targets)
    n = num_examples(inputs)
    data = (inputs, torch.zeros(n, device=students.thetas.device) if targets is None else targets)
    if recipe.fit is not None:
        refuse_checkpoint(checkpoint)
        return fit_each(
            network,
            students,
            student_loss(lesson, generator if isinstance(generator, torch.Generator) else generator[0]),
            data,
            recipe,
            generator,
            view=views,
            lr_scale=lr_scale,
            record_every=record_every,
        )
    program = Program(network, students, inputs, generator, chunk_size)
    with plain_layers() if program.batched else nullcontext():
        return descend(
            _gradient(program, lesson, chunk_size),
            program.networks,
            data,
            recipe,
            generator,
            lr_scale=lr_scale,
            record_every=record_every,
            checkpoint=checkpoint,
            facts=[temperatures, weights, *([known.thetas, *known.buffers.values()] if known is not teachers else [])],
        )


def _gradient(program: Program, lesson: Lesson, chunk_size: int | None) -> Gradient:
    """Return the mean losses of all students on a batch, and their gradients.

    Students that are one batched program have their teachers in it, so that one that equals its teacher computes the
    same bits.
    """
    copies, own = Copies(lesson.network, training=False), program.own

    def objective(
        theta: Tensor, buffers: dict[str, Tensor], z: Tensor, tau: Tensor, weight: Tensor, x: Any, y: Any
    ) -> Tensor:
        return lesson.mean_loss(z, program.copies.outputs(theta, x, buffers), tau, weight, y)

    if program.batched and isinstance(lesson.teachers, Members):
        known, labels = lesson.teachers, batched_labels(lesson.teachers, copies, own, chunk_size)
        step = program.step(
            objective, (0, 0, 0, own, own), lambda thetas, buffers, x, *others: (labels(thetas, buffers, x), *others)
        )

        def taught(x: Any, draws: Generators) -> tuple[Any, ...]:
            return known.thetas, known.buffers, x
    else:
        label = labeller(lesson.teachers, copies, own)
        shared = None if own is None and not isinstance(lesson.teachers, Members) else 0
        step = program.step(objective, (shared, 0, 0, own, own))

        def taught(x: Any, draws: Generators) -> tuple[Any, ...]:
            return (label(x, draws),)

    def gradient(thetas: Tensor, batch: tuple[Any, ...], draws: Generators) -> tuple[Tensor, Tensor]:
        x = batch[0] if lesson.views is None else viewed(lesson.views, batch[0], draws)
        given = taught(lesson.seen_by_teachers(batch[0], x, draws), draws)
        return step(thetas, draws, *given, lesson.temperatures, lesson.weights, x, batch[-1])

    return gradient


def _asks(teachers: Any) -> bool:
    return callable(teachers) and not isinstance(teachers, nn.Module)


def _shared(teachers: Members, count: int) -> Members:
    """Let one teacher teach all students."""
    if len(teachers) == 1 and teachers.thetas.ndim == 2 and count > 1:
        return teachers.map(lambda rows: rows.expand(count, *rows.shape[1:]))
    return teachers


def _each(value: float | Tensor, thetas: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=thetas.dtype, device=thetas.device).expand(len(thetas))
