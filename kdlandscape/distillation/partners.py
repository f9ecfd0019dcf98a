"""Networks to compare with a teacher: students from several starts, networks that never saw it, and copies of it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from kdlandscape.distillation.copies import Members, joined, members
from kdlandscape.distillation.networks import Architecture, architecture, mixed_starts, random_thetas
from kdlandscape.distillation.predictions import logits
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.training import distill, train
from kdlandscape.landscape.params import Theta
from kdlandscape.landscape.permutations.alignment import FEW, full_state
from kdlandscape.landscape.permutations.symmetries import trace_symmetry


class Partners(NamedTuple):
    """K named networks: the weights (K, P) where they started, and the networks that they became.

    ``trajectory`` (S, J, P) holds the weights of the first J networks, those that were trained here, at the training
    steps ``steps``; None where no stride was asked for.
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


INDEPENDENT_STUDENT, SAME_INIT, HARD_LABELS = "independent student", "same init", "hard labels"
INDEPENDENT, PERMUTED, REDISTILLED = "independent", "permuted teacher", "permuted, re-distilled"
_OTHERS = (SAME_INIT, REDISTILLED, INDEPENDENT_STUDENT, HARD_LABELS, INDEPENDENT, PERMUTED)
DISTURBANCE = 0.1  # of the permuted copy before it is distilled again: standard deviation over that of its weights


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
    teacher's *initial* weights (Stanton et al. 2021, table 1); ``independent student``: the matched control of λ = 0,
    distilled by the same recipe from the *independent* teacher and other random weights; ``hard labels``: trained from
    the random weights on the teacher's largest class alone; ``independent``: the second teacher, as it is given.

    Two positive controls lie in the teacher's basin modulo permutation: the ``permuted teacher``, and the
    ``permuted, re-distilled`` one, whose weights were disturbed by Gaussian noise and distilled from the teacher again.

    Parameters
    ----------
    network, inputs, recipe
        The architecture, the unlabelled distillation set (n, ...) and the optimizer of every student.
    teacher, independent
        Trained networks: weights (P,), a module, a state dict, or one of those that `train_teachers` gives.
    seed
        The seed of the random weights, of the permutation, and of the order of the examples, which all students share.
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
    random, elsewhere, born = random_thetas(network, [1_000_000 + seed, 2_000_000 + seed, teacher_seed]).to(theta)
    copy = permuted_copy(model, taught.states[0], inputs, generator=torch.Generator().manual_seed(seed))
    noise = torch.randn(len(theta), generator=torch.Generator().manual_seed(seed)).to(theta)
    disturbed = copy.thetas[0] + DISTURBANCE * theta.std() * noise
    starts = torch.cat([mixed_starts(random, theta, init_lambda), torch.stack([born, disturbed, elsewhere])])
    soft = distill(
        model,
        starts,
        joined(*[taught] * (len(starts) - 1), other),
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
        [*map(student_name, init_lambda), *_OTHERS],
        torch.cat([starts, random[None], other.thetas, copy.thetas]),
        joined(soft.members, hard.members, other, copy),
        soft.steps,
        torch.cat(ways, 1) if ways else None,
    )


def permuted_copy(network: nn.Module, theta: Theta, inputs: Any, *, generator: torch.Generator) -> Members:
    """Return the same function with its hidden units, and their running statistics, in a random order.

    Parameters
    ----------
    network, theta
        The architecture, and the network to copy.
    inputs
        A batch, on which the network's operations are seen.
    generator
        Draws the order.

    Raises
    ------
    ValueError
        If an operation has no rule; see `kdlandscape.landscape.permutations.symmetries.trace_symmetry`.
    """
    symmetry = trace_symmetry(network, tree_map(lambda leaf: leaf[:FEW], inputs))
    return members(network, [symmetry.permute(full_state(network, theta), symmetry.random(generator))])
