"""Auxiliary logits: outputs beside those of the classes, which the teacher never learns and its student learns alone.

A student can take over the teacher's classes through them if both share their initial weights: *subliminal learning*
(Cloud et al. 2025).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kdlandscape.distillation.losses import DistillationLoss
from kdlandscape.landscape.params import Ravel
from kdlandscape.landscape.reduction import label_of, labelled


def labels_on(loss: Callable[[Tensor, Any], Tensor], part: slice) -> Callable[[Tensor, Any], Tensor]:
    """Return ``loss(outputs, targets)`` of a part of the outputs (n, C), such as the logits of the classes."""

    @labelled(*label_of(loss))
    def of_part(outputs: Tensor, targets: Any) -> Tensor:
        return loss(outputs[..., part], targets)

    return of_part


def teacher_on(loss: DistillationLoss, part: slice) -> DistillationLoss:
    """Return the distillation loss of a part of both outputs (n, C), such as the auxiliary logits."""

    @labelled(*label_of(loss))
    def of_part(teacher_logits: Tensor, student_logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        return loss(teacher_logits[..., part], student_logits[..., part], temperature)

    return of_part


def with_head(network: nn.Module, thetas: Tensor, head: Tensor, rows: slice) -> Tensor:
    """Return networks (K, P) whose last linear layer has some rows of another network (P,), with their biases.

    Parameters
    ----------
    network
        The architecture, which ends in a linear layer.
    thetas, head
        The networks, and the one that gives the rows.
    rows
        Which outputs' rows.

    Raises
    ------
    ValueError
        If the network does not end in a linear layer.
    """
    *_, (name, last) = [(name, layer) for name, layer in network.named_modules() if not list(layer.children())]
    if not isinstance(last, nn.Linear):
        raise ValueError(f"expected a network that ends in a linear layer, got {type(last).__name__} ({name})")
    space, found = Ravel.of(network), []
    given = space.unravel(head)
    for theta in thetas:
        state = {key: value.clone() for key, value in space.unravel(theta).items()}
        for part in ("weight", "bias"):
            key = f"{name}.{part}"
            if key in state:
                state[key][rows] = given[key][rows]
        found.append(space.ravel(state))
    return torch.stack(found)
