"""How faithfully a student reproduces its teacher's predictive distribution."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.distillation.metrics import METRICS, Metric, agreement, correct, shared_top_k
from kdlandscape.landscape.reduction import calibration_error, label_of

IGNORED = -100  # the target of a position that does not count, as in torch


def fidelity(
    teacher_logits: Tensor,
    student_logits: Tensor,
    targets: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    top_k: Sequence[int] = (),
    dims: str | Sequence[str] | None = None,
    coords: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    r"""Compare predictive distributions; every number is a mean over the examples, at temperature 1.

    Parameters
    ----------
    teacher_logits, student_logits
        (..., n, C) that broadcast; leading axes (students, seeds) are kept in the results. For tokens (..., n, T, C),
        with ``targets`` or ``mask`` (n, T): every position that counts is an example. Logarithms of probabilities are
        logits too, so any two predictive distributions compare, such as those of long and of short chains.
    targets
        Class numbers (n,) or (n, T), of what the logits at this very position predict; with them the numbers that need
        labels are added. A position with the target -100 does not count, as in torch.
    mask
        True, or 1, at the positions that count, (n,) or (n, T); default: all.
    top_k
        Values of k at which the sets of the k likeliest classes are compared.
    dims, coords
        Names and coordinates of the leading axes; default: a single one is called ``student``.

    Returns
    -------
    xarray.Dataset
        Over ``dims``, the mean of every metric of `kdlandscape.distillation.metrics`: ``agreement`` of the largest
        logits, ``kl_teacher_student``, ``kl_student_teacher``, ``jensen_shannon``, ``entropy_gap`` [nat],
        ``total_variation``. With ``top_k`` also ``top_k_overlap``, ``top_k_teacher_mass`` and ``top_k_student_mass``
        over ``k``. With targets also ``teacher_`` and ``student_`` ``accuracy``, ``nll`` [nat], ``ece``;
        ``agreement_min`` and ``agreement_max``, the bounds that accuracies a, b allow: max(0, a+b-1), 1-\|a-b\|;
        ``agreement_teacher_right`` and ``agreement_teacher_wrong`` (NaN where there is no such example).

    Raises
    ------
    ValueError
        If the shapes do not fit, leading axes have no names, or no position counts.

    Notes
    -----
    Stanton et al. 2021, section 3. The lower bound holds for any number of classes. Examples are compared in blocks of
    about 4 million numbers, so the memory beside the logits does not grow with their number.
    """
    z_t, z_s, known = _examples(teacher_logits, student_logits, targets, mask)
    axes = _named(dims, z_t.ndim - 2)
    numbers = {metric.__name__: (_mean(metric, z_t, z_s), *label_of(metric)) for metric in METRICS}
    if known is not None:
        numbers |= _with_labels(z_t, z_s, known)
    found = {name: variable(axes, value.cpu(), *label) for name, (value, *label) in numbers.items()}
    return dataset(found | _top_k(z_t, z_s, top_k, axes), {**(coords or {}), **({"k": top_k} if top_k else {})})


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


def _examples(
    teacher_logits: Tensor, student_logits: Tensor, targets: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return logits (..., n, C) and targets (n,) of the examples, or tokens, that count."""
    given = {name: value for name, value in {"targets": targets, "mask": mask}.items() if value is not None}
    count = next((value.ndim for value in given.values()), 1)
    if teacher_logits.shape[-1 - count :] != student_logits.shape[-1 - count :]:
        raise ValueError(
            f"expected logits of the same examples and classes, got {tuple(teacher_logits.shape)} for the teacher and "
            f"{tuple(student_logits.shape)} for the student"
        )
    places = teacher_logits.shape[-1 - count : -1]
    for name, value in given.items():
        if value.shape != places:
            raise ValueError(f"expected {name} of shape {tuple(places)}, got {tuple(value.shape)}")
    z_t, z_s = torch.broadcast_tensors(teacher_logits, student_logits)
    z_t, z_s = (z.flatten(-1 - count, -2) for z in (z_t, z_s))
    known = None if targets is None else targets.flatten()
    counts = z_t.new_ones(z_t.shape[-2], dtype=torch.bool) if mask is None else mask.flatten().bool()
    if known is not None:
        counts = counts & (known != IGNORED)
    if not counts.any():
        raise ValueError("expected at least one example that counts, got none: the mask or the targets leave all out")
    if counts.all():
        return z_t, z_s, known
    return z_t[..., counts, :], z_s[..., counts, :], None if known is None else known[counts]


def _mean(metric: Metric, z_t: Tensor, z_s: Tensor) -> Tensor:
    """Return the mean (...,) of a metric over the examples, block by block."""
    size = max(1, _BLOCK * z_t.shape[-2] // max(1, z_t.numel()))
    blocks = zip(z_t.split(size, -2), z_s.split(size, -2), strict=True)
    return torch.cat([metric(*block) for block in blocks], -1).mean(-1)


def _top_k(z_t: Tensor, z_s: Tensor, sizes: Sequence[int], axes: tuple[str, ...]) -> dict[str, xr.Variable]:
    """Return what the k likeliest classes have in common, over the leading axes and ``k``."""
    words = {
        "overlap": "share of the k likeliest classes that teacher and student have in common",
        "teacher_mass": "teacher's probability of the classes in both sets of the k likeliest",
        "student_mass": "student's probability of the classes in both sets of the k likeliest",
    }
    if not sizes:
        return {}
    compared = torch.stack([_mean(partial(_stacked_top_k, k=k), z_t, z_s) for k in sizes], -1)
    return {
        f"top_k_{field}": variable((*axes, "k"), value.cpu(), long_name)
        for (field, long_name), value in zip(words.items(), compared, strict=True)
    }


def _stacked_top_k(z_t: Tensor, z_s: Tensor, *, k: int) -> Tensor:
    return torch.stack(shared_top_k(z_t, z_s, k))


def _with_labels(z_t: Tensor, z_s: Tensor, targets: Tensor) -> dict[str, tuple[Tensor, str, str]]:
    """Return name -> (value (...,), long name, unit) of the numbers that need labels."""
    numbers: dict[str, tuple[Tensor, str, str]] = {}
    for who, z in {"teacher": z_t, "student": z_s}.items():
        numbers[f"{who}_accuracy"] = correct(z, targets).mean(-1), f"{who} accuracy", "1"
        nll = -z.log_softmax(-1).gather(-1, targets.expand(z.shape[:-1])[..., None])[..., 0].mean(-1)
        numbers[f"{who}_nll"] = nll, f"{who} negative log likelihood", "nat"
        ece = _CALIBRATION.finish(_CALIBRATION.each(z, targets).mean(-2))
        numbers[f"{who}_ece"] = ece, f"{who} expected calibration error", "1"
    a, b = numbers["teacher_accuracy"][0], numbers["student_accuracy"][0]
    agree, right = agreement(z_t, z_s), correct(z_t, targets)
    where_right, where_wrong = ((agree * kept).sum(-1) / kept.sum(-1) for kept in (right, 1 - right))
    return numbers | {
        "agreement_min": ((a + b - 1).clamp_min(0), "least agreement that both accuracies allow", "1"),
        "agreement_max": (1 - (a - b).abs(), "greatest agreement that both accuracies allow", "1"),
        "agreement_teacher_right": (where_right, "agreement where the teacher is right", "1"),
        "agreement_teacher_wrong": (where_wrong, "agreement where the teacher is wrong", "1"),
    }


_CALIBRATION = calibration_error()
_BLOCK = 2**22  # numbers of logits that are compared at once
