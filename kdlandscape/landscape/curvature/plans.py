"""How to cut the data for curvature products, chosen by measuring, and what to keep between products."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from kdlandscape.landscape.batches import preserve_rng
from kdlandscape.landscape.curvature.folding import Folded, can_fold
from kdlandscape.landscape.curvature.products import MODES, Piece, first_mode, linearize
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.measured import FEW, examples_that_fit, fastest, micro_batches


@dataclass(frozen=True)
class Plan:
    """How to take products.

    Parameters
    ----------
    mode
        ``reverse`` or ``forward``; see `kdlandscape.landscape.curvature.products.linearize`.
    examples
        Examples a micro-batch; None: the objective's batches, or all the data at once.
    channels_last
        Whether images are laid out channels last, which convolutions on a CPU prefer. In float32 the order of the
        sums changes, and units of ReLU networks at their kink may switch: differences of 1e-5 to 1e-3.
    fold
        Whether BatchNorm is folded into convolutions; see `kdlandscape.landscape.curvature.folding.Folded`. The same
        holds.
    """

    mode: str = "reverse"
    examples: int | None = None
    channels_last: bool = False
    fold: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"expected mode to be one of {', '.join(MODES)}; got {self.mode!r}")
        if self.examples is not None and self.examples < 1:
            raise ValueError(f"expected examples of at least 1, got {self.examples}")


def pieces(objective: MeanLoss, plan: Plan) -> Iterator[Piece]:
    """Yield the data in micro-batches, laid out as planned.

    BatchNorm by the batch's own statistics keeps the objective's batches, which it depends on.
    """
    whole = objective.cuttable and plan.examples is not None
    for batch in objective.batches.loaded() if whole else objective.stream():
        yield from micro_batches(batch, plan.examples if whole else None, plan.channels_last)


def choose(objective: MeanLoss, point: Tensor, kind: str, num_matvecs: int) -> Plan:
    """Return the fastest plan of a short measured trial; remembered by the objective.

    The mode is the first that the network supports: reverse over reverse, which every layer with second derivatives
    has, then forward over reverse. With many products, BatchNorm as it is and folded are timed; on a CPU, with large
    activations, micro-batches of about 4 MiB and channels-last images against the data as they come, too.
    """
    sample = next(pieces(objective, Plan()))
    key = ("plan", kind == "hessian", torch.get_num_threads(), num_matvecs > FEW)
    if key not in objective.cache:
        plan = Plan(first_mode(objective, point, sample, kind, MODES))
        objective.cache[key] = _measured(objective, point, kind, plan, num_matvecs)
    return objective.cache[key]


def _measured(objective: MeanLoss, point: Tensor, kind: str, plan: Plan, num_matvecs: int) -> Plan:
    fit, on_cpu = examples_that_fit(objective), objective.device.type == "cpu"
    images = on_cpu and any(leaf.ndim == 4 and leaf.is_floating_point() for leaf in _leaves(objective))
    large = on_cpu and fit < min(objective.batches.batch_size or objective.num_examples, objective.num_examples)
    if not objective.cuttable or (on_cpu and not (large or images)):
        return plan
    candidates = [replace(plan, examples=fit if large else None, channels_last=images)]
    if num_matvecs <= FEW:  # no time to measure: what was best on every network measured so far
        return candidates[0]
    if can_fold(objective):
        candidates += [replace(candidates[0], fold=True)]
    if large:
        candidates += [replace(candidates[0], examples=max(fit // 4, 1), fold=candidates[-1].fold)]
    if images:
        candidates += [replace(candidates[-1], examples=candidates[0].examples, channels_last=False)]
    if len(candidates) == 1:
        return candidates[0]
    batch = next(objective.batches.loaded())
    sample = tree_map(lambda leaf: leaf[: 2 * fit], batch)
    with preserve_rng():
        seconds = fastest([_product(objective, point, kind, each, sample) for each in candidates])
    return candidates[seconds.index(min(seconds))]


def _leaves(objective: MeanLoss) -> list[Any]:
    return [leaf for leaf in tree_leaves(next(objective.batches.loaded())[0]) if isinstance(leaf, Tensor)]


def _product(objective: MeanLoss, point: Tensor, kind: str, plan: Plan, sample: Piece) -> Callable[[], None]:
    """Return the function that takes one product on the sample, nothing kept."""
    parts = list(micro_batches(sample, plan.examples, plan.channels_last))
    network = Folded(objective, parts[0]) if plan.fold else None
    rows = torch.ones_like(point)[None]

    def product() -> None:
        for part in parts:
            linearize(objective, point, part, kind, plan.mode, network)(rows)

    return product
