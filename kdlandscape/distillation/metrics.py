"""How far a student's predictive distribution is from its teacher's: one number for each example (..., n).

Each function takes ``(teacher_logits, student_logits)`` of shapes (..., n, C) that broadcast, at temperature 1, and is
blind to a constant added to the logits of an example. Logarithms of probabilities are logits too.
"""

from collections.abc import Callable
from math import log

import torch
from torch import Tensor

from kdlandscape.landscape.reduction import labelled

Metric = Callable[[Tensor, Tensor], Tensor]


@labelled("top-1 agreement with the teacher")
def agreement(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """Return 1 where teacher and student have the same largest logit, else 0."""
    same = teacher_logits.argmax(-1) == student_logits.argmax(-1)
    return same.to(torch.promote_types(teacher_logits.dtype, student_logits.dtype))


@labelled("KL(teacher ‖ student)", "nat")
def kl_teacher_student(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    r"""Return :math:`\sum_j p_j \log (p_j / q_j)` with p the teacher's and q the student's probabilities [nat]."""
    return _kl(teacher_logits.log_softmax(-1), student_logits.log_softmax(-1))


@labelled("KL(student ‖ teacher)", "nat")
def kl_student_teacher(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    r"""Return :math:`\sum_j q_j \log (q_j / p_j)` with p the teacher's and q the student's probabilities [nat]."""
    return kl_teacher_student(student_logits, teacher_logits)


@labelled("Jensen–Shannon divergence", "nat")
def jensen_shannon(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    r"""Return :math:`(KL(p \| m) + KL(q \| m)) / 2` with m = (p + q)/2, at most log 2 [nat] (Lin 1991)."""
    log_p, log_q = teacher_logits.log_softmax(-1), student_logits.log_softmax(-1)
    log_m = torch.logaddexp(log_p, log_q) - log(2)
    return (_kl(log_p, log_m) + _kl(log_q, log_m)) / 2


@labelled("total variation distance")
def total_variation(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    r"""Return :math:`\frac12 \sum_j |p_j - q_j|`, between 0 and 1."""
    return (teacher_logits.softmax(-1) - student_logits.softmax(-1)).abs().sum(-1) / 2


METRICS: tuple[Metric, ...] = (agreement, kl_teacher_student, kl_student_teacher, jensen_shannon, total_variation)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), 0.0).sum(-1)


@labelled("slope of student logits on teacher logits")
def confidence_slope(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    r"""Return the least-squares slope of centred student logits on centred teacher logits (..., n, C) -> (...,).

    .. math:: \frac{\sum_{i,c} \bar z_t \bar z_s}{\sum_{i,c} \bar z_t^2},
              \quad \bar z_{ic} = z_{ic} - \frac1C \sum_k z_{ik}

    Softmax is blind to a constant in each row, so rows are centred. Above 1 the student exaggerates the teacher's
    confidence where they rank alike (Nagarajan et al. 2023); below 1 it shrinks it.
    """
    t, s = (z - z.mean(-1, keepdim=True) for z in torch.broadcast_tensors(teacher_logits, student_logits))
    return (t * s).sum((-2, -1)) / t.square().sum((-2, -1))


@labelled("share of inputs where both are invariant to a view, or both are not")
def invariance_agreement(
    teacher_logits: Tensor, teacher_viewed: Tensor, student_logits: Tensor, student_viewed: Tensor
) -> Tensor:
    """Return the share (...,) of examples on which teacher and student are both invariant or both not.

    A network is invariant to a view of an input if its predicted class stays the same.

    Parameters
    ----------
    teacher_logits, student_logits
        Of the inputs, (..., n, C) that broadcast.
    teacher_viewed, student_viewed
        Of the same inputs under one augmentation.
    """
    kept = [
        a.argmax(-1) == b.argmax(-1) for a, b in ((teacher_logits, teacher_viewed), (student_logits, student_viewed))
    ]
    return (kept[0] == kept[1]).to(teacher_logits.dtype).mean(-1)
