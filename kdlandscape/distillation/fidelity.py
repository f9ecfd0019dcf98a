"""How faithfully a student reproduces its teacher's predictive distribution."""

import torch
from torch import Tensor


def fidelity(teacher_logits: Tensor, student_logits: Tensor, targets: Tensor | None = None) -> dict[str, Tensor]:
    r"""Compare predictive distributions; every number is a mean over the examples, at temperature 1.

    Parameters
    ----------
    teacher_logits, student_logits
        (..., n, C) that broadcast; leading axes (students, seeds) are kept in the results.
    targets
        Class numbers (n,); with them the numbers that need labels are added.

    Returns
    -------
    dict of name -> (...,)
        ``agreement`` of the largest logits; ``kl_teacher_student``, ``kl_student_teacher``, ``jensen_shannon`` [nat];
        ``total_variation``. With targets also ``teacher_`` and ``student_`` ``accuracy``, ``nll`` [nat], ``ece``;
        ``agreement_min`` and ``agreement_max``, the bounds that accuracies a, b allow: max(0, a+b-1), 1-\|a-b\|;
        ``agreement_teacher_right`` and ``agreement_teacher_wrong`` (NaN where there is no such example).

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Stanton et al. 2021, section 3. The lower bound holds for any number of classes.
    """
    if teacher_logits.shape[-2:] != student_logits.shape[-2:]:
        raise ValueError(
            f"expected logits of the same examples and classes, got {tuple(teacher_logits.shape)} for the teacher and "
            f"{tuple(student_logits.shape)} for the student"
        )
    log_t, log_s = torch.broadcast_tensors(teacher_logits.log_softmax(-1), student_logits.log_softmax(-1))
    t, s = log_t.exp(), log_s.exp()
    log_m = torch.logaddexp(log_t, log_s) - torch.tensor(2.0, dtype=log_t.dtype).log()
    agree = (log_t.argmax(-1) == log_s.argmax(-1)).to(log_t.dtype)
    result = {
        "agreement": agree.mean(-1),
        "kl_teacher_student": _kl(log_t, log_s),
        "kl_student_teacher": _kl(log_s, log_t),
        "jensen_shannon": (_kl(log_t, log_m) + _kl(log_s, log_m)) / 2,
        "total_variation": (t - s).abs().sum(-1).mean(-1) / 2,
    }
    if targets is None:
        return result
    if targets.shape != log_t.shape[-2:-1]:
        raise ValueError(f"expected targets of shape ({log_t.shape[-2]},), got {tuple(targets.shape)}")
    teacher, student = (_against_labels(log_p, targets) for log_p in (log_t, log_s))
    a, b = teacher["accuracy"], student["accuracy"]
    right = (log_t.argmax(-1) == targets).to(log_t.dtype)
    return result | {
        **{f"teacher_{name}": value for name, value in teacher.items()},
        **{f"student_{name}": value for name, value in student.items()},
        "agreement_min": (a + b - 1).clamp_min(0),
        "agreement_max": 1 - (a - b).abs(),
        "agreement_teacher_right": (agree * right).sum(-1) / right.sum(-1),
        "agreement_teacher_wrong": (agree * (1 - right)).sum(-1) / (1 - right).sum(-1),
    }


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), 0.0).sum(-1).mean(-1)


def _against_labels(log_p: Tensor, targets: Tensor) -> dict[str, Tensor]:
    index = targets.expand(log_p.shape[:-1])[..., None]
    return {
        "accuracy": (log_p.argmax(-1) == targets).to(log_p.dtype).mean(-1),
        "nll": -log_p.gather(-1, index)[..., 0].mean(-1),
        "ece": calibration_error(log_p.exp(), targets),
    }


def calibration_error(probabilities: Tensor, targets: Tensor, bins: int = 15) -> Tensor:
    r"""Return the expected calibration error :math:`\sum_b \frac{n_b}{n} |acc_b - conf_b|` of (..., n, C).

    Right-closed bins of equal width, :math:`(b/B, (b+1)/B]` (Guo et al. 2017).
    """
    confidence, predicted = probabilities.max(-1)
    gap = (predicted == targets).to(confidence.dtype) - confidence
    index = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
    sums = torch.zeros(*gap.shape[:-1], bins, dtype=gap.dtype, device=gap.device).scatter_add(-1, index, gap)
    return sums.abs().sum(-1) / gap.shape[-1]
