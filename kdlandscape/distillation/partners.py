"""Networks to compare with a teacher: its students from several starts, and networks that never saw it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdlandscape.distillation.networks import random_thetas
from kdlandscape.distillation.train import Recipe, distill, logits, train
from kdlandscape.landscape.interpolation import mix


class Partners(NamedTuple):
    """K named networks: where they started and where they ended, (K, P) each."""

    names: list[str]
    starts: Tensor
    thetas: Tensor


def student_name(init_lambda: float) -> str:
    """Return the name of the student that starts at a share λ of the teacher's weights."""
    return f"λ = {init_lambda:g}"


def partners(
    network: nn.Module,
    inputs: Tensor,
    teacher: Tensor,
    independent: Tensor,
    recipe: Recipe,
    *,
    seed: int,
    teacher_seed: int,
    init_lambda: Sequence[float],
    temperature: float,
) -> Partners:
    r"""Train the networks that a study of basins compares with one teacher.

    ``λ = x``: distilled from :math:`x\,\theta_{teacher} + (1-x)\,\theta_{random}`; ``same init``: distilled from the
    teacher's *initial* weights (Stanton et al. 2021, table 1); ``hard labels``: trained from the same random weights
    on the teacher's largest class alone; ``independent``: the second network, trained on labels, as it is given.

    Parameters
    ----------
    network, inputs, recipe
        The architecture, the unlabelled distillation set (n, ...) and the optimizer of every student.
    teacher, independent
        Trained networks (P,).
    seed
        Of the random weights and of the order of the examples, which all students share.
    teacher_seed
        The seed that `kdlandscape.distillation.teachers.teachers` trained the teacher with: it gives its start.
    init_lambda
        Shares of the teacher's weights.
    temperature
        Of the distillation.
    """
    share = torch.tensor(list(init_lambda), device=teacher.device)
    random, born = random_thetas(network, [1_000_000 + seed, teacher_seed]).to(teacher)
    starts = torch.cat([mix(random, teacher, share), born[None]])
    same = teacher.expand(len(starts), -1)
    device = inputs.device
    generator = torch.Generator(device).manual_seed(seed)
    students = distill(network, starts, same, inputs, recipe, generator=generator, temperature=temperature).thetas
    labels = logits(network, teacher[None], inputs)[0].argmax(-1)
    generator = torch.Generator(device).manual_seed(seed)
    hard = train(network, random[None], inputs, labels, recipe, generator=generator).thetas
    return Partners(
        [*(student_name(x) for x in init_lambda), "same init", "hard labels", "independent"],
        torch.cat([starts, random[None], independent[None]]),
        torch.cat([students, hard, independent[None]]),
    )
