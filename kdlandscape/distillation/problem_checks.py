"""What the parts of a problem have to be, tried on a few examples before anything is trained."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

from kdlandscape.distillation.problem_files import ProblemError
from kdlandscape.distillation.tallies import IGNORED


def check_part(
    problem: str, part: str, found: Tensor, targets: Any, functions: Mapping[str, Callable[[Tensor, Any], Tensor]]
) -> None:
    """Refuse outputs, labels, a loss or a metric that no study could go by.

    Parameters
    ----------
    problem, part
        Words for messages: the start, and the part of the data.
    found
        The outputs of the network on the first examples.
    targets
        The targets of the whole part; None if it has none.
    functions
        The loss and the metrics by what they are called in messages.

    Raises
    ------
    ProblemError
        The first thing that does not fit, with what was expected and what came.
    """
    if found.ndim < 2 or not found.is_floating_point():
        raise ProblemError(f"{problem}expected logits (n, C), got shape {tuple(found.shape)} of {found.dtype}")
    if targets is None:
        return
    some = tree_map(lambda leaf: leaf[: len(found)], targets)
    if isinstance(targets, Tensor) and not targets.is_floating_point():
        _check_labels(problem, part, targets, found.shape[-1])
    for what, function in functions.items():
        _check_values(problem, part, what, function, found, some)


def _check_labels(problem: str, part: str, targets: Tensor, classes: int) -> None:
    counted = targets[targets != IGNORED]
    for odd in (int(counted.max()), int(counted.min())) if counted.numel() else ():
        if not 0 <= odd < classes:
            raise ProblemError(
                f"{problem}expected {part} labels from 0 to {classes - 1}, for the {classes} classes of the network, "
                f"got {odd}"
            )


def _check_values(problem: str, part: str, what: str, function: Any, found: Tensor, some: Any) -> None:
    try:
        values = function(found, some)
    except Exception as error:
        raise ProblemError(f"{problem}{what} fails on the {part} data: {error}") from error
    if not isinstance(values, Tensor) or not values.ndim or len(values) != len(found):
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ProblemError(
            f"{problem}expected {what} to give one number for each of {len(found)} examples, got {shape}; losses of "
            "torch do so with reduction='none'"
        )
    if not values.isfinite().all():
        raise ProblemError(f"{problem}expected finite numbers of {what} on the {part} data, got {values.tolist()}")
