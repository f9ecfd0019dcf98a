"""Run a network in float64, and take what counts of its output."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdlandscape.landscape.network import picked, run, tensors_of
from kdlandscape.landscape.permutations.walk import InDouble

State = Mapping[str, Tensor]
Counted = Callable[[Any], list[Tensor]]


def full(module: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer of a module; a tied weight goes by its first name."""
    return {name: tensor.detach() for name, tensor in (*module.named_parameters(), *module.named_buffers())}


def outputs_of(module: nn.Module, state: State, inputs: Any, counted: Counted, mode: Any = None) -> list[Tensor]:
    """Run a module in float64 with these parameters and buffers, and return the outputs that count."""
    held = {name: as_double(state[name]) for name in full(module)}
    with torch.no_grad(), mode or InDouble():
        return counted(run(module, held, as_double(inputs)))  # inside the mode, which sees the cast to a loss's dtype


def counted(outputs: Any) -> list[Tensor]:
    """Return the tensors of an output that count: each of a tuple or dict, of other objects their ``logits``."""
    if isinstance(outputs, Tensor) or type(outputs) in (tuple, list, dict) or hasattr(outputs, "_fields"):
        return list(tensors_of(outputs))
    return list(tensors_of(picked(outputs)))


def as_double(inputs: Any) -> Any:
    """Copy a batch to the CPU in float64; integers stay integers."""
    if isinstance(inputs, Mapping):
        return {name: as_double(value) for name, value in inputs.items()}
    if isinstance(inputs, list | tuple):
        return tuple(as_double(value) for value in inputs)
    if not isinstance(inputs, Tensor):
        return inputs
    return inputs.to("cpu", torch.float64 if inputs.is_floating_point() else inputs.dtype)
