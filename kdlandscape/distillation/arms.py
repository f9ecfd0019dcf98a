"""One arm of a distillation study: students of several seeds, temperatures and hard weights as one batch.

Everything has the leading axes (role, seed, temperature, hard weight): role 0 is the student of the teacher, role 1 the
*independent student*, distilled by the same recipe from an independent teacher. What both agree on is no fidelity.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdlandscape.distillation.augment import Views
from kdlandscape.distillation.fidelity import fidelity
from kdlandscape.distillation.networks import random_thetas
from kdlandscape.distillation.predictives import confidence_slope, invariance_agreement
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.teachers import teachers
from kdlandscape.distillation.train import Teacher, distill, ensemble_of, logits

_ROLES = 2
_PER_SEED = 1000  # numbers kept apart for the networks of one seed


def teacher_seed(seed: int, role: int, member: int) -> int:
    """Return the seed that a member of a teacher is trained with, different for every network of a study."""
    return _PER_SEED * seed + _ROLES * member + role


def teacher_groups(
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    ensemble_size: int = 1,
    augmentation: str = "none",
) -> Tensor:
    """Return trained teachers (role, seed, m, P): for every seed m members, and m independent ones.

    Each is trained once and kept; see `kdlandscape.distillation.teachers.teachers`.
    """
    order = [teacher_seed(s, role, i) for role in range(_ROLES) for s in seeds for i in range(ensemble_size)]
    trained = teachers(network, inputs, targets, recipe, seeds=order, augmentation=augmentation)
    return trained.view(_ROLES, len(seeds), ensemble_size, -1)


def starts(network: nn.Module, *, seeds: Sequence[int], init: str = "random") -> Tensor:
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


def students(
    network: nn.Module,
    init: Tensor,
    teacher_thetas: Tensor | Teacher,
    inputs: Tensor,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    temperature: Sequence[float] = (1.0,),
    hard_weight: Sequence[float] = (0.0,),
    **settings: Any,
) -> Tensor:
    """Distil all students of an arm in one batch; each seed has its own order of the examples, shared by both roles.

    Parameters
    ----------
    network, init
        The students' architecture and initial weights (role, seed, P).
    teacher_thetas
        (role, seed, m, P), or a function that labels for all.
    inputs, recipe
        The distillation set, the optimizer.
    seeds, temperature, hard_weight
        Coordinates of the students' axes.
    settings
        More of `kdlandscape.distillation.train.distill`: ``loss``, ``targets``, ``views``, ``teacher_view``,
        ``teacher_network``, ``checkpoint``, ``chunk_size``.

    Returns
    -------
    Tensor
        Weights (role, seed, temperature, hard weight, P).
    """
    shape = (_ROLES, len(seeds), len(temperature), len(hard_weight))
    device = inputs.device
    every_seed = torch.arange(shape[1]).view(1, -1, 1, 1).expand(shape).flatten().tolist()
    tau = torch.tensor(list(temperature)).view(1, 1, -1, 1).expand(shape).flatten()
    weight = torch.tensor(list(hard_weight)).view(1, 1, 1, -1).expand(shape).flatten()
    if isinstance(teacher_thetas, Tensor):
        single = teacher_thetas.shape[2] == 1
        teacher_thetas = _rows(teacher_thetas[:, :, 0] if single else teacher_thetas, shape)
    if "targets" in settings and not weight.any():
        settings = {key: value for key, value in settings.items() if key != "targets"}
    trained = distill(
        network,
        _rows(init, shape),
        teacher_thetas,
        inputs,
        recipe,
        generator=[torch.Generator(device).manual_seed(int(seeds[i])) for i in every_seed],
        temperature=tau,
        hard_weight=weight,
        **settings,
    )
    return trained.thetas.view(*shape, -1)


def arm_fidelity(
    network: nn.Module,
    thetas: Tensor,
    inputs: Tensor,
    targets: Tensor | None,
    teacher_thetas: Tensor,
    teacher_network: nn.Module,
) -> dict[str, Tensor]:
    """Compare students with their teachers, beside the independent students with the same teachers.

    Parameters
    ----------
    network, thetas
        Students (role, seed, temperature, hard weight, P).
    inputs, targets
        What to compare on; without labels the numbers that need them are NaN.
    teacher_thetas, teacher_network
        (role, seed, m, P). Role 1 is not asked.

    Returns
    -------
    dict of name -> (seed, temperature, hard weight)
        All of `kdlandscape.distillation.fidelity.fidelity`, ``confidence_slope``, and ``control_agreement``,
        ``control_kl``, ``excess_agreement`` and ``excess_teacher_wrong`` (the same where the teacher errs).
    """
    z_t = ensemble_of(teacher_network, teacher_thetas[0], inputs)[:, None, None]
    z_s = logits(network, thetas.flatten(0, 3), inputs).unflatten(0, thetas.shape[:4])
    known = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device) if targets is None else targets
    found, control = (fidelity(z_t, z, known) for z in z_s)
    if targets is None:
        blind = fidelity(z_t, z_s[0])
        found = {name: blind.get(name, torch.full_like(value, torch.nan)) for name, value in found.items()}
    return found | {
        "confidence_slope": confidence_slope(z_t, z_s[0]),
        "control_agreement": control["agreement"],
        "control_kl": control["kl_teacher_student"],
        "excess_agreement": found["agreement"] - control["agreement"],
        "excess_teacher_wrong": found["agreement_teacher_wrong"] - control["agreement_teacher_wrong"],
    }


def arm_invariance(
    network: nn.Module,
    thetas: Tensor,
    inputs: Tensor,
    teacher_thetas: Tensor,
    teacher_network: nn.Module,
    views: Views,
    *,
    seed: int = 0,
) -> Tensor:
    """Return the invariance agreement (seed, temperature, hard weight) of students and teachers under views."""
    viewed = views(inputs, torch.Generator(inputs.device).manual_seed(seed))
    pairs = []
    for x in (inputs, viewed):
        z_s = logits(network, thetas[0].flatten(0, 2), x).unflatten(0, thetas.shape[1:4])
        pairs.append((ensemble_of(teacher_network, teacher_thetas[0], x)[:, None, None], z_s))
    return invariance_agreement(pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1])


def epochs_for(steps: int, num_examples: int, batch_size: int) -> int:
    """Return how many epochs make about so many steps, at least one."""
    return max(1, round(steps / -(-num_examples // batch_size)))


def _rows(x: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Repeat (role, seed, ...) along temperature and hard weight and make it rows (K, ...)."""
    return x[:, :, None, None].expand(*shape, *x.shape[2:]).reshape(-1, *x.shape[2:])
