"""The front desk: an objective is built from a network, a loss and data, checked, and asked for values."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdlandscape.landscape.checks import look
from kdlandscape.landscape.curvature.curvatures import ggn, hessian
from kdlandscape.landscape.evaluation.points import evaluate, gradient, predictions, value
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.loss import LossFunction, MeanLoss
from kdlandscape.landscape.network import Outputs
from kdlandscape.landscape.params import Theta
from kdlandscape.summary import Summarized, count


class Objective(Summarized, MeanLoss):
    r"""The mean loss :math:`L(\theta) = \sum_i w_i \ell_i(\theta) / \sum_i w_i` of a network over a fixed data set.

    The module is copied, put in eval mode and never touched again: buffers are frozen, and the mode, ``.grad``,
    ``requires_grad`` and random state of the caller's module stay as they are. Theta holds the parameters with
    ``requires_grad=True``; every other parameter and buffer is a constant.

    Parameters
    ----------
    model
        Any module whose forward takes one batch of inputs: a tensor, a tuple or list by place, a dict by name. Wrappers
        (``DataParallel``, ``torch.compile``, averaged models) are taken off.
    loss
        ``loss(outputs, targets)`` gives the mean over the batch, or one value for each example (n,), or a pair
        (sum, weight). ``nn.CrossEntropyLoss`` and ``nn.NLLLoss`` are averaged by their class weights over the whole
        data set, whatever the batches are. It gets the whole output of the network where it can read that, else the
        part that counts (``outputs``), in float32 at least.
    data
        ``(inputs, targets)``, a list of such batches, a ``Dataset`` or a ``DataLoader``; a batch may be a dict with its
        targets under ``labels``. Held in memory up to 1 GiB, else streamed.
    metrics
        More functions like ``loss``, by name; all come from the same forward pass.
    batch_size
        Examples a forward pass; the result does not depend on it, unless the network itself mixes the examples of a
        batch: then the batches are kept as they are. Default: what a DataLoader says, else all.
    device, dtype
        Where and in which precision to compute; default: where and as the model is, each parameter in its own
        precision, theta in the widest.
    outputs
        Which part of the network's output counts, for losses that do not read all of it, for predictions and for
        Gauss-Newton products: a function, key, index or attribute; default: ``logits``, else the first tensor.
    units
        The unit of the loss; default: "nat" for torch's log likelihoods and functions that say so, else "1".

    Raises
    ------
    ValueError
        If nothing is trainable, the network does not run on the data, is random or cannot be copied; if the data are
        empty or not the same when they are read again; if a loss is not finite, is no mean over examples, or compares
        shapes that torch would multiply out; if two evaluations differ.

    Attributes
    ----------
    theta
        The weights that the module came with (P,).
    model, constants
        Its own copy of the module, in eval mode, and what theta does not hold of it: buffers and frozen parameters.

    Notes
    -----
    Construction costs two passes over the data and a second reading of them; see `kdlandscape.landscape.checks`.
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
        super().__init__(
            model,
            loss,
            data,
            metrics=metrics,
            batch_size=batch_size,
            device=device,
            dtype=dtype,
            units=units,
            outputs=outputs,
        )
        look(self)

    def value(self, theta: Theta) -> Tensor:
        """Mean loss at theta, a scalar. One forward pass over the data."""
        return value(self, theta)

    def grad(self, theta: Theta) -> Tensor:
        """Gradient (P,) of the mean loss. One forward and backward pass over the data."""
        return gradient(self, theta)

    def predict(self, theta: Theta) -> Any:
        """Return the outputs (n, ...) of the network for every example, in the order of the data. One forward pass."""
        return predictions(self, theta)

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

    def _summary(self) -> tuple[str, dict[str, Any]]:
        facts = {"network": type(self.model).__name__, "theta": count(self.dim, "parameter")}
        facts |= {"loss": self.labels["loss"][0], "unit": self.units, "data": count(self.num_examples, "example")}
        metrics = [name for name in self.metric_names if name != "loss"]
        facts |= {"metrics": ", ".join(metrics)} if metrics else {}
        return type(self).__name__, {**facts, "BatchNorm": self.bn, "computes in": f"{self.dtype} on {self.device}"}
