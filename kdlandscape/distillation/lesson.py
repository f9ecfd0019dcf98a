"""What students are taught: by whom, by which loss, and on which views of the inputs."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdlandscape.distillation.augment import Views
from kdlandscape.distillation.copies import Members
from kdlandscape.distillation.descent import Generators
from kdlandscape.distillation.losses import DistillationLoss, with_labels
from kdlandscape.distillation.predictions import Teacher


class Lesson(NamedTuple):
    """What K students are taught; see `kdlandscape.distillation.training.distill`.

    Attributes
    ----------
    teachers, network
        The teachers of the K students, and their architecture; or a function that labels.
    loss, temperatures
        The distillation loss, and the temperature of each student (K,).
    weights, mixed
        The weight of the targets for each student (K,), and whether one of them is above 0.
    views, teacher_view
        What the students see of a batch, and what their teachers do.
    """

    teachers: Members | Teacher
    network: nn.Module
    loss: DistillationLoss
    temperatures: Tensor
    weights: Tensor
    mixed: bool
    views: Views | None
    teacher_view: str

    def seen_by_teachers(self, inputs: Any, view: Any, draws: Generators) -> Any:
        """Return what the teachers label of a batch: the students' view, another one, or the inputs themselves."""
        if self.views is not None and self.teacher_view == "independent":
            return viewed(self.views, inputs, draws)
        return view if self.teacher_view == "consistent" else inputs

    def mean_loss(self, z_t: Tensor, z_s: Tensor, temperature: Tensor, weight: Tensor, targets: Any) -> Tensor:
        """Return the mean loss of one student on a batch, from the logits of its teacher and its own."""
        kd = self.loss(z_t, z_s, temperature)
        return (with_labels(kd, z_s, targets, weight) if self.mixed else kd).mean()


def viewed(views: Views, x: Tensor, draws: Generators) -> Tensor:
    """Return the view of a batch that one generator draws, or of one batch for each of K generators."""
    if isinstance(draws, torch.Generator):
        return views(x, draws)
    return torch.stack([views(row, draw) for row, draw in zip(x, draws, strict=True)])
