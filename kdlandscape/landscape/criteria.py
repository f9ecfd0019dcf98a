"""The loss and the metrics: what each reads of a network's output, and how sums over batches become one number."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from kdlandscape.landscape.network import Outputs, picked, with_part
from kdlandscape.landscape.reduction import Pooled, Reduced, Reducer, label_of, reducer

LossFunction = Callable[[Any, Any], Any] | Pooled


class Criteria:
    """The loss, under the name ``loss``, and the metrics by name, on one device and in one precision.

    Parameters
    ----------
    loss, metrics, outputs, units
        As for `kdlandscape.landscape.objective.Objective`.
    device, dtype
        Where and in which precision they compute.

    Attributes
    ----------
    labels
        name -> (long name, unit) of the loss and of every metric.
    is_likelihood
        Whether the loss says that it is a negative log likelihood in natural parameters.
    which
        Which part of an output counts; None: ``logits``, else the first tensor.
    whole
        The loss and metrics that read the whole output, as `kdlandscape.landscape.checks` found.
    stand_ins
        For losses that read the whole output but use only the part that counts of it: an output, and that part of it,
        in whose place any other can be put.
    """

    def __init__(
        self,
        loss: LossFunction,
        metrics: Mapping[str, LossFunction] | None,
        outputs: Outputs,
        units: str | None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        if metrics and "loss" in metrics:
            raise ValueError("a metric may not be called 'loss': that name is the objective's own; rename the metric")
        self._functions: dict[str, LossFunction] = {"loss": loss, **(metrics or {})}
        self.which, self.device, self.dtype = outputs, device, dtype
        self.labels = {name: label_of(function, name) for name, function in self._functions.items()}
        if units is not None:
            self.labels["loss"] = (self.labels["loss"][0], units)
        self.is_likelihood = bool(getattr(loss, "is_likelihood", False))
        self.whole = frozenset[str]()
        self.stand_ins: dict[str, tuple[Any, Tensor]] = {}
        self._reducers = self._reducers_in(dtype)

    def _reducers_in(self, dtype: torch.dtype) -> dict[str, Reducer]:
        return {name: reducer(function, self.device, dtype) for name, function in self._functions.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """``loss`` and the names of the metrics."""
        return tuple(self._functions)

    def to(self, dtype: torch.dtype) -> Self:
        """Return the same in another precision."""
        other = copy.copy(self)
        other.dtype, other._reducers = dtype, self._reducers_in(dtype)
        return other

    def counted(self, raw: Any) -> Any:
        """Return the part of an output that counts, in the precision of the loss."""
        part = picked(raw, self.which)
        floating = isinstance(part, Tensor) and part.is_floating_point() and part.dtype != self.dtype
        return part.to(self.dtype) if floating else part

    def taken(self, raw: Any, name: str = "loss") -> Any:
        """Return what the loss or a metric takes of an output: all of it, or the part that counts."""
        return raw if name in self.whole else self.counted(raw)

    def reduce(self, outputs: Any, targets: Any, name: str = "loss") -> Reduced:
        """Return the sum and the weight of the loss (or a metric) for outputs that were taken: differentiable."""
        if name in self.stand_ins and isinstance(outputs, Tensor):
            like, part = self.stand_ins[name]
            outputs = with_part(like, part, outputs)
        return self._reducers[name](outputs, targets)

    def sums(self, raw: Any, targets: Any) -> list[Tensor]:
        """Return sum and weight of the loss and of every metric in turn, on the output for one batch."""
        reduced = [self.reduce(self.taken(raw, name), targets, name) for name in self.names]
        return [torch.as_tensor(part, dtype=self.dtype, device=self.device) for pair in reduced for part in pair]

    def finish(self, sums: list[Tensor]) -> dict[str, Tensor]:
        """Divide sums by weights, as `sums` gives them but over all batches, with a first axis of points (K, ...)."""
        result = {}
        for (name, function), total, weight in zip(self._functions.items(), sums[::2], sums[1::2], strict=True):
            mean = total / weight.view(-1, *[1] * (total.ndim - 1))
            result[name] = (function.finish(mean) if isinstance(function, Pooled) else mean).to(self.dtype)
        return result
