"""What `train` and `distill` refuse before any step is taken."""

from typing import Any

from torch import Tensor

from kdlandscape.distillation.augment import TEACHER_VIEWS, Views, mixup
from kdlandscape.distillation.copies import Members
from kdlandscape.distillation.descent import Checkpoint
from kdlandscape.distillation.lesson import Lesson


def refuse_checkpoint(checkpoint: Checkpoint | None) -> None:
    """Raise ValueError for a checkpoint beside a training loop of one's own."""
    if checkpoint is not None:
        raise ValueError("expected no checkpoint with a training loop of one's own, which keeps what it goes on from")


def refuse_views(views: Views | None, inputs: Any) -> None:
    """Raise TypeError where views would augment anything but one tensor."""
    if views is not None and not isinstance(inputs, Tensor):
        raise TypeError(f"expected inputs as one tensor where views augment them, got {type(inputs).__name__}")


def check_students(students: Members, lesson: Lesson, targets: Any) -> None:
    """Raise ValueError unless teachers, labels, weights and views fit the students (K, P)."""
    teachers, weights = lesson.teachers, lesson.weights
    if isinstance(teachers, Members) and (len(teachers) != len(students) or teachers.thetas.ndim not in (2, 3)):
        raise ValueError(
            f"expected a teacher for each student: shape {tuple(students.thetas.shape)}, got "
            f"{tuple(teachers.thetas.shape)}; give one teacher for all, or one for each"
        )
    if not ((weights >= 0) & (weights <= 1)).all():
        raise ValueError(f"expected hard_weight between 0 and 1, got {weights.tolist()}")
    if lesson.mixed and targets is None:
        raise ValueError("expected targets, the labels that hard_weight weighs; got none")
    if lesson.mixed and (lesson.views is mixup or getattr(lesson.views, "mixes", False)):
        raise ValueError("expected hard_weight 0 with MixUp, whose mixed inputs have no label")
    if lesson.teacher_view not in TEACHER_VIEWS:
        raise ValueError(f"expected teacher_view to be {', '.join(TEACHER_VIEWS)}; got {lesson.teacher_view!r}")
