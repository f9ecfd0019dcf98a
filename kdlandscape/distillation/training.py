"""Many networks trained as one batched tensor program: gradients by ``vmap(grad)`` over the rows of theta (K, P)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from kdlandscape.distillation.augment import TEACHER_VIEWS, Views, mixup
from kdlandscape.distillation.descent import Checkpoint, Generators, Trained, descend, traced
from kdlandscape.distillation.losses import DistillationLoss, ensemble_logits, tempered_kl, with_labels
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.landscape.params import Ravel
from kdlandscape.landscape.reduction import cross_entropy

__all__ = ["Checkpoint", "Recipe", "Teacher", "Trained", "distill", "logits", "train"]

#: A teacher of any kind: (inputs (b, ...), generator for what it draws) -> logits (b, C).
Teacher = Callable[[Tensor, torch.Generator], Tensor]


def train(
    network: nn.Module,
    thetas: Tensor,
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    *,
    generator: Generators,
    lr_scale: Tensor | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    views: Views | None = None,
    record_every: int | None = None,
    checkpoint: Checkpoint | None = None,
    chunk_size: int | None = None,
) -> Trained:
    """Train K copies of a network from the rows of ``thetas`` (K, P).

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
        Draws the order of the examples and the views: one for all K networks, or K of them.
    lr_scale
        Factor (K,) on the learning rate of each network.
    loss
        ``loss(outputs, targets)`` with one value for each example.
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
        If the stride is below 1, the generators are not as many as the networks, or a checkpoint is of another
        training.
    RuntimeError
        If a loss becomes NaN or infinite, with the first such network and its epoch.
    """
    model = _Stacked(network)
    own = None if isinstance(generator, torch.Generator) else 0

    def objective(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return loss(model.outputs(theta, x), y).mean()

    step = traced(vmap(grad_and_value(objective), in_dims=(0, own, own), chunk_size=chunk_size))

    def gradient(students: Tensor, batch: tuple[Tensor, ...], draws: Generators) -> tuple[Tensor, Tensor]:
        x = batch[0] if views is None else _viewed(views, batch[0], draws)
        return step(students, x, batch[1])

    return descend(
        gradient,
        thetas,
        (inputs, targets),
        recipe,
        generator,
        lr_scale=lr_scale,
        record_every=record_every,
        checkpoint=checkpoint,
    )


def distill(
    network: nn.Module,
    thetas: Tensor,
    teachers: Tensor | Teacher,
    inputs: Tensor,
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
    ``hard_weight``. Teachers label each batch as it comes, by the same batched program as the students, so that a
    student equal to its teacher has a gradient of exactly zero (one teacher a student, same network, same view).

    Parameters
    ----------
    network
        Gives the architecture.
    thetas
        Initial students (K, P).
    teachers
        The teacher of each student (K, P), or the ensemble of each (K, m, P), whose prediction is the mean of its
        members' probabilities; or a function ``teacher(inputs, generator) -> logits`` that labels for all students.
    inputs
        The distillation set (n, ...).
    recipe
        Optimizer and schedule.
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
    weights = _each(hard_weight, thetas)
    _check(thetas, teachers, targets, weights, views, teacher_view)
    model = _Stacked(network)
    own = None if isinstance(generator, torch.Generator) else 0
    temperatures = _each(temperature, thetas)
    label = _labeller(teachers, _Stacked(teacher_network or network), own, chunk_size)
    mixed = bool(weights.any())

    def objective(theta: Tensor, teacher_logits: Tensor, tau: Tensor, weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
        outputs = model.outputs(theta, x)
        kd = loss(teacher_logits, outputs, tau)
        return (with_labels(kd, outputs, y, weight) if mixed else kd).mean()

    shared = None if own is None and callable(teachers) else 0
    step = traced(vmap(grad_and_value(objective), in_dims=(0, shared, 0, 0, own, own), chunk_size=chunk_size))

    def gradient(students: Tensor, batch: tuple[Tensor, ...], draws: Generators) -> tuple[Tensor, Tensor]:
        x = batch[0] if views is None else _viewed(views, batch[0], draws)
        seen = x if views is None or teacher_view == "consistent" else batch[0]
        if views is not None and teacher_view == "independent":
            seen = _viewed(views, batch[0], draws)
        return step(students, label(seen, draws), temperatures, weights, x, batch[-1])

    return descend(
        gradient,
        thetas,
        (inputs, torch.zeros(len(inputs), device=inputs.device) if targets is None else targets),
        recipe,
        generator,
        lr_scale=lr_scale,
        record_every=record_every,
        checkpoint=checkpoint,
        facts=[temperatures, weights, *([teachers] if isinstance(teachers, Tensor) else [])],
    )


def logits(network: nn.Module, thetas: Tensor, inputs: Tensor, *, batch_size: int | None = None) -> Tensor:
    """Return the outputs (K, n, C) of K copies of a network, weights (K, P), in eval mode. One forward pass each.

    ``batch_size`` examples at a time; default: as many as make 16 million input numbers over all copies.
    """
    if batch_size is None:
        batch_size = max(1, 2**24 // max(1, len(thetas) * inputs[0].numel()))
    program = vmap(_Stacked(network, training=False).outputs, in_dims=(0, None))
    with torch.no_grad():
        return torch.cat([program(thetas, part) for part in inputs.split(batch_size)], dim=1)


def ensemble_of(network: nn.Module, thetas: Tensor, inputs: Tensor) -> Tensor:
    """Return the logits (..., n, C) of ensembles (..., m, P): log of the mean of the members' probabilities."""
    flat = logits(network, thetas.reshape(-1, thetas.shape[-1]), inputs)
    return ensemble_logits(flat.view(*thetas.shape[:-1], *flat.shape[1:]).movedim(-3, 0))


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


