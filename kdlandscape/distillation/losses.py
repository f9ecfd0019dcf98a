"""Distillation losses of logits (n, C), one value for each example (n,).

Each takes ``(teacher_logits, student_logits, temperature)`` and does not differentiate through the teacher.
"""

from collections.abc import Callable
from math import log
from typing import Any

import torch
from torch import Tensor

from kdlandscape.landscape.reduction import label_of, labelled
from kdlandscape.nearest import did_you_mean

DistillationLoss = Callable[[Tensor, Tensor, float | Tensor], Tensor]


@labelled("τ²·KL(teacher ‖ student)", "nat")
def tempered_kl(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return :math:`\tau^2\, KL(\sigma(z_t/\tau) \,\|\, \sigma(z_s/\tau))` for each example, in nats.

    Equal to the distillation cross entropy of Hinton et al. 2015 up to the constant :math:`\tau^2 H(\sigma(z_t/\tau))`,
    so the gradients are the same and a perfect match gives 0.

    Notes
    -----
    Written as a Bregman divergence of log-sum-exp, :math:`A(s) - A(t) - \langle \nabla A(t), s - t\rangle`, with the
    teacher's probabilities formed exactly as the backward pass of log-sum-exp forms the student's: where the logits
    are equal to the bit, the gradient is zero to the bit, and a student that starts as its teacher stays.
    """
    t, s = teacher_logits.detach() / temperature, student_logits / temperature
    log_norm = torch.logsumexp(t, -1)
    probabilities = (t - log_norm[..., None]).exp()
    kl = torch.logsumexp(s, -1) - log_norm - (probabilities * (s - t)).sum(-1)
    return temperature**2 * kl


@labelled("τ²·cross entropy of teacher and student", "nat")
def cross_entropy(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return :math:`-\tau^2 \sum_j \sigma_j(z_t/\tau) \log \sigma_j(z_s/\tau)` [nat] (Stanton et al. 2021, eq. 2)."""
    t, s = teacher_logits.detach() / temperature, student_logits / temperature
    return -(temperature**2) * (t.softmax(-1) * s.log_softmax(-1)).sum(-1)


@labelled("τ²·KL(student ‖ teacher)", "nat")
def reverse_kl(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return :math:`\tau^2\, KL(\sigma(z_s/\tau) \,\|\, \sigma(z_t/\tau))` [nat]: mode seeking."""
    t, s = teacher_logits.detach() / temperature, student_logits / temperature
    log_s = s.log_softmax(-1)
    return temperature**2 * (log_s.exp() * (log_s - t.log_softmax(-1))).sum(-1)


@labelled("τ²·mean of KL(teacher ‖ student) and KL(student ‖ teacher)", "nat")
def symmetric_kl(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return the mean of both tempered divergences, :math:`\tau^2 (KL(p_t \| p_s) + KL(p_s \| p_t)) / 2` [nat]."""
    pair = teacher_logits, student_logits, temperature
    return (tempered_kl(*pair) + reverse_kl(*pair)) / 2


@labelled("τ²·squared distance of the probabilities")
def brier(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return :math:`\tau^2 \sum_j (\sigma_j(z_t/\tau) - \sigma_j(z_s/\tau))^2`, a squared distance."""
    t, s = teacher_logits.detach() / temperature, student_logits / temperature
    return temperature**2 * (t.softmax(-1) - s.softmax(-1)).square().sum(-1)


@labelled("mean squared distance of the logits")
def logit_mse(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return :math:`\frac{1}{C} \sum_j (z_{t,j} - z_{s,j})^2` (Ba & Caruana 2014), which has no temperature.

    Twice the limit of the tempered KL for high temperatures, if both logits have mean 0 (Hinton et al. 2015).
    """
    return (teacher_logits.detach() - student_logits).square().mean(-1)


@labelled("negative log likelihood of the teacher's class", "nat")
def hard(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Return the negative log likelihood [nat] of the teacher's largest class; the temperature has no effect."""
    top = teacher_logits.argmax(-1, keepdim=True)
    return -student_logits.log_softmax(-1).gather(-1, top).squeeze(-1)


LOSSES: dict[str, DistillationLoss] = {
    "tempered_kl": tempered_kl,
    "cross_entropy": cross_entropy,
    "reverse_kl": reverse_kl,
    "symmetric_kl": symmetric_kl,
    "brier": brier,
    "logit_mse": logit_mse,
    "hard": hard,
}


def named_loss(name: str) -> DistillationLoss:
    """Return a distillation loss by name."""
    if name not in LOSSES:
        raise ValueError(f"expected a loss of {', '.join(LOSSES)}; got {name!r}.{did_you_mean(name, LOSSES)}")
    return LOSSES[name]


def to_teacher(
    loss: Callable[..., Tensor], temperature: float = 1.0, *, part: int | None = None
) -> Callable[[Tensor, Any], Tensor]:
    """Return ``loss(outputs, targets)`` for an `Objective` whose targets are the teacher's logits.

    Parameters
    ----------
    loss
        ``loss(teacher_logits, student_logits)``, a distillation loss or a metric, with one value for each example.
    temperature
        One that the label names: at τ = 1 a ``tempered_kl`` is KL(teacher ‖ student), at τ = 4 it is τ²·KL at τ = 4.
    part
        Which of several targets the teacher's logits are; default: there are no others.
    """
    long_name, units = label_of(loss)
    tempered = long_name.startswith("τ²·")
    if tempered:
        long_name = long_name.removeprefix("τ²·") if temperature == 1 else f"{long_name} at τ = {temperature:g}"

    @labelled(long_name, units)
    def of_outputs(outputs: Tensor, targets: Any) -> Tensor:
        teacher_logits = targets if part is None else targets[part]
        return loss(teacher_logits, outputs, temperature) if tempered else loss(teacher_logits, outputs)

    return of_outputs


def with_labels(kd: Tensor, student_logits: Tensor, targets: Tensor, hard_weight: float | Tensor) -> Tensor:
    r"""Return :math:`w\, NLL(y, z_s) + (1 - w)\, L_{KD}` with w the ``hard_weight`` (Stanton et al. 2021, eq. 3)."""
    nll = -student_logits.log_softmax(-1).gather(-1, targets[..., None]).squeeze(-1)
    return hard_weight * nll + (1 - hard_weight) * kd


def ensemble_logits(logits: Tensor) -> Tensor:
    r"""Return the logits (n, C) of an ensemble: :math:`\log \frac1m \sum_i \sigma(z_i)` of member logits (m, n, C)."""
    return torch.logsumexp(logits.log_softmax(-1), 0) - log(len(logits))
