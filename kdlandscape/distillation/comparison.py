"""How faithfully a student reproduces its teacher's predictive distribution."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.distillation.metrics import METRICS, agreement
from kdlandscape.landscape.reduction import calibration_error, label_of


def fidelity(
    teacher_logits: Tensor,
    student_logits: Tensor,
    targets: Tensor | None = None,
    *,
    dims: str | Sequence[str] | None = None,
    coords: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    r"""Compare predictive distributions; every number is a mean over the examples, at temperature 1.

    Parameters
    ----------
    teacher_logits, student_logits
        (..., n, C) that broadcast; leading axes (students, seeds) are kept in the results. Logarithms of probabilities
        are logits too, so any two predictive distributions compare, such as those of long and of short chains.
    targets
        Class numbers (n,); with them the numbers that need labels are added.
    dims, coords
        Names and coordinates of the leading axes; default: a single one is called ``student``.

    Returns
    -------
    xarray.Dataset
        Over ``dims``, the mean of every metric of `kdlandscape.distillation.metrics`: ``agreement`` of the largest
        logits, ``kl_teacher_student``, ``kl_student_teacher``, ``jensen_shannon`` [nat], ``total_variation``. With
        targets also ``teacher_`` and ``student_`` ``accuracy``, ``nll`` [nat], ``ece``; ``agreement_min`` and
        ``agreement_max``, the bounds that accuracies a, b allow: max(0, a+b-1), 1-\|a-b\|;
        ``agreement_teacher_right`` and ``agreement_teacher_wrong`` (NaN where there is no such example).

    Raises
    ------
    ValueError
        If the shapes do not fit, or leading axes have no names.

    Notes
    -----
    Stanton et al. 2021, section 3. The lower bound holds for any number of classes.
    """
    if teacher_logits.shape[-2:] != student_logits.shape[-2:]:
        raise ValueError(
            f"expected logits of the same examples and classes, got {tuple(teacher_logits.shape)} for the teacher and "
            f"{tuple(student_logits.shape)} for the student"
        )
    z_t, z_s = torch.broadcast_tensors(teacher_logits, student_logits)
    axes = _named(dims, z_t.ndim - 2)
    numbers = {metric.__name__: (metric(z_t, z_s).mean(-1), *label_of(metric)) for metric in METRICS}
    if targets is not None:
        numbers |= _with_labels(z_t, z_s, targets)
    return dataset({name: variable(axes, value.cpu(), *label) for name, (value, *label) in numbers.items()}, coords)


def excess(found: xr.Dataset, control: xr.Dataset) -> xr.Dataset:
    """Compare the fidelity of students with that of independent students to the same teachers.

    What an independent student agrees on with a teacher that it never saw is no fidelity.

    Parameters
    ----------
    found, control
        What `fidelity` gives of students and of independent students, with the same teacher logits.

    Returns
    -------
    xarray.Dataset
        ``control_agreement``, ``control_kl`` and ``excess_agreement``; where ``found`` used labels also
        ``excess_teacher_wrong``, the excess agreement where the teacher is wrong.
    """
    numbers = {
        "control_agreement": (control["agreement"], "agreement of the independent student", "1"),
        "control_kl": (control["kl_teacher_student"], "KL(teacher ‖ independent student)", "nat"),
        "excess_agreement": (
            found["agreement"] - control["agreement"],
            "agreement in excess of the independent student",
            "1",
        ),
    }
    if "agreement_teacher_wrong" in found:
        difference = found["agreement_teacher_wrong"] - control["agreement_teacher_wrong"]
        numbers["excess_teacher_wrong"] = (difference, "excess agreement where the teacher is wrong", "1")
    return xr.Dataset(
        {name: array.assign_attrs(long_name=label, units=units) for name, (array, label, units) in numbers.items()}
    )


def _named(dims: str | Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Return the names of the leading axes."""
    given = (("student",) if count == 1 else ()) if dims is None else (dims,) if isinstance(dims, str) else tuple(dims)
    if len(given) != count:
        raise ValueError(f"expected a name in dims for each of the {count} leading axes of the logits, got {given}")
    return given


def _with_labels(z_t: Tensor, z_s: Tensor, targets: Tensor) -> dict[str, tuple[Tensor, str, str]]:
    """Return name -> (value (...,), long name, unit) of the numbers that need labels."""
    if targets.shape != z_t.shape[-2:-1]:
        raise ValueError(f"expected targets of shape ({z_t.shape[-2]},), got {tuple(targets.shape)}")
    numbers: dict[str, tuple[Tensor, str, str]] = {}
    for who, z in {"teacher": z_t, "student": z_s}.items():
        numbers[f"{who}_accuracy"] = _right(z, targets).mean(-1), f"{who} accuracy", "1"
        nll = -z.log_softmax(-1).gather(-1, targets.expand(z.shape[:-1])[..., None])[..., 0].mean(-1)
        numbers[f"{who}_nll"] = nll, f"{who} negative log likelihood", "nat"
        ece = _CALIBRATION.finish(_CALIBRATION.each(z, targets).mean(-2))
        numbers[f"{who}_ece"] = ece, f"{who} expected calibration error", "1"
    a, b = numbers["teacher_accuracy"][0], numbers["student_accuracy"][0]
    agree, right = agreement(z_t, z_s), _right(z_t, targets)
    where_right, where_wrong = ((agree * kept).sum(-1) / kept.sum(-1) for kept in (right, 1 - right))
    return numbers | {
        "agreement_min": ((a + b - 1).clamp_min(0), "least agreement that both accuracies allow", "1"),
        "agreement_max": (1 - (a - b).abs(), "greatest agreement that both accuracies allow", "1"),
        "agreement_teacher_right": (where_right, "agreement where the teacher is right", "1"),
        "agreement_teacher_wrong": (where_wrong, "agreement where the teacher is wrong", "1"),
    }


def _right(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.argmax(-1) == targets).to(logits.dtype)


_CALIBRATION = calibration_error()
