"""Distillation losses of logits (n, C), one value for each example (n,), in nats."""

import torch
from torch import Tensor


def tempered_kl(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return :math:`\tau^2\, KL(\sigma(z_t/\tau) \,\|\, \sigma(z_s/\tau))` for each example.

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


def ensemble_logits(logits: Tensor) -> Tensor:
    r"""Return the logits (n, C) of an ensemble: :math:`\log \frac1m \sum_i \sigma(z_i)` of member logits (m, n, C)."""
    return torch.logsumexp(logits.log_softmax(-1), 0) - torch.tensor(float(len(logits))).log()
