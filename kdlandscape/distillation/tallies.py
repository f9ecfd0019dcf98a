"""Fidelity as sums over examples, or positions, that add up over batches of any size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.distillation.metrics import METRICS, agreement, correct, shared_top_k
from kdlandscape.landscape.reduction import calibration_error, label_of

IGNORED = -100  # the target of a position that does not count, as in torch
_CALIBRATION = calibration_error()
_BLOCK = 2**22  # numbers of logits that are compared at once
_TOP_K = {
    "overlap": "share of the k likeliest classes that teacher and student have in common",
    "teacher_mass": "teacher's probability of the classes in both sets of the k likeliest",
    "student_mass": "student's probability of the classes in both sets of the k likeliest",
}
_WHO = ("teacher", "student")


@dataclass(frozen=True)
class Tally:
    """Sums over the examples that count; the sum of two tallies is the tally of both batches.

    Attributes
    ----------
    count
        How many examples, or positions.
    sums
        name -> sum in float64, over the leading axes of the logits; top-k sets and calibration bins have one more axis.
    labels
        name -> (long name, unit) of the means.
    top_k
        The values of k.
    """

    count: int
    sums: dict[str, Tensor]
    labels: dict[str, tuple[str, str]]
    top_k: tuple[int, ...] = ()

    def __add__(self, other: "Tally") -> "Tally":
        if (self.top_k, self.sums.keys()) != (other.top_k, other.sums.keys()):
            odd = sorted(self.sums.keys() ^ other.sums.keys()) or [f"top_k {self.top_k} and {other.top_k}"]
            raise ValueError(f"expected tallies of the same numbers, got two that differ in {', '.join(odd)}")
        sums = {name: total + other.sums[name] for name, total in self.sums.items()}
        return Tally(self.count + other.count, sums, self.labels, self.top_k)

    def means(self, dims: str | Sequence[str] | None = None, coords: Mapping[str, Any] | None = None) -> xr.Dataset:
        """Return what `kdlandscape.fidelity` returns; ``dims`` and ``coords`` are those of the leading axes."""
        means = {name: total.cpu() / self.count for name, total in self.sums.items()}
        axes = _named(dims, means["agreement"].ndim)
        numbers = {name: (means[name], *label) for name, label in self.labels.items()}
        if "teacher_accuracy" in means:
            numbers |= _with_labels(means)
        found = {name: variable(axes, value.numpy(), *label) for name, (value, *label) in numbers.items()}
        for field, long_name in _TOP_K.items() if self.top_k else ():
            found[f"top_k_{field}"] = variable((*axes, "k"), means[f"top_k_{field}"].numpy(), long_name)
        return dataset(found, {**(coords or {}), **({"k": list(self.top_k)} if self.top_k else {})})


def tally(
    teacher_logits: Tensor,
    student_logits: Tensor,
    targets: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    top_k: Sequence[int] = (),
    metrics: Mapping[str, Callable[[Tensor, Any], Tensor]] | None = None,
) -> Tally:
    """Sum what `kdlandscape.fidelity` averages, for one batch; the arguments are the same.

    Batches of sequences weigh by the positions that count in them, not by one a batch::

        reduce(add, (tally(teacher(x), student(x), y) for x, y in batches)).means()

    Raises
    ------
    ValueError
        If the shapes do not fit, or no position counts.
    """
    z_t, z_s, known = _examples(teacher_logits, student_logits, targets, mask)
    size = max(1, _BLOCK * z_t.shape[-2] // max(1, z_t.numel()))
    sums: dict[str, Tensor] = {}
    for start in range(0, z_t.shape[-2], size):
        t, s = (z[..., start : start + size, :].double() for z in (z_t, z_s))
        y = None if known is None else known[start : start + size]
        for name, value in _block(t, s, y, top_k, metrics or {}).items():
            sums[name] = sums[name] + value if name in sums else value
    labels = {metric.__name__: label_of(metric) for metric in METRICS}
    for name, metric in (metrics or {}).items() if known is not None else ():
        long_name, units = label_of(metric, name)
        labels |= {f"{who}_{name}": (f"{who} {long_name}", units) for who in _WHO}
    return Tally(z_t.shape[-2], sums, labels, tuple(top_k))


def _block(
    t: Tensor, s: Tensor, targets: Tensor | None, top_k: Sequence[int], metrics: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return the sums (...,) of a block of examples with logits (..., n, C) in float64."""
    sums = {metric.__name__: metric(t, s).sum(-1) for metric in METRICS}
    if top_k:
        shared = [shared_top_k(t, s, k) for k in top_k]
        sums |= {f"top_k_{field}": torch.stack([getattr(one, field).sum(-1) for one in shared], -1) for field in _TOP_K}
    if targets is None:
        return sums
    right = correct(t, targets)
    sums["agreement_and_right"] = (agreement(t, s) * right).sum(-1)
    for who, z in zip(_WHO, (t, s), strict=True):
        sums[f"{who}_accuracy"] = correct(z, targets).sum(-1)
        nll = -z.log_softmax(-1).gather(-1, targets.expand(z.shape[:-1])[..., None])[..., 0]
        sums[f"{who}_nll"] = nll.sum(-1)
        sums[f"{who}_ece"] = _CALIBRATION.each(z, targets).sum(-2)
        for name, metric in metrics.items():
            sums[f"{who}_{name}"] = _each_network(metric, z, targets)
    return sums


def _each_network(metric: Callable[[Tensor, Any], Tensor], z: Tensor, targets: Tensor) -> Tensor:
    """Return the sums (...,) of a metric that takes the logits of one network (n, C)."""
    rows = [metric(one, targets).double().sum() for one in z.reshape(-1, *z.shape[-2:])]
    return torch.stack(rows).reshape(z.shape[:-2])


def _with_labels(means: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, str, str]]:
    """Return name -> (value (...,), long name, unit) of the numbers that need labels."""
    numbers: dict[str, tuple[Tensor, str, str]] = {}
    for who in _WHO:
        numbers[f"{who}_accuracy"] = means[f"{who}_accuracy"], f"{who} accuracy", "1"
        numbers[f"{who}_nll"] = means[f"{who}_nll"], f"{who} negative log likelihood", "nat"
        numbers[f"{who}_ece"] = _CALIBRATION.finish(means[f"{who}_ece"]), f"{who} expected calibration error", "1"
    a, b = means["teacher_accuracy"], means["student_accuracy"]
    both = means["agreement_and_right"]
    return numbers | {
        "agreement_min": ((a + b - 1).clamp_min(0), "least agreement that both accuracies allow", "1"),
        "agreement_max": (1 - (a - b).abs(), "greatest agreement that both accuracies allow", "1"),
        "agreement_teacher_right": (both / a, "agreement where the teacher is right", "1"),
        "agreement_teacher_wrong": (
            (means["agreement"] - both) / (1 - a),
            "agreement where the teacher is wrong",
            "1",
        ),
    }


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
