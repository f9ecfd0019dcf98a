"""The ground: the mean loss as a pure function of theta over a fixed data set.  Nothing in here looks at a surface."""

import copy
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from kdlandscape.landscape.batch_norm import running_statistics, with_policy
from kdlandscape.landscape.batches import Batches
from kdlandscape.landscape.network import Outputs, own_copy, picked, run, with_part
from kdlandscape.landscape.params import Params, Ravel, Theta, matching, single_at_least
from kdlandscape.landscape.reduction import Pooled, Reduced, Reducer, label_of, reducer
from kdlandscape.summary import Summarized, count

COUNTER = "num_batches_tracked"  # of BatchNorm: it counts training steps and changes no output in eval mode
LossFunction = Callable[[Any, Any], Any] | Pooled


class MeanLoss(Summarized):
    r"""The mean loss :math:`L(\theta) = \sum_i w_i \ell_i(\theta) / \sum_i w_i` of a network over a fixed data set.

    What `Objective` checks and shows to the user; all that looks at the surface works on this.

    Parameters
    ----------
    model, loss, data, metrics, batch_size, device, dtype, units
        As for `kdlandscape.landscape.objective.Objective`.

    Attributes
    ----------
    theta
        The weights that the module came with (P,).
    model, constants
        Its own copy of the module, in eval mode, and what theta does not hold of it: buffers and frozen parameters.
    device, dtype, loss_dtype
        Where it computes, the precision of theta, and that of the loss: at least float32.
    whole, mixes, moving
        What the checks of `kdlandscape.landscape.checks` found: the loss and metrics that read the whole output,
        whether the network mixes the examples of a batch, and the buffers that a forward pass changes (each pass gets a
        copy).
    stand_ins
        For losses that read the whole output but use only the part that counts of it: an output, and that part of it,
        in whose place any other can be put.
    labels
        name -> (long name, unit) of the loss and of every metric.
    bn, estimated_on
        What BatchNorm does: ``frozen``, ``recalibrate`` or ``batch``; and the data that ``recalibrate`` looks at.
    cache
        Recorded graphs and measured choices, by what they depend on.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        data: Any,
        *,
        metrics: Mapping[str, LossFunction] | None = None,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        units: str | None = None,
        outputs: Outputs = None,
    ) -> None:
        if metrics and "loss" in metrics:
            raise ValueError("a metric may not be called 'loss': that name is the objective's own; rename the metric")
        functions = {"loss": loss, **(metrics or {})}
        space = Ravel.of(model)
        self.model = own_copy(model)
        first = next(self.model.parameters())
        self.device = torch.device(device) if device is not None else first.device
        if dtype is not None:
            self.model, space = self.model.to(dtype), space.to(dtype)
        self.model.to(self.device)
        self.dtype = dtype or space.dtype
        self.loss_dtype = single_at_least(self.dtype)
        self._ravel, self._which = space, outputs
        self.labels = {name: label_of(function, name) for name, function in functions.items()}
        if units is not None:
            self.labels["loss"] = (self.labels["loss"][0], units)
        self.constants = space.rest(self.model)
        self._functions = functions
        self._reducers = self._reducers_in(self.loss_dtype)
        self._finish = {
            name: function.finish if isinstance(function, Pooled) else lambda mean: mean
            for name, function in functions.items()
        }
        self.is_likelihood = bool(getattr(loss, "is_likelihood", False))
        self.bn = "frozen"
        self.mixes = False
        self.cache: dict[Any, Any] = {}
        self.theta = space.ravel(self.model).clone()
        own = dict.fromkeys([first.dtype, *(parameter.dtype for parameter in self.model.parameters())])
        self.batches = Batches(data, batch_size, self.device, tuple(own), self.loss_dtype)
        self.estimated_on = self.batches
        self.moving, self.whole = frozenset[str](), frozenset[str]()
        self.stand_ins: dict[str, tuple[Any, Tensor]] = {}

    def _summary(self) -> tuple[str, dict[str, Any]]:
        facts = {"network": type(self.model).__name__, "theta": count(self.dim, "parameter")}
        facts |= {"loss": self.labels["loss"][0], "unit": self.units, "data": count(self.num_examples, "example")}
        metrics = [name for name in self.metric_names if name != "loss"]
        facts |= {"metrics": ", ".join(metrics)} if metrics else {}
        return type(self).__name__, {**facts, "BatchNorm": self.bn, "computes in": f"{self.dtype} on {self.device}"}

    @property
    def dim(self) -> int:
        """P, the number of trainable parameters."""
        return self._ravel.dim

    @property
    def num_examples(self) -> int:
        """How many examples the mean runs over."""
        return self.batches.num_examples

    @property
    def units(self) -> str:
        """The unit of the loss; "1" where it has none."""
        return self.labels["loss"][1]

    @property
    def metric_names(self) -> tuple[str, ...]:
        """``loss`` and the names of the metrics."""
        return tuple(self._reducers)

    def ravel(self, theta: Theta) -> Tensor:
        """Return theta (P,) of a flat vector, module or state dict on this device and dtype; refuse another space."""
        return self._ravel.ravel(theta).detach().to(self.device, self.dtype)

    def unravel(self, theta: Theta) -> dict[str, Tensor]:
        """Return the named parameters of theta."""
        return self._ravel.unravel(self.ravel(theta))

    def named(self, theta: nn.Module | Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the tensors of a module or state dict under the names that this network has for them."""
        return self._ravel.named(theta)

    @property
    def shapes(self) -> Mapping[str, torch.Size]:
        """Name and shape of every trainable parameter, in the order of theta."""
        return self._ravel.shapes

    @property
    def cuttable(self) -> bool:
        """Whether a batch may be cut without changing the loss: no layer mixes the examples of a batch."""
        return self.bn == "frozen" and not self.mixes

    def raw(self, theta: Tensor, inputs: Any, buffers: Mapping[str, Tensor] | None = None) -> Any:
        """Run the network at theta (P,) on a batch of inputs and return whatever it returns."""
        frozen = {name: self.constants[name].clone() for name in self.moving}
        return run(self.model, {**self.constants, **frozen, **(buffers or {}), **self._ravel.unravel(theta)}, inputs)

    def outputs(self, theta: Tensor, inputs: Any, buffers: Mapping[str, Tensor] | None = None) -> Any:
        """Run the network at theta (P,) on a batch of inputs: pure, differentiable, fit for ``torch.func``.

        Returns what the loss takes: the part of the output that counts, in the precision of the loss, or where the
        loss reads it, the whole output.
        """
        return self.taken(self.raw(theta, inputs, buffers))

    def taken(self, raw: Any, name: str = "loss") -> Any:
        """Return what the loss or a metric takes of an output: all of it, or the part that counts."""
        return raw if name in self.whole else self.counted(raw)

    def counted(self, raw: Any) -> Any:
        """Return the part of an output that counts, in the precision of the loss."""
        part = picked(raw, self._which)
        floating = isinstance(part, Tensor) and part.is_floating_point() and part.dtype != self.loss_dtype
        return part.to(self.loss_dtype) if floating else part

    def reduced(self, theta: Tensor, batch: tuple[Any, Any], name: str = "loss") -> Reduced:
        """Return the sum and the weight of the loss (or a metric) on one batch: pure and differentiable."""
        inputs, targets = batch
        return self.reduce(self.taken(self.raw(theta, inputs), name), targets, name)

    def reduce(self, outputs: Any, targets: Any, name: str = "loss") -> Reduced:
        """Return the sum and the weight of the loss (or a metric) for given outputs."""
        if name in self.stand_ins and isinstance(outputs, Tensor):
            like, part = self.stand_ins[name]
            outputs = with_part(like, part, outputs)
        return self._reducers[name](outputs, targets)

    def grad(self, theta: Theta) -> Tensor:
        """Gradient (P,) of the mean loss. One forward and backward pass over the data."""
        loss, point = self.at(theta)
        point = point.clone().requires_grad_()
        total, weight = torch.zeros_like(point, dtype=self.loss_dtype), torch.zeros((), device=self.device)
        for batch in loss.stream():
            reduced = loss.reduced(point, batch)
            total += torch.autograd.grad(reduced.total, point)[0]
            weight = weight + reduced.weight
        return (total / weight).to(point)

    def terms(self, theta: Tensor, batch: tuple[Any, Any], buffers: Mapping[str, Tensor] | None = None) -> list[Tensor]:
        """Return sum and weight of the loss and of every metric in turn, on one batch, from one forward pass: pure."""
        inputs, targets = batch
        raw = self.raw(theta, inputs, buffers)
        reduced = [self.reduce(self.taken(raw, name), targets, name) for name in self._reducers]
        return [torch.as_tensor(part, dtype=self.loss_dtype, device=self.device) for pair in reduced for part in pair]

    def finish(self, sums: list[Tensor]) -> dict[str, Tensor]:
        """Divide sums by weights, as in ``terms`` but over all batches and with a first axis of points (K, ...)."""
        result = {}
        for name, total, weight in zip(self._reducers, sums[::2], sums[1::2], strict=True):
            mean = total / weight.view(-1, *[1] * (total.ndim - 1))
            result[name] = self._finish[name](mean).to(self.loss_dtype)
        return result

    def with_batch_norm(self, bn: str) -> Self:
        """Return this objective with another BatchNorm policy: ``frozen``, ``recalibrate`` or ``batch``.

        ``frozen`` keeps the running statistics of the module. ``recalibrate`` re-estimates them on the data at every
        point (mean and variance of each batch, averaged by its number of examples; one more forward pass); see
        `with_statistics_of` for a loss on test data.
        ``batch`` normalizes every batch by its own statistics, so the result depends on ``batch_size``, which is then
        also the size of the micro-batches.
        """
        if bn == self.bn:
            return self
        other = copy.copy(self)
        other.bn, other.cache, other.model = bn, {}, with_policy(self.model, bn)
        other.constants = self._ravel.rest(other.model)
        return other

    def with_statistics_of(self, other: "MeanLoss") -> Self:
        """Return this objective whose ``recalibrate`` re-estimates running statistics on the data of another one.

        A network meets test data with statistics of its training data; its own would be looked up in the answer.
        """
        mine = copy.copy(self)
        mine.estimated_on, mine.cache = other.batches, {}
        return mine

    def predict(self, theta: Theta) -> Any:
        """Return the outputs (n, ...) of the network for every example, in the order of the data. One forward pass."""
        loss, point = self.at(theta)
        with torch.no_grad():
            parts = [self.counted(loss.raw(point, inputs)) for inputs, _ in loss.stream()]
        shapes = {part.shape[1:] for part in parts}
        if len(shapes) > 1:
            raise ValueError(
                f"expected outputs of one shape an example, got {sorted(map(tuple, shapes))}: pad the data"
            )
        return torch.cat(parts)

    def stream(self) -> Iterator[tuple[Any, Any]]:
        """Yield the batches ``(inputs, targets)`` on the objective's device, always the same examples in order."""
        return iter(self.batches)

    def at(self, theta: Theta) -> tuple[Self, Tensor]:
        """Return the loss and the flat point (P,) of a vector, a module or a state dict.

        A module or state dict is a network of its own: the loss that comes back holds its buffers and its frozen
        parameters as constants. A flat vector belongs to this loss as it is.

        Raises
        ------
        SpaceError
            A theta of another space; the message names the first difference.
        """
        point = self.ravel(theta)
        if isinstance(theta, Tensor | np.ndarray):
            return self, point
        tensors = self.named(theta)
        own = {
            name: tensors[name].detach().to(constant.device, constant.dtype)
            for name, constant in self.constants.items()
            if name in tensors and not name.endswith(COUNTER)
        }
        if differing(own, self.constants) is None:
            return self, point
        other = self.holding(own)
        other.theta = point.clone()
        return other, point

    def _reducers_in(self, dtype: torch.dtype) -> dict[str, Reducer]:
        return {name: reducer(function, self.device, dtype) for name, function in self._functions.items()}

    def holding(self, constants: Mapping[str, Tensor]) -> Self:
        """Return this loss with other values of some buffers or frozen parameters."""
        other = copy.copy(self)
        other.constants, other.cache = {**self.constants, **constants}, {}
        return other

    def on(self, batch: tuple[Any, Any]) -> Self:
        """Return this loss with one batch of its data as all of them."""
        other = copy.copy(self)
        other.batches, other.cache = self.batches.holding(batch), {}
        return other

    def joined(self, *thetas: Theta, free: Collection[str] = ()) -> tuple[Self, list[Tensor]]:
        """Return the loss that several networks share, and their flat points (P,): what a path or a plane needs.

        Buffers in ``free`` may differ; the loss has those of the first network.

        Raises
        ------
        SpaceError
            A theta of another space.
        ValueError
            Networks whose buffers or frozen parameters differ, which no path joins; the message names the first. With
            ``bn="recalibrate"`` running statistics may differ, since they are re-estimated at every point.
        """
        losses, points = zip(*(self.at(theta) for theta in thetas), strict=True)
        free = free if self.bn != "recalibrate" else running_statistics(self.model)
        for other in losses[1:]:
            name = differing(
                {key: value for key, value in other.constants.items() if key not in free}, losses[0].constants
            )
            if name is not None:
                raise ValueError(
                    f"{name!r} differs between the networks, and no path joins what is no trainable parameter: for the "
                    "running statistics of BatchNorm give bn='recalibrate'; else give flat thetas, to take what the "
                    "objective holds for all of them"
                )
        return losses[0], list(points)

    def restricted(self, params: Params, theta: Theta) -> tuple[Self, Tensor, Tensor]:
        """Return the loss of a block of the parameters, its theta, and where in the whole theta the block stands.

        Parameters
        ----------
        params
            Glob patterns of parameter names, such as ``"layer3.*"``; None: all of them.
        theta
            The point; parameters outside the block are held at it.

        Returns
        -------
        loss, theta, mask
            Of the block: theta (P',), copied; the mask (P,) of bool, on the CPU, is true in P' places of the whole
            theta. This loss is not changed.

        Raises
        ------
        SpaceError
            A theta of another space.
        ValueError
            A pattern that matches no parameter, with the nearest names.
        """
        loss, point = self.at(theta)
        point = point.clone()
        if params is None:
            return loss, point, torch.ones(self.dim, dtype=torch.bool)
        chosen = matching(self.shapes, params)
        named = self._ravel.unravel(point)
        mask = torch.cat([torch.full((tensor.numel(),), name in chosen) for name, tensor in named.items()])
        block = copy.copy(loss)
        block.cache = {}
        block._ravel = self._ravel.only(chosen)
        block.constants = {**loss.constants, **{name: named[name] for name in named if name not in chosen}}
        block.theta = point[mask.to(point.device)].clone()
        return block, block.theta, mask

    def to(self, dtype: torch.dtype | None) -> Self:
        """Return this loss in another precision; the data are those that it holds.

        Raises
        ------
        ValueError
            A loss function that holds tensors of another precision.
        """
        if dtype is None or set(self._ravel.dtypes.values()) == {dtype}:
            return self
        other = copy.copy(self)
        other.dtype, other.cache, other._ravel = dtype, {}, self._ravel.to(dtype)
        other.loss_dtype = single_at_least(dtype)
        other._reducers = self._reducers_in(other.loss_dtype)
        other.model = copy.deepcopy(self.model).to(dtype=dtype)
        other.constants = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in self.constants.items()
        }
        other.theta = self.theta.to(dtype)
        other.batches = self.batches.to(dtype, other.loss_dtype)
        try:
            with torch.no_grad(), warnings.catch_warnings(action="ignore"):
                other.reduced(other.theta, next(other.stream()))
        except RuntimeError as error:
            raise ValueError(
                f"the loss holds {self.dtype} tensors and does not take {dtype} ({error}); "
                f"expected an objective built with Objective(..., dtype={dtype})"
            ) from error
        return other


def differing(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> str | None:
    """Return the first name whose tensor in the second mapping is another one, or None."""
    return next((name for name, tensor in first.items() if not torch.equal(tensor, second[name])), None)
