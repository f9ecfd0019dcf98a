"""From any user's loss to a pair (sum, weight) that adds up over batches."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_map


class Reduced(NamedTuple):
    """A sum over the examples of one batch and the weight to divide by at the end."""

    total: Tensor
    weight: Tensor | float


Reducer = Callable[[Any, Any], Reduced]


def reducer(loss: Callable[[Any, Any], Any], device: torch.device, dtype: torch.dtype) -> Reducer:
    """Wrap a loss so that it returns the sum and the weight of a batch, to be added over batches apart.

    Weighted cross entropy with ``reduction='mean'`` divides by the batch's own sum of class weights; averaging such
    means by batch size is wrong, so ``nn.CrossEntropyLoss`` and ``nn.NLLLoss`` are taken apart here.
    """
    if isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) and loss.reduction == "mean":
        return _weighted(loss, device, dtype)
    if isinstance(loss, nn.Module):
        loss = copy.deepcopy(loss).to(device, dtype)

    def reduce(outputs: Any, targets: Any) -> Reduced:
        value = loss(outputs, targets)
        n = num_examples(targets)
        if isinstance(value, tuple):
            return Reduced(value[0], value[1])
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
        if targets.is_floating_point():  # class probabilities: torch divides by the number of examples
            return Reduced(total(outputs, targets), float(targets.shape[0]))
        kept = targets != loss.ignore_index
        if total.weight is None:
            return Reduced(total(outputs, targets), kept.sum().to(dtype))
        return Reduced(total(outputs, targets), total.weight[targets.masked_fill(~kept, 0)].mul(kept).sum())

    return reduce


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


def check_mean(name: str, reduce: Reducer, outputs: Any, targets: Any) -> None:
    """Refuse a loss whose value on a batch is not the weighted mean of its values on two parts of the batch."""
    n = num_examples(targets)
    if n < 3:
        return
    cut = n // 3
    parts = [tree_map(lambda leaf, s=s: leaf[s], (outputs, targets)) for s in (slice(cut), slice(cut, n))]
    whole = reduce(outputs, targets).total
    split = sum(reduce(*part).total for part in parts)
    scale = torch.as_tensor(whole).abs().clamp_min(1.0)
    tolerance = 50 * torch.finfo(whole.dtype).eps ** 0.75 if whole.is_floating_point() else 0.0
    if torch.isfinite(whole) and (whole - split).abs() > tolerance * scale:
        raise ValueError(
            f"{name!r} is no mean over examples: {n} examples give the sum {float(whole):.6g}, two parts of them "
            f"{float(split):.6g}. Return one value for each example, or a pair (sum, weight); class weights and "
            "ignore_index are understood in nn.CrossEntropyLoss and nn.NLLLoss"
        )


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy (n,) of class logits (n, C) and class numbers (n,), in nats."""
    return functional.cross_entropy(outputs, targets, reduction="none")


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 where the largest logit is the target's, else 0: (n,)."""
    return (outputs.argmax(-1) == targets).to(outputs.dtype)
