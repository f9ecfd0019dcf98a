"""One arm of a distillation study: students of several seeds, temperatures and hard weights as one batch.

Everything has the leading axes (role, seed, temperature, hard weight): role 0 is the student of the teacher, role 1 the
*independent student*, distilled by the same recipe from an independent teacher. What both agree on is no fidelity.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from kdlandscape.cubes.variables import variable
from kdlandscape.distillation.augment import NamedViews, Views
from kdlandscape.distillation.comparison import excess, fidelity
from kdlandscape.distillation.copies import Members, members
from kdlandscape.distillation.descent import Checkpoint
from kdlandscape.distillation.losses import DistillationLoss, tempered_kl
from kdlandscape.distillation.metrics import confidence_slope, invariance_agreement
from kdlandscape.distillation.networks import Architecture, random_thetas
from kdlandscape.distillation.predictions import Teacher, ensemble_of, logits
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.teachers import train_teachers
from kdlandscape.distillation.training import distill
from kdlandscape.landscape.reduction import cross_entropy, label_of, num_examples

_ROLES = 2
_AXES = ("seed", "temperature", "hard_weight")
_PER_SEED = 1000  # numbers kept apart for the networks of one seed


def teacher_seed(seed: int, role: int, member: int) -> int:
    """Return the seed that a member of a teacher is trained with, different for every network of a study."""
    return _PER_SEED * seed + _ROLES * member + role


def teacher_groups(
    network: Architecture,
    inputs: Any,
    targets: Any,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    ensemble_size: int = 1,
    loss: Callable[[Tensor, Any], Tensor] = cross_entropy,
    views: NamedViews | None = None,
) -> Members:
    """Return trained teachers (role, seed, m, P): for every seed m members, and m independent ones.

    Each is trained once and kept; see `kdlandscape.distillation.teachers.train_teachers`.
    """
    order = [teacher_seed(s, role, i) for role in range(_ROLES) for s in seeds for i in range(ensemble_size)]
    trained = train_teachers(network, inputs, targets, recipe, seeds=order, loss=loss, views=views)
    return trained.map(lambda rows: rows.view(_ROLES, len(seeds), ensemble_size, *rows.shape[1:]))


def initial_students(network: Architecture, *, seeds: Sequence[int], init: str = "random") -> Tensor:
    """Return initial weights (role, seed, P): the same random ones for both roles, or each teacher's own initial ones.

    Parameters
    ----------
    network, seeds
        The students' architecture, and one seed for each pair.
    init
        ``random`` or ``teacher`` (Stanton et al. 2021, table 1; the first member's).
    """
    if init not in ("random", "teacher"):
        raise ValueError(f"expected init to be random or teacher, got {init!r}")
    order = [
        teacher_seed(s, role, 0) if init == "teacher" else 1_000_000_000 + s for role in range(_ROLES) for s in seeds
    ]
    return random_thetas(network, order).view(_ROLES, len(seeds), -1)


def random_teacher(num_classes: int) -> Teacher:
    """Return a teacher that labels every batch by fresh standard normal logits (Mason-Williams et al. 2025)."""

    def teacher(inputs: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.randn(len(inputs), num_classes, generator=generator, device=generator.device)
        return drawn.to(inputs)

    return teacher


def distil_arm(
    network: nn.Module,
    init: Tensor,
    teachers: Tensor | Members | Teacher,
    inputs: Any,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    temperature: Sequence[float] = (1.0,),
    hard_weight: Sequence[float] = (0.0,),
    targets: Tensor | None = None,
    loss: DistillationLoss = tempered_kl,
    teacher_network: nn.Module | None = None,
    views: Views | None = None,
    teacher_view: str = "consistent",
    checkpoint: Checkpoint | None = None,
    chunk_size: int | None = None,
) -> Members:
    """Distil all students of an arm in one batch; each seed has its own order of the examples, shared by both roles.

    Parameters
    ----------
    network, init
        The students' architecture and initial weights (role, seed, P).
    teachers
        Networks (role, seed, m, P), or a function that labels for all.
    inputs, recipe
        The distillation set, the optimizer.
    seeds, temperature, hard_weight
        Coordinates of the students' axes.
    targets
        Labels (n,); they are used only where a hard weight is above 0.
    loss, teacher_network, views, teacher_view, checkpoint, chunk_size
        As in `kdlandscape.distillation.training.distill`.

    Returns
    -------
    Members
        Networks (role, seed, temperature, hard weight, P).
    """
    shape = (_ROLES, len(seeds), len(temperature), len(hard_weight))
    device = init.device
    every_seed = torch.arange(shape[1]).view(1, -1, 1, 1).expand(shape).flatten().tolist()
    tau = torch.tensor(list(temperature)).view(1, 1, -1, 1).expand(shape).flatten()
    weight = torch.tensor(list(hard_weight)).view(1, 1, 1, -1).expand(shape).flatten()
    if isinstance(teachers, Tensor | Members):
        known = members(teacher_network or network, teachers)
        single = known.thetas.shape[2] == 1
        teachers = known.map(lambda rows: _rows(rows[:, :, 0] if single else rows, shape))
    trained = distill(
        network,
        _rows(init, shape),
        teachers,
        inputs,
        recipe,
        generator=[torch.Generator(device).manual_seed(int(seeds[i])) for i in every_seed],
        temperature=tau,
        hard_weight=weight,
        targets=targets if weight.any() else None,
        loss=loss,
        teacher_network=teacher_network,
        views=views,
        teacher_view=teacher_view,
        checkpoint=checkpoint,
        chunk_size=chunk_size,
    )
    return trained.members.map(lambda rows: rows.view(*shape, *rows.shape[1:]))


def arm_fidelity(
    network: nn.Module,
    students: Tensor | Members,
    inputs: Any,
    targets: Tensor | None,
    teachers: Tensor | Members,
    teacher_network: nn.Module,
    *,
    metrics: Mapping[str, Callable[[Tensor, Any], Tensor]] | None = None,
) -> xr.Dataset:
    """Compare students with their teachers, beside the independent students with the same teachers.

    Parameters
    ----------
    network, students
        Students (role, seed, temperature, hard weight, P).
    inputs, targets
        What to compare on; without labels the numbers that need them are NaN.
    teachers, teacher_network
        (role, seed, m, P). Role 1 is not asked.
    metrics
        As in `kdlandscape.fidelity`.

    Returns
    -------
    xarray.Dataset
        Over ``seed``, ``temperature`` and ``hard_weight``: all that `kdlandscape.distillation.comparison.fidelity` and
        `excess` give, and ``confidence_slope``.
    """
    z_t = ensemble_of(teacher_network, teachers[0], inputs)[:, None, None]
    z_s = logits(network, students, inputs)
    known = torch.zeros(z_s.shape[-2], dtype=torch.long, device=z_s.device) if targets is None else targets
    found, control = (fidelity(z_t, z, known, metrics=metrics, dims=_AXES) for z in z_s)
    found = found.merge(excess(found, control))
    if targets is None:
        blind = fidelity(z_t, z_s[0], dims=_AXES)
        seen = {*blind, *excess(blind, fidelity(z_t, z_s[1], dims=_AXES))}
        found = found.assign({name: found[name].where(False) for name in found if name not in seen})
    slope = confidence_slope(z_t, z_s[0]).cpu()
    return found.assign(confidence_slope=variable(_AXES, slope, *label_of(confidence_slope)))


def arm_invariance(
    network: nn.Module,
    students: Tensor | Members,
    inputs: Tensor,
    teachers: Tensor | Members,
    teacher_network: nn.Module,
    views: Views,
    *,
    generator: torch.Generator,
) -> xr.DataArray:
    """Return the invariance agreement of students and teachers under views, over seed, temperature and hard weight."""
    pairs = []
    for x in (inputs, views(inputs, generator)):
        z_t = ensemble_of(teacher_network, teachers[0], x)[:, None, None]
        pairs.append((z_t, logits(network, students[0], x)))
    share = invariance_agreement(pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1])
    return xr.DataArray(variable(_AXES, share.cpu(), *label_of(invariance_agreement)))


def epochs_for(steps: int, inputs: Any, batch_size: int) -> int:
    """Return how many epochs over the inputs make about so many steps, at least one."""
    return max(1, round(steps / -(-num_examples(inputs) // batch_size)))


def steps_in(recipe: Recipe, inputs: Any) -> int:
    """Return how many steps a recipe takes on the inputs."""
    return recipe.epochs * -(-num_examples(inputs) // recipe.batch_size)


def _rows(x: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Repeat (role, seed, ...) along temperature and hard weight and make it rows (K, ...)."""
    return x[:, :, None, None].expand(*shape, *x.shape[2:]).reshape(-1, *x.shape[2:])
