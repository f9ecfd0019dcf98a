"""Which logits a target belongs to: found from the loss, so that tokens are compared where the loss counts them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from kdlandscape.distillation.predictions import logits
from kdlandscape.distillation.problems import Problem, first_examples
from kdlandscape.distillation.tallies import IGNORED
from kdlandscape.landscape.reduction import num_examples

MASK = "attention_mask"  # of the inputs of `transformers`
_FEW = 8  # examples on which the loss is tried


class Compared(NamedTuple):
    """What `kdlandscape.distillation.comparison.fidelity` takes: logits, and targets and a mask or None."""

    logits: Tensor
    targets: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True)
class Positions:
    """How targets stand to logits.

    Attributes
    ----------
    kind
        ``classes``: logits (n, C), targets (n,). ``tokens``: logits (n, T, C), targets (n, T). ``none``: targets that
        cannot be read so; then only numbers that need no labels are defined.
    shift
        The logits at position t belong to the target at position t + shift: 1 where the loss shifts them itself.
    masked
        Whether only positions with 1 in the ``attention_mask`` of the inputs count.
    """

    kind: str
    shift: int = 0
    masked: bool = False

    @property
    def words(self) -> str:
        """What counts as an example, in words for a result's attrs."""
        if self.kind == "classes":
            return "examples"
        if self.kind == "none":
            return "examples or tokens without labels: the loss reads its targets in another way than cross entropy"
        where = "the target at their own position" if not self.shift else "the target at the next position"
        return f"tokens, logits with {where}" + (", where the attention mask is 1" if self.masked else "")

    def of(self, logits: Tensor, inputs: Any, targets: Any) -> Compared:
        """Return the logits with the targets and the mask that stand at their positions."""
        if self.kind == "classes":
            return Compared(logits, targets, None)
        mask = _mask(inputs, logits)
        if self.kind == "none":
            return Compared(logits, None, None if logits.ndim < 3 else _every(logits) if mask is None else mask)
        last = logits.shape[1] - self.shift
        kept = mask[:, self.shift :] if self.masked and mask is not None else None
        return Compared(logits[:, :last], targets[:, self.shift :], kept)

    def any_counts(self, targets: Tensor | None, mask: Tensor | None) -> bool:
        """Whether a batch has an example, or a token, that counts."""
        counts = torch.ones((), dtype=torch.bool) if mask is None else mask.bool()
        return bool((counts if targets is None else counts & (targets != IGNORED)).any())


def positions_of(problem: Problem) -> Positions:
    """Find how the targets of a problem stand to its logits: by the loss of random logits on a few of its targets.

    A loss of tokens is compared with cross entropies at the same position and at the next one, with and without the
    mask of the inputs, averaged or added up over each example.
    """
    inputs, targets = first_examples(problem.test, min(_FEW, num_examples(problem.test)))
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.is_complex():
        return Positions("none")
    like = logits(problem.model, problem.model, inputs)[0]
    if like.ndim == 2 and targets.shape == like.shape[:1]:
        return Positions("classes")
    if like.ndim != 3 or targets.shape != like.shape[:2]:
        return Positions("none")
    random = torch.randn(like.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = problem.loss(random, targets).double()
    for masked in (False, True):
        for shift in (0, 1):
            found = Positions("tokens", shift, masked)
            if (not masked or _mask(inputs, like) is not None) and _explains(found, random, inputs, targets, expected):
                return found
    return Positions("none")


def _explains(found: Positions, logits: Tensor, inputs: Any, targets: Tensor, expected: Tensor) -> bool:
    z, y, mask = found.of(logits, inputs, targets)
    assert y is not None
    counts = (y != IGNORED) & (torch.ones_like(y, dtype=torch.bool) if mask is None else mask.bool())
    each = cross_entropy(z.transpose(1, 2), y.where(counts, IGNORED), reduction="none", ignore_index=IGNORED)
    total = each.sum(1)
    ways = (total / counts.sum(1).clamp_min(1), total, total / z.shape[1], total / logits.shape[1])
    return any(torch.allclose(way, expected, rtol=1e-4, atol=1e-6) for way in ways)


def _mask(inputs: Any, logits: Tensor) -> Tensor | None:
    mask = inputs.get(MASK) if isinstance(inputs, Mapping) else None
    return mask if isinstance(mask, Tensor) and mask.shape == logits.shape[:2] else None


def _every(logits: Tensor) -> Tensor:
    return torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
