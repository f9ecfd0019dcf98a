"""Beyond one pair of networks: predictive distributions, confidence, and invariance."""

import torch
from torch import Tensor

from kdlandscape.distillation.fidelity import fidelity
from kdlandscape.distillation.losses import ensemble_logits


def model_average(logits: Tensor) -> Tensor:
    """Return the probabilities (..., n, C) of a model average: the mean over members of logits (..., m, n, C)."""
    return ensemble_logits(logits.movedim(-3, 0)).exp()


def predictive_fidelity(reference: Tensor, approximation: Tensor, targets: Tensor | None = None) -> dict[str, Tensor]:
    """Compare an approximate predictive distribution with a reference one, such as long Monte Carlo chains.

    The same numbers as for a teacher (here the reference) and a student (the approximation).

    Parameters
    ----------
    reference, approximation
        Probabilities (..., n, C) of the same examples, as from `model_average`; each row sums to 1.
    targets
        Class numbers (n,).

    Returns
    -------
    dict of name -> (...,)
        As `kdlandscape.distillation.fidelity.fidelity`, with ``reference`` for teacher and ``approximation`` for
        student in the names.

    Raises
    ------
    ValueError
        If a row is no distribution, or the shapes do not fit.

    Notes
    -----
    Agreement and total variation are the metrics of Izmailov et al. 2021 for Bayesian neural networks.
    """
    for name, values in {"reference": reference, "approximation": approximation}.items():
        off = (values.sum(-1) - 1).abs().max()
        if (values < 0).any() or not off < 1e-3:
            raise ValueError(
                f"expected probabilities that sum to 1 in the {name}, got rows that are off by {float(off):g}"
            )
    found = fidelity(reference.log(), approximation.log(), targets)
    words = {"teacher": "reference", "student": "approximation"}
    return {_renamed(name, words): value for name, value in found.items()}


def _renamed(name: str, words: dict[str, str]) -> str:
    return "_".join(words.get(word, word) for word in name.split("_"))


def confidence_slope(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    r"""Return the least-squares slope of centred student logits on centred teacher logits (..., n, C) -> (...,).

    .. math:: \frac{\sum_{i,c} \bar z_t \bar z_s}{\sum_{i,c} \bar z_t^2},
              \quad \bar z_{ic} = z_{ic} - \frac1C \sum_k z_{ik}

    Softmax is blind to a constant in each row, so rows are centred. Above 1 the student exaggerates the teacher's
    confidence where they rank alike (Nagarajan et al. 2023); below 1 it shrinks it.
    """
    t, s = (z - z.mean(-1, keepdim=True) for z in torch.broadcast_tensors(teacher_logits, student_logits))
    return (t * s).sum((-2, -1)) / t.square().sum((-2, -1))


def invariance(logits: Tensor, viewed_logits: Tensor) -> Tensor:
    """Return the share (...,) of examples whose predicted class an augmentation leaves as it was."""
    return _unchanged(logits, viewed_logits).to(logits.dtype).mean(-1)


def invariance_agreement(
    teacher_logits: Tensor, teacher_viewed: Tensor, student_logits: Tensor, student_viewed: Tensor
) -> Tensor:
    """Return the share (...,) of examples on which teacher and student are both invariant or both not.

    Parameters
    ----------
    teacher_logits, student_logits
        Of the inputs, (..., n, C) that broadcast.
    teacher_viewed, student_viewed
        Of the same inputs under one augmentation.
    """
    same = _unchanged(teacher_logits, teacher_viewed) == _unchanged(student_logits, student_viewed)
    return same.to(teacher_logits.dtype).mean(-1)


def _unchanged(logits: Tensor, viewed: Tensor) -> Tensor:
    return logits.argmax(-1) == viewed.argmax(-1)
