"""Networks to compare with a teacher: its students from several starts, and networks that never saw it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kdlandscape.distillation.copies import Members, joined, members
from kdlandscape.distillation.networks import Architecture, architecture, mixed_starts, random_thetas
from kdlandscape.distillation.predictions import logits
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.training import distill, train


class Partners(NamedTuple):
    """K named networks: the weights (K, P) where they started, and the networks that they became.

    ``trajectory`` (S, K - 1, P) holds the weights of all but the independent network at the training steps ``steps``;
    None where no stride was asked for.
    """

    names: list[str]
    starts: Tensor
    members: Members
    steps: tuple[int, ...]
    trajectory: Tensor | None

    @property
    def thetas(self) -> Tensor:
        """Weights (K, P) of the trained networks."""
        return self.members.thetas


def student_name(init_lambda: float) -> str:
    """Return the name of the student that starts at a share λ of the teacher's weights."""
    return f"λ = {init_lambda:g}"


def train_partners(
    network: Architecture,
    inputs: Any,
    teacher: Any,
    independent: Any,
    recipe: Recipe,
    *,
    seed: int,
    teacher_seed: int,
    init_lambda: Sequence[float],
    temperature: float,
    record_every: int | None = None,
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
        Trained networks: weights (P,), a module, a state dict, or one of those that `train_teachers` gives.
    seed
        The seed of the random weights and of the order of the examples, which all students share.
    teacher_seed
        The seed that `kdlandscape.distillation.teachers.train_teachers` trained the teacher with: it gives its start.
    init_lambda
        Shares of the teacher's weights.
    temperature
        τ of the distillation.
    record_every
        Stride, in steps, at which the weights of the students are kept; default: not at all.
    """
    model = architecture(network)
    taught, other = (members(model, one).flat() for one in (teacher, independent))
    theta = taught.thetas[0]
    random, born = random_thetas(network, [1_000_000 + seed, teacher_seed]).to(theta)
    starts = torch.cat([mixed_starts(random, theta, init_lambda), born[None]])
    soft = distill(
        model,
        starts,
        taught,
        inputs,
        recipe,
        generator=torch.Generator(theta.device).manual_seed(seed),
        temperature=temperature,
        record_every=record_every,
    )
    labels = logits(model, taught, inputs)[0].argmax(-1)
    generator = torch.Generator(theta.device).manual_seed(seed)
    hard = train(model, random[None], inputs, labels, recipe, generator=generator, record_every=record_every)
    ways = [trained.trajectory for trained in (soft, hard) if trained.trajectory is not None]
    return Partners(
        [*(student_name(x) for x in init_lambda), "same init", "hard labels", "independent"],
        torch.cat([starts, random[None], other.thetas]),
        joined(soft.members, hard.members, other),
        soft.steps,
        torch.cat(ways, 1) if ways else None,
    )
