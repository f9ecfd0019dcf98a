"""Optimizers on a batch of networks: one step of ``torch.optim``'s SGD, Adam or AdamW on all rows of theta (K, P)."""

import torch
from torch import Tensor

from kdlandscape.distillation.recipe import Recipe


def fresh_state(thetas: Tensor, recipe: Recipe) -> dict[str, Tensor]:
    """Return the optimizer's memory before the first step: one or two tensors like thetas, and the steps taken."""
    names = ("velocity",) if recipe.optimizer == "sgd" else ("first", "second")
    return {name: torch.zeros_like(thetas) for name in names} | {"steps": torch.zeros((), dtype=torch.long)}


def direction(recipe: Recipe, thetas: Tensor, slopes: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Update the memory in place and return the move (K, P) that is subtracted after scaling by the rate."""
    state["steps"] += 1
    if recipe.weight_decay and recipe.optimizer != "adamw":
        slopes = slopes + recipe.weight_decay * thetas
    if recipe.optimizer == "sgd":
        velocity = state["velocity"].mul_(recipe.momentum).add_(slopes)
        return slopes + recipe.momentum * velocity if recipe.nesterov else velocity
    first = state["first"].mul_(recipe.beta1).add_(slopes, alpha=1 - recipe.beta1)
    second = state["second"].mul_(recipe.beta2).addcmul_(slopes, slopes, value=1 - recipe.beta2)
    steps = int(state["steps"])
    root = (second / (1 - recipe.beta2**steps)).sqrt_().add_(recipe.eps)
    move = (first / (1 - recipe.beta1**steps)).div_(root)
    if recipe.weight_decay and recipe.optimizer == "adamw":
        move += recipe.weight_decay * thetas
    return move
