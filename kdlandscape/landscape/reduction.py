"""From any user's loss to a pair (sum, weight) that adds up over batches."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves


class Reduced(NamedTuple):
    """A sum over the examples of one batch and the weight to divide by at the end."""

    total: Tensor
    weight: Tensor | float


LOG_LIKELIHOODS = (
    nn.CrossEntropyLoss,
    nn.NLLLoss,
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.KLDivLoss,
    nn.PoissonNLLLoss,
    nn.GaussianNLLLoss,
    nn.CTCLoss,
    nn.MultiLabelSoftMarginLoss,
    nn.SoftMarginLoss,
)
LOG_LIKELIHOOD_FUNCTIONS = (
    functional.cross_entropy,
    functional.nll_loss,
    functional.binary_cross_entropy,
    functional.binary_cross_entropy_with_logits,
    functional.kl_div,
    functional.poisson_nll_loss,
    functional.gaussian_nll_loss,
)
Function = TypeVar("Function", bound=Callable)
Reducer = Callable[[Any, Any], Reduced]


class Pooled(NamedTuple):
    """A metric of the whole data set that is no mean over examples, such as a calibration error.

    ``each(outputs, targets)`` gives m numbers for each example (n, m); their means over the whole data set (m,) are
    turned into one number by ``finish``; ``long_name`` and ``units`` say what it is.
    """

    each: Callable[[Any, Any], Tensor]
    finish: Callable[[Tensor], Tensor]
    long_name: str | None = None
    units: str = "1"


def reducer(loss: Callable[[Any, Any], Any] | Pooled, device: torch.device, dtype: torch.dtype) -> Reducer:
    """Wrap a loss so that it returns the sum and the weight of a batch, to be added over batches apart.

    Weighted cross entropy with ``reduction='mean'`` divides by the batch's own sum of class weights; averaging such
    means by batch size is wrong, so ``nn.CrossEntropyLoss`` and ``nn.NLLLoss`` are taken apart here.
    """
    if isinstance(loss, type) or not (callable(loss) or isinstance(loss, Pooled)):
        made = f"; make one of it: {loss.__name__}()" if isinstance(loss, type) else ""
        raise TypeError(f"expected the loss as a function of outputs and targets, got {loss!r}{made}")
    plain = isinstance(loss, nn.Module) and type(loss).forward in (nn.CrossEntropyLoss.forward, nn.NLLLoss.forward)
    if plain and isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) and loss.reduction == "mean":
        return _weighted(loss, device, dtype)
    if isinstance(loss, Pooled):
        each = loss.each
        return lambda outputs, targets: Reduced(each(outputs, targets).sum(0), float(num_examples(targets)))
    if isinstance(loss, nn.Module):
        loss = copy.deepcopy(loss).to(device, dtype)

    def reduce(outputs: Any, targets: Any) -> Reduced:
        value = loss(outputs, targets)
        n = num_examples(targets)
        if isinstance(value, tuple):
            return Reduced(value[0], value[1])
        if not isinstance(value, Tensor):
            raise ValueError(f"expected the loss to return a tensor, got {type(value).__name__}")
        if value.ndim == 0:
            return Reduced(value * n, float(n))
        if value.shape == (n,):
            return Reduced(value.sum(), float(n))
        raise ValueError(
            f"expected the loss to be a scalar mean, one value for each of the {n} examples, or a pair (sum, weight); "
            f"got shape {tuple(value.shape)}"
        )

    return reduce


def _weighted(loss: nn.CrossEntropyLoss | nn.NLLLoss, device: torch.device, dtype: torch.dtype) -> Reducer:
    total = copy.deepcopy(loss).to(device, dtype)
    total.reduction = "sum"

    def reduce(outputs: Tensor, targets: Tensor) -> Reduced:
        if targets.is_floating_point():  # class probabilities (n, C, ...): torch divides by n times the places
            return Reduced(total(outputs, targets), targets.numel() / targets.shape[min(1, targets.ndim - 1)])
        kept = targets != loss.ignore_index
        if total.weight is None:
            return Reduced(total(outputs, targets), kept.sum().to(dtype))
        return Reduced(total(outputs, targets), total.weight[targets.masked_fill(~kept, 0)].mul(kept).sum())

    return reduce


def label_of(function: Any, name: str | None = None) -> tuple[str, str]:
    """Return the long name and the unit of a loss or metric.

    They are what the function says in its attributes ``long_name`` and ``units``; else the given name or its own, and
    "nat" for torch's log likelihoods, "1" for anything else.
    """
    nat = isinstance(function, LOG_LIKELIHOODS) or any(function is known for known in LOG_LIKELIHOOD_FUNCTIONS)
    long_name, units = getattr(function, "long_name", None), getattr(function, "units", None)
    own = str(name or getattr(function, "__name__", type(function).__name__))
    return (
        long_name if isinstance(long_name, str) else own.replace("_", " "),
        units if isinstance(units, str) else "nat" if nat else "1",
    )


def labelled(long_name: str, units: str = "1") -> Callable[[Function], Function]:
    """Say what a loss or metric measures: the label and the unit of every number that comes from it.

    Examples
    --------
    ::

        @labelled("share of examples in the right class")
        def accuracy(outputs, targets): ...
    """

    def decorate(function: Function) -> Function:
        function.long_name, function.units = long_name, units  # type: ignore[attr-defined]
        return function

    return decorate


def num_examples(tree: Any) -> int:
    """Length of the first axis that all tensors of a batch share.

    Raises
    ------
    ValueError
        If there is no tensor, or the first axes differ.
    """
    lengths = {leaf.shape[0] for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.ndim}
    if len(lengths) != 1:
        raise ValueError(f"expected tensors that share their first axis (examples), got first axes {sorted(lengths)}")
    return lengths.pop()


@labelled("cross entropy", "nat")
def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy (n,) of class logits (n, C) and class numbers (n,), in nats."""
    return functional.cross_entropy(outputs, targets, reduction="none")


@labelled("accuracy")
def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 where the largest logit is the target's, else 0: (n,)."""
    return (outputs.argmax(-1) == targets).to(outputs.dtype)


@labelled("error rate")
def error(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 where the largest logit is not the target's, else 0: (n,)."""
    return (outputs.argmax(-1) != targets).to(outputs.dtype)


def calibration_error(bins: int = 15) -> Pooled:
    r"""Return the metric :math:`\sum_b |\sum_{i \in b} (right_i - confidence_i)| / n`, the expected calibration error.

    Right-closed bins of equal width, :math:`(b/B, (b+1)/B]` (Guo et al. 2017).
    """

    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        confidence, predicted = outputs.softmax(-1).max(-1)
        gap = (predicted == targets).to(outputs.dtype) - confidence
        index = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
        return gap[..., None] * (index[..., None] == torch.arange(bins, device=index.device)).to(gap.dtype)

    return Pooled(each, lambda means: means.abs().sum(-1), "expected calibration error")
