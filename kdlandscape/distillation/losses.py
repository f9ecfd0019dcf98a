"""Distillation losses of logits (n, C), one value for each example (n,).

Each takes ``(teacher_logits, student_logits, temperature)`` and does not differentiate through the teacher. Classes
masked by a logit of minus infinity have probability 0 (see `kdlandscape.distillation.probabilities`): a class that both
mask does not count, one that the student alone masks makes a divergence from the teacher infinite. Values and gradients
are taken in float64, so that no divergence of close logits is rounding noise, and returned in the logits' precision.
"""

from collections.abc import Callable
from math import log
from typing import Any

import torch
from torch import Tensor

from kdlandscape.distillation.probabilities import Pair, centred, divergence, kl, log_probabilities, log_sum_exp, pair
from kdlandscape.landscape.reduction import Pooled, label_of, labelled
from kdlandscape.landscape.temperature import at_temperatures
from kdlandscape.nearest import did_you_mean

_SCALES = 21  # temperatures that are tried, of which one is 1
_LOWEST = -1e300  # stands for a logit of minus infinity, which 0 may multiply
DistillationLoss = Callable[[Tensor, Tensor, float | Tensor], Tensor]


@labelled("τ²·KL(teacher ‖ student)", "nat")
def tempered_kl(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return :math:`\tau^2\, KL(\sigma(z_t/\tau) \,\|\, \sigma(z_s/\tau))` for each example, in nats.

    Equal to the distillation cross entropy of Hinton et al. 2015 up to the constant :math:`\tau^2 H(\sigma(z_t/\tau))`,
    so the gradients are the same and a perfect match gives 0.
    """
    t, s = _tempered(teacher_logits, student_logits, temperature)
    value = _exact(divergence(t, s.detach()), _cross_entropy(t, s))
    return _back(temperature**2 * value, teacher_logits, student_logits)


@labelled("τ²·cross entropy of teacher and student", "nat")
def cross_entropy(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return :math:`-\tau^2 \sum_j \sigma_j(z_t/\tau) \log \sigma_j(z_s/\tau)` [nat] (Stanton et al. 2021, eq. 2)."""
    t, s = _tempered(teacher_logits, student_logits, temperature)
    beyond = ((t > -torch.inf) & (s == -torch.inf)).any(-1)
    value = _cross_entropy(t, s).masked_fill(beyond, torch.inf)
    return _back(temperature**2 * value, teacher_logits, student_logits)


@labelled("τ²·KL(student ‖ teacher)", "nat")
def reverse_kl(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return :math:`\tau^2\, KL(\sigma(z_s/\tau) \,\|\, \sigma(z_t/\tau))` [nat]: mode seeking."""
    t, s = _tempered(teacher_logits, student_logits, temperature)
    q, p, d = pair(s, t)  # d = log p - log q
    kept = (q > 0) & d.isfinite()
    # The slope of sum q (-d - 1) with respect to log q is -q d: zero to the bit where the logits are equal.
    slope = torch.where(kept, q * (-d.masked_fill(~kept, 0.0) - 1), 0.0).sum(-1)
    value = _exact(kl(Pair(q.detach(), p, d.detach())), slope)
    return _back(temperature**2 * value, teacher_logits, student_logits)


@labelled("τ²·mean of KL(teacher ‖ student) and KL(student ‖ teacher)", "nat")
def symmetric_kl(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return the mean of both tempered divergences, :math:`\tau^2 (KL(p_t \| p_s) + KL(p_s \| p_t)) / 2` [nat]."""
    forward, reverse = (loss(teacher_logits, student_logits, temperature) for loss in (tempered_kl, reverse_kl))
    return (forward + reverse) / 2


@labelled("τ²·squared distance of the probabilities")
def brier(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return :math:`\tau^2 \sum_j (\sigma_j(z_t/\tau) - \sigma_j(z_s/\tau))^2`, a squared distance."""
    t, s = _tempered(teacher_logits, student_logits, temperature)
    value = temperature**2 * (t.softmax(-1) - s.softmax(-1)).square().sum(-1)
    return _back(value, teacher_logits, student_logits)


@labelled("mean squared distance of the logits")
def logit_mse(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    r"""Return :math:`\frac{1}{C} \sum_j (z_{t,j} - z_{s,j})^2` (Ba & Caruana 2014), which has no temperature.

    Twice the limit of the tempered KL for high temperatures, if both logits have mean 0 (Hinton et al. 2015). C counts
    the classes that at least one of both allows; a class that only one of them masks makes the distance infinite.
    """
    t, s = teacher_logits.detach(), student_logits
    masked = (t == -torch.inf) & (s == -torch.inf)
    distance = (t - s).masked_fill(masked, 0.0)
    return distance.square().sum(-1) / (~masked).sum(-1)


@labelled("negative log likelihood of the teacher's class", "nat")
def hard(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Return the negative log likelihood [nat] of the teacher's largest class; the temperature has no effect."""
    largest, top = teacher_logits.detach().max(-1, keepdim=True)
    nll = -student_logits.double().log_softmax(-1).gather(-1, top).masked_fill(~largest.isfinite(), torch.nan)
    return _back(nll.squeeze(-1), teacher_logits, student_logits)


def _tempered(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return both logits over the temperature, in float64 and without a gradient to the teacher.

    What float32 resolves is far above the rounding of float64; logits that come in float64 are centred.
    """
    both = teacher_logits.detach(), student_logits
    t, s = (centred(z) if z.dtype == torch.float64 else z.double() for z in both)
    return t / temperature, s / temperature


def _back(value: Tensor, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    return value.to(torch.promote_types(teacher_logits.dtype, student_logits.dtype))


def _cross_entropy(t: Tensor, s: Tensor) -> Tensor:
    """Return log-sum-exp(s) - <p, s> with p the probabilities of t, over the classes that both allow.

    The teacher's probabilities are formed as the backward pass of log-sum-exp forms the student's: where the logits are
    equal to the bit, the gradient is zero to the bit, and a student that starts as its teacher stays.
    """
    p = log_probabilities(t).exp()
    return log_sum_exp(s).squeeze(-1) - (p * s.clamp_min(_LOWEST)).sum(-1)


def _exact(value: Tensor, slope: Tensor) -> Tensor:
    """Return a number with this value and the derivatives of another function that has the same ones."""
    return value.detach() + (slope - slope.detach())


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
        ``loss(teacher_logits, student_logits)``, a distillation loss or a metric, with one value for each example; of
        token logits (n, T, C) the mean over the positions counts.
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
        each = loss(teacher_logits, outputs, temperature) if tempered else loss(teacher_logits, outputs)
        return each.flatten(1).mean(1) if each.ndim > 1 else each  # of the positions of a sequence

    return of_outputs


def at_best_temperature(*, part: int | None = None) -> Pooled:
    r"""Return :math:`\min_T KL(\sigma(z_t) \,\|\, \sigma(z/T))` over a data set [nat], as a metric of an `Objective`.

    A network between two others is often right but unsure; its own temperature takes that out of a barrier. T is one of
    21 values between 1/10 and 10, evenly spaced in the logarithm, the same for all examples: where the logits are the
    teacher's times one of these, what is left is 0. For any loss, and between the values too, see
    `kdlandscape.landscape.temperature.calibrated_loss`.

    Parameters
    ----------
    part
        Which of several targets the teacher's logits are; default: there are no others.
    """
    each = at_temperatures(to_teacher(tempered_kl, part=part), torch.logspace(-1, 1, _SCALES).tolist())
    return Pooled(each, lambda means: means.amin(-1), "KL(teacher ‖ network) at the network's best temperature", "nat")


def with_labels(kd: Tensor, student_logits: Tensor, targets: Tensor, hard_weight: float | Tensor) -> Tensor:
    r"""Return :math:`w\, NLL(y, z_s) + (1 - w)\, L_{KD}` with w the ``hard_weight`` (Stanton et al. 2021, eq. 3).

    What has no weight does not count, even where it is infinite.
    """
    nll = -student_logits.log_softmax(-1).gather(-1, targets[..., None]).squeeze(-1)
    weight = torch.as_tensor(hard_weight, dtype=nll.dtype, device=nll.device)
    return torch.where(weight > 0, weight * nll, 0.0) + torch.where(weight < 1, (1 - weight) * kd, 0.0)


def ensemble_logits(logits: Tensor) -> Tensor:
    r"""Return the logits (n, C) of an ensemble: :math:`\log \frac1m \sum_i \sigma(z_i)` of member logits (m, n, C)."""
    return torch.logsumexp(logits.log_softmax(-1), 0) - log(len(logits))
