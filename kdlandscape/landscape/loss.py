"""The ground: the mean loss as a pure function of theta over a fixed data set.  Nothing in here looks at a surface."""

import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from kdlandscape.landscape.batch_norm import with_policy
from kdlandscape.landscape.batches import Batches
from kdlandscape.landscape.criteria import Criteria, LossFunction
from kdlandscape.landscape.network import Outputs, differing, functional, run
from kdlandscape.landscape.params import Params, Ravel, Theta, matching, single_at_least
from kdlandscape.landscape.reduction import Reduced

COUNTER = "num_batches_tracked"  # of BatchNorm: it counts training steps and changes no output in eval mode


class MeanLoss:
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
    device, dtype
        Where it computes, and the precision of theta; that of the loss is at least float32.
    criteria
        The loss and the metrics as functions of outputs and targets.
    mixes, moving
        What the checks of `kdlandscape.landscape.checks` found: whether the network mixes the examples of a batch, and
        the buffers that a forward pass changes (each pass gets a copy).
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
        space = Ravel.of(model)
        self.model = functional(model)
        first = next(self.model.parameters())
        self.device = torch.device(device) if device is not None else first.device
        if dtype is not None:
            self.model, space = self.model.to(dtype), space.to(dtype)
        self.model.to(self.device)
        self.dtype = dtype or space.dtype
        self.criteria = Criteria(loss, metrics, outputs, units, self.device, single_at_least(self.dtype))
        self._ravel = space
        self.constants = space.rest(self.model)
        self.bn = "frozen"
        self.mixes = False
        self.cache: dict[Any, Any] = {}
        self.theta = space.ravel(self.model).clone()
        own = dict.fromkeys([first.dtype, *(parameter.dtype for parameter in self.model.parameters())])
        self.batches = Batches(data, batch_size, self.device, tuple(own), self.loss_dtype)
        self.estimated_on = self.batches
        self.moving = frozenset[str]()

    @property
    def dim(self) -> int:
        """P, the number of trainable parameters."""
        return self._ravel.dim

    @property
    def num_examples(self) -> int:
        """How many examples the mean runs over."""
        return self.batches.num_examples

    @property
    def loss_dtype(self) -> torch.dtype:
        """The precision of the loss."""
        return self.criteria.dtype

    @property
    def labels(self) -> dict[str, tuple[str, str]]:
        """Name -> (long name, unit) of the loss and of every metric."""
        return self.criteria.labels

    @property
    def units(self) -> str:
        """The unit of the loss; "1" where it has none."""
        return self.labels["loss"][1]

    @property
    def metric_names(self) -> tuple[str, ...]:
        """``loss`` and the names of the metrics."""
        return self.criteria.names

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
        return self.criteria.taken(self.raw(theta, inputs, buffers))

    def reduced(self, theta: Tensor, batch: tuple[Any, Any], name: str = "loss") -> Reduced:
        """Return the sum and the weight of the loss (or a metric) on one batch: pure and differentiable."""
        inputs, targets = batch
        return self.criteria.reduce(self.criteria.taken(self.raw(theta, inputs), name), targets, name)

    def terms(self, theta: Tensor, batch: tuple[Any, Any], buffers: Mapping[str, Tensor] | None = None) -> list[Tensor]:
        """Return sum and weight of the loss and of every metric in turn, on one batch, from one forward pass: pure."""
        inputs, targets = batch
        return self.criteria.sums(self.raw(theta, inputs, buffers), targets)

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
        other.criteria = self.criteria.to(single_at_least(dtype))
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
