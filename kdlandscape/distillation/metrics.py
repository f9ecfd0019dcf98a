"""How far a student's predictive distribution is from its teacher's: one number for each example (..., n).

Each function takes ``(teacher_logits, student_logits)`` of shapes (..., n, C) that broadcast, at temperature 1. It is
blind to a constant added to the logits of an example, and to the order of the classes. Logarithms of probabilities are
logits too. Masked classes are those of `kdlandscape.distillation.probabilities`. An example may be a token.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from kdlandscape.distillation import probabilities
from kdlandscape.distillation.probabilities import pair
from kdlandscape.landscape.reduction import labelled

Metric = Callable[[Tensor, Tensor], Tensor]


@labelled("top-1 agreement with the teacher")
def agreement(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """Return 1 where teacher and student have the same largest logit, else 0; NaN where one has no probabilities."""
    largest, top = teacher_logits.max(-1)
    return _like(correct(student_logits, top).where(largest.isfinite(), torch.nan), teacher_logits, student_logits)


def correct(logits: Tensor, targets: Tensor) -> Tensor:
    """Return 1 where the largest logit (..., n, C) is the target's (..., n), else 0; NaN without probabilities."""
    largest, top = logits.max(-1)
    return (top == targets).to(logits.dtype).where(largest.isfinite(), torch.nan)


@labelled("KL(teacher ‖ student)", "nat")
def kl_teacher_student(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    r"""Return :math:`\sum_j p_j \log (p_j / q_j)` with p the teacher's and q the student's probabilities [nat].

    The *forward* divergence of distillation: large where the student gives too little to a class of the teacher.
    """
    return _like(probabilities.kl(pair(teacher_logits, student_logits)), teacher_logits, student_logits)


@labelled("KL(student ‖ teacher)", "nat")
def kl_student_teacher(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    r"""Return :math:`\sum_j q_j \log (q_j / p_j)` with p the teacher's and q the student's probabilities [nat].

    The *reverse* divergence: large where the student gives too much to a class that the teacher excludes.
    """
    return _like(probabilities.kl(pair(student_logits, teacher_logits)), teacher_logits, student_logits)


@labelled("Jensen–Shannon divergence", "nat")
def jensen_shannon(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    r"""Return :math:`(KL(p \| m) + KL(q \| m)) / 2` with m = (p + q)/2, at most log 2 [nat] (Lin 1991)."""
    return _like(probabilities.jensen_shannon(pair(teacher_logits, student_logits)), teacher_logits, student_logits)


@labelled("total variation distance")
def total_variation(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    r"""Return :math:`\frac12 \sum_j |p_j - q_j|`, between 0 and 1."""
    return _like(probabilities.total_variation(pair(teacher_logits, student_logits)), teacher_logits, student_logits)


@labelled("entropy of the student minus that of the teacher", "nat")
def entropy_gap(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    r"""Return :math:`H(q) - H(p)` [nat]: below 0 the student is more certain than its teacher."""
    gap = probabilities.entropy(student_logits) - probabilities.entropy(teacher_logits)
    return _like(gap, teacher_logits, student_logits)


METRICS: tuple[Metric, ...] = (
    agreement,
    kl_teacher_student,
    kl_student_teacher,
    jensen_shannon,
    total_variation,
    entropy_gap,
)


class TopK(NamedTuple):
    """What the k likeliest classes of teacher and student have in common, one number for each example (..., n)."""

    overlap: Tensor
    teacher_mass: Tensor
    student_mass: Tensor


def shared_top_k(teacher_logits: Tensor, student_logits: Tensor, k: int) -> TopK:
    r"""Compare the sets :math:`T_k` and :math:`S_k` of the k likeliest classes of teacher and student.

    Returns
    -------
    TopK
        ``overlap``, :math:`|T_k \cap S_k| / k`; ``teacher_mass`` and ``student_mass``, the probability that each of
        them gives to :math:`T_k \cap S_k`. Masked classes are in no set: where fewer than k are left to both, the
        larger set counts in place of k. Among equal logits `torch.topk` chooses.

    Raises
    ------
    ValueError
        If k is not between 1 and the number of classes.
    """
    classes = teacher_logits.shape[-1]
    if not 1 <= k <= classes:
        raise ValueError(f"expected k between 1 and the {classes} classes, got {k}")
    t, s = torch.broadcast_tensors(teacher_logits, student_logits)
    chosen = [torch.zeros_like(z, dtype=torch.bool).scatter(-1, z.topk(k, -1).indices, True) for z in (t, s)]
    chosen = [kept & (z > -torch.inf) for kept, z in zip(chosen, (t, s), strict=True)]
    both = chosen[0] & chosen[1]
    size = torch.maximum(chosen[0].sum(-1), chosen[1].sum(-1))
    teacher_mass, student_mass = ((z.double().softmax(-1) * both).sum(-1) for z in (t, s))
    return TopK(*(_like(value, t, s) for value in (both.sum(-1).double() / size, teacher_mass, student_mass)))


def _like(value: Tensor, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    return value.to(torch.promote_types(teacher_logits.dtype, student_logits.dtype))


@labelled("slope of student logits on teacher logits")
def confidence_slope(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    r"""Return the least-squares slope of centred student logits on centred teacher logits (..., n, C) -> (...,).

    .. math:: \frac{\sum_{i,c} \bar z_t \bar z_s}{\sum_{i,c} \bar z_t^2},
              \quad \bar z_{ic} = z_{ic} - \frac1C \sum_k z_{ik}

    Softmax is blind to a constant in each row, so rows are centred, over the classes that neither masks. Above 1 the
    student exaggerates the teacher's confidence where they rank alike (Nagarajan et al. 2023); below 1 it shrinks it.
    """
    t, s = torch.broadcast_tensors(teacher_logits, student_logits)
    kept = (t > -torch.inf) & (s > -torch.inf)
    t, s = (z.masked_fill(~kept, 0.0) for z in (t, s))
    t, s = ((z - z.sum(-1, keepdim=True) / kept.sum(-1, keepdim=True)).masked_fill(~kept, 0.0) for z in (t, s))
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
