"""How faithfully a student reproduces its teacher's predictive distribution."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xarray as xr
from torch import Tensor

from kdlandscape.distillation.tallies import tally


def fidelity(
    teacher_logits: Tensor,
    student_logits: Tensor,
    targets: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    top_k: Sequence[int] = (),
    metrics: Mapping[str, Callable[[Tensor, Any], Tensor]] | None = None,
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
    metrics
        More functions of (logits (n, C), targets (n,)) with a number for each example, by name; each gives
        ``teacher_<name>`` and ``student_<name>``, where there are targets.
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
    Stanton et al. 2021, section 3. The lower bound holds for any number of classes. Everything is computed in float64
    from the logits as they are, in blocks, so the memory beside the logits does not grow with their number. Over
    batches, use `kdlandscape.distillation.tally`, whose sums add up.
    """
    return tally(teacher_logits, student_logits, targets, mask=mask, top_k=top_k, metrics=metrics).means(dims, coords)


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