def _labeller(
    teachers: Tensor | Teacher, model: _Stacked, own: int | None, chunk_size: int | None
) -> Callable[[Tensor, Generators], Tensor]:
    """Return a function that labels a batch: logits (K, b, C), or (b, C) where they are the same for all students."""
    if not isinstance(teachers, Tensor):
        teacher = teachers

        def ask(x: Tensor, draws: Generators) -> Tensor:
            with torch.no_grad():
                if isinstance(draws, torch.Generator):
                    return teacher(x, draws)
                return torch.stack([teacher(row, draw) for row, draw in zip(x, draws, strict=True)])

        return ask
    program: Callable[[Tensor, Tensor], Tensor] = model.outputs
    if teachers.ndim == 3:
        members = vmap(model.outputs, in_dims=(0, None))
        program = lambda theta, x: ensemble_logits(members(theta, x))  # noqa: E731
    label = traced(vmap(program, in_dims=(0, own), chunk_size=chunk_size))
    return lambda x, draws: label(teachers, x)


def _viewed(views: Views, x: Tensor, draws: Generators) -> Tensor:
    if isinstance(draws, torch.Generator):
        return views(x, draws)
    return torch.stack([views(row, draw) for row, draw in zip(x, draws, strict=True)])


def _each(value: float | Tensor, thetas: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=thetas.dtype, device=thetas.device).expand(len(thetas))


def _check(
    thetas: Tensor,
    teachers: Tensor | Teacher,
    targets: Tensor | None,
    weights: Tensor,
    views: Views | None,
    teacher_view: str,
) -> None:
    if isinstance(teachers, Tensor) and (len(teachers) != len(thetas) or teachers.ndim not in (2, 3)):
        raise ValueError(
            f"expected a teacher for each student: shape {tuple(thetas.shape)}, got {tuple(teachers.shape)}; "
            "repeat a shared teacher with teacher.expand(K, -1)"
        )
    if not ((weights >= 0) & (weights <= 1)).all():
        raise ValueError(f"expected hard_weight between 0 and 1, got {weights.tolist()}")
    if weights.any() and targets is None:
        raise ValueError("expected targets, the labels that hard_weight weighs; got none")
    if weights.any() and (views is mixup or getattr(views, "mixes", False)):
        raise ValueError("expected hard_weight 0 with MixUp, whose mixed inputs have no label")
    if teacher_view not in TEACHER_VIEWS:
        raise ValueError(f"expected teacher_view to be {', '.join(TEACHER_VIEWS)}; got {teacher_view!r}")
