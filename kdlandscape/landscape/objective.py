"""The loss as a pure function of theta over a fixed data set."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from kdlandscape.landscape.batch_norm import with_policy
from kdlandscape.landscape.batches import Batches
from kdlandscape.landscape.evaluation.evaluator import evaluator, pieces, plain
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.evaluation.trial import choose
from kdlandscape.landscape.params import Ravel, Theta
from kdlandscape.landscape.reduction import Pooled, Reduced, check_mean, reducer

Loss = Callable[[Any, Any], Any] | Pooled


class Objective:
    r"""The mean loss :math:`L(\theta) = \sum_i w_i \ell_i(\theta) / \sum_i w_i` of a network over a fixed data set.

    The module is copied, put in eval mode and never touched again: buffers are frozen, and the mode, ``.grad``,
    ``requires_grad`` and random state of the caller's module stay as they are. Theta holds the parameters with
    ``requires_grad=True``; every other parameter and buffer is a constant.

    Parameters
    ----------
    model
        Any module whose forward takes one batch of inputs (a tensor, or a tuple or dict of tensors).
    loss
        ``loss(outputs, targets)`` gives the mean over the batch, or one value for each example (n,), or a pair
        (sum, weight). ``nn.CrossEntropyLoss`` and ``nn.NLLLoss`` are averaged by their class weights over the whole
        data set, whatever the batches are.
    data
        ``(inputs, targets)``, a ``Dataset`` or a ``DataLoader``. Held in memory up to 1 GiB, else streamed.
    metrics
        More functions like ``loss``, by name; all come from the same forward pass.
    batch_size
        Examples a forward pass; the result does not depend on it. Default: what a DataLoader says, else all.
    device, dtype
        Where and in which precision to compute; default: those of the model's first parameter.

    Raises
    ------
    ValueError
        If nothing is trainable, the data are empty, the loss is not finite, a scalar loss is not a mean over
        examples, or two evaluations differ.

    Attributes
    ----------
    theta
        The weights that the module came with (P,).
    model, constants
        Its own copy of the module, in eval mode, and what theta does not hold of it: buffers and frozen parameters.

    Notes
    -----
    Construction costs two passes over the data.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        data: Any,
        *,
        metrics: Mapping[str, Loss] | None = None,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if metrics and "loss" in metrics:
            raise ValueError("a metric may not be called 'loss': that name is the objective's own; rename the metric")
        first = next(model.parameters(), torch.empty(0))
        self.device = torch.device(device) if device is not None else first.device
        self.dtype = dtype or first.dtype
        space = Ravel.of(model)
        self.model = copy.deepcopy(model).eval().to(self.device, self.dtype)
        for parameter in self.model.parameters():
            parameter.grad = None
        self._ravel = space
        self.constants = _constants(self.model, space)
        self._reducers = {
            name: reducer(function, self.device, self.dtype)
            for name, function in {"loss": loss, **(metrics or {})}.items()
        }
        self._finish = {
            name: function.finish if isinstance(function, Pooled) else lambda mean: mean
            for name, function in {"loss": loss, **(metrics or {})}.items()
        }
        self.bn = "frozen"
        self.cache: dict[Any, Any] = {}  # recorded graphs and measured strategies, by what they depend on
        self.theta = space.ravel(self.model).clone()
        self.batches = Batches(data, batch_size, self.device, self.dtype)
        self._refuse_unstable()

    @property
    def dim(self) -> int:
        """P, the number of trainable parameters."""
        return self._ravel.dim

    @property
    def num_examples(self) -> int:
        """How many examples the mean runs over."""
        return self.batches.num_examples

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

    @property
    def shapes(self) -> Mapping[str, torch.Size]:
        """Name and shape of every trainable parameter, in the order of theta."""
        return self._ravel.shapes

    def outputs(self, theta: Tensor, inputs: Any, buffers: Mapping[str, Tensor] | None = None) -> Any:
        """Run the network at theta (P,) on a batch of inputs: pure, differentiable, fit for ``torch.func``."""
        parameters = {**self.constants, **(buffers or {}), **self._ravel.unravel(theta)}
        with plain_attention():
            if isinstance(inputs, Mapping):
                return functional_call(self.model, parameters, (), dict(inputs))
            return functional_call(self.model, parameters, inputs if isinstance(inputs, tuple) else (inputs,))

    def reduced(self, theta: Tensor, batch: tuple[Any, Any], name: str = "loss") -> Reduced:
        """Return the sum and the weight of the loss (or a metric) on one batch: pure and differentiable."""
        inputs, targets = batch
        return self._reducers[name](self.outputs(theta, inputs), targets)

    def reduce(self, outputs: Any, targets: Any, name: str = "loss") -> Reduced:
        """Return the sum and the weight of the loss (or a metric) for given outputs."""
        return self._reducers[name](outputs, targets)

    def value(self, theta: Theta) -> Tensor:
        """Mean loss at theta, a scalar. One forward pass over the data."""
        return self.evaluate(self.ravel(theta)[None])["loss"][0]

    def grad(self, theta: Theta) -> Tensor:
        """Gradient (P,) of the mean loss. One forward and backward pass over the data."""
        point = self.ravel(theta).requires_grad_()
        total, weight = torch.zeros_like(point), torch.zeros((), device=self.device)
        for batch in self.stream():
            reduced = self.reduced(point, batch)
            total += torch.autograd.grad(reduced.total, point)[0]
            weight = weight + reduced.weight
        return total / weight

    def hvp(self, theta: Theta, v: Tensor) -> Tensor:
        """Hessian of the mean loss times v, (P,) or a block of rows (K, P). Costs about 2 gradients a row.

        For many products at one theta use ``kdlandscape.landscape.curvature.operator.operator``, which linearizes once.
        """
        from kdlandscape.landscape.curvature.operator import operator

        return operator(self, theta, curvature="hessian", products=1)(v)

    def ggn_vp(self, theta: Theta, v: Tensor) -> Tensor:
        """Generalized Gauss-Newton matrix of the mean loss times v, (P,) or a block of rows (K, P)."""
        from kdlandscape.landscape.curvature.operator import operator

        return operator(self, theta, curvature="ggn", products=1)(v)

    def evaluate(self, thetas: Tensor, *, strategy: Strategy | None = None) -> dict[str, Tensor]:
        """Evaluate the loss and every metric at K points (K, P): name -> (K,). K forward passes over the data.

        The data are read once; NaN and inf are kept as they come.

        Parameters
        ----------
        thetas
            The points, (K, P).
        strategy
            How; default: a loop for a few points, else the fastest in a short trial, remembered for later calls.
        """
        if thetas.ndim != 2 or thetas.shape[1] != self.dim:
            raise ValueError(f"expected points of shape (K, {self.dim}), got {tuple(thetas.shape)}")
        return evaluator(self, strategy or choose(self, thetas))(thetas)

    def terms(self, theta: Tensor, batch: tuple[Any, Any], buffers: Mapping[str, Tensor] | None = None) -> list[Tensor]:
        """Return sum and weight of the loss and of every metric in turn, on one batch, from one forward pass: pure."""
        inputs, targets = batch
        outputs = self.outputs(theta, inputs, buffers)
        reduced = [reduce(outputs, targets) for reduce in self._reducers.values()]
        return [torch.as_tensor(part, dtype=self.dtype, device=self.device) for pair in reduced for part in pair]

    def finish(self, sums: list[Tensor]) -> dict[str, Tensor]:
        """Divide sums by weights, as in ``terms`` but over all batches and with a first axis of points (K, ...)."""
        result = {}
        for name, total, weight in zip(self._reducers, sums[::2], sums[1::2], strict=True):
            mean = total / weight.view(-1, *[1] * (total.ndim - 1))
            result[name] = self._finish[name](mean).to(self.dtype)
        return result

    def with_batch_norm(self, bn: str) -> "Objective":
        """Return this objective with another BatchNorm policy: ``frozen``, ``recalibrate`` or ``batch``.

        ``frozen`` keeps the running statistics of the module. ``recalibrate`` re-estimates them on the data at every
        point (mean and variance of each batch, averaged by its number of examples; one more forward pass).
        ``batch`` normalizes every batch by its own statistics, so the result depends on ``batch_size``, which is then
        also the size of the micro-batches.
        """
        if bn == self.bn:
            return self
        other = copy.copy(self)
        other.bn, other.cache, other.model = bn, {}, with_policy(self.model, bn)
        other.constants = _constants(other.model, self._ravel)
        return other

    def predict(self, theta: Theta) -> Any:
        """Return the outputs (n, ...) of the network for every example, in the order of the data. One forward pass."""
        point = self.ravel(theta)
        with torch.no_grad():
            return torch.cat([self.outputs(point, inputs) for inputs, _ in self.stream()])

    def stream(self) -> Iterator[tuple[Any, Any]]:
        """Yield the batches ``(inputs, targets)`` on the objective's device, always the same examples in order."""
        return iter(self.batches)

    def _refuse_unstable(self) -> None:
        """Evaluate twice: every scalar loss must be a mean over examples, and both evaluations must agree."""
        with torch.no_grad():
            for inputs, targets in (
                piece for batch in self.batches.loaded() for piece in pieces(self, plain(self), batch)
            ):
                outputs = self.outputs(self.theta, inputs)
                for name, reduce in self._reducers.items():
                    check_mean(name, reduce, outputs, targets)
        first, second = (self.evaluate(self.theta[None]) for _ in range(2))
        if not torch.isfinite(first["loss"]).all():
            raise ValueError(
                f"the loss at the model's own parameters is {float(first['loss'])}: expected a finite number; "
                "check the inputs for NaN and the loss for a logarithm of zero"
            )
        tolerance = torch.finfo(self.dtype).eps ** 0.5
        for name, value in first.items():
            if not torch.allclose(value, second[name], rtol=tolerance, atol=tolerance, equal_nan=True):
                raise ValueError(
                    f"two evaluations of {name!r} differ ({float(value)} and {float(second[name])}): expected a "
                    "deterministic pipeline; turn off random augmentation and sampling in the data"
                )


@contextmanager
def plain_attention() -> Iterator[None]:
    """Compute attention by its plain formula: the fused kernels lack second or forward-mode derivatives."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _constants(model: nn.Module, space: Ravel) -> dict[str, Tensor]:
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: tensor.detach() for name, tensor in tensors.items() if name not in space.shapes}
