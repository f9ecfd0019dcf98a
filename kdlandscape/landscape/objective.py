"""The front desk: an objective is built from a network, a loss and data, checked, and asked for values."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdlandscape.landscape.curvature.curvatures import ggn, hessian
from kdlandscape.landscape.evaluation.evaluator import pieces, plain
from kdlandscape.landscape.evaluation.points import evaluate, value
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.loss import LossFunction, MeanLoss
from kdlandscape.landscape.params import Theta
from kdlandscape.landscape.reduction import check_mean


class Objective(MeanLoss):
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
    units
        The unit of the loss; default: "nat" for torch's log likelihoods and functions that say so, else "1".

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
        loss: LossFunction,
        data: Any,
        *,
        metrics: Mapping[str, LossFunction] | None = None,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        units: str | None = None,
    ) -> None:
        super().__init__(
            model, loss, data, metrics=metrics, batch_size=batch_size, device=device, dtype=dtype, units=units
        )
        self._refuse_unstable()

    def value(self, theta: Theta) -> Tensor:
        """Mean loss at theta, a scalar. One forward pass over the data."""
        return value(self, theta)

    def hvp(self, theta: Theta, v: Tensor) -> Tensor:
        """Hessian of the mean loss times v, (P,) or a block of rows (K, P). Costs about 2 gradients a row.

        For many products at one theta make the operator once: ``h = kdl.hessian(objective, theta)``, then ``h @ v``.
        """
        return hessian(self, theta, num_matvecs=1) @ v

    def ggn_vp(self, theta: Theta, v: Tensor) -> Tensor:
        """Generalized Gauss-Newton matrix of the mean loss times v, (P,) or a block of rows (K, P)."""
        return ggn(self, theta, num_matvecs=1) @ v

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
        return evaluate(self, thetas, strategy=strategy)

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
        for name, found in first.items():
            if not torch.allclose(found, second[name], rtol=tolerance, atol=tolerance, equal_nan=True):
                raise ValueError(
                    f"two evaluations of {name!r} differ ({float(found)} and {float(second[name])}): expected a "
                    "deterministic pipeline; turn off random augmentation and sampling in the data"
                )
