"""Somebody's module as a pure function: an own copy, what of its output counts, and buffers that stay as they are."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kdlandscape.landscape.params import unwrapped
from kdlandscape.landscape.plain_layers import plain_layers

Outputs = Callable[[Any], Any] | str | int | None


def own_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a module without its wrapper, in eval mode and without gradients.

    Raises
    ------
    ValueError
        A module that cannot be copied, or whose parameters ``torch.func`` cannot replace.
    """
    model = unwrapped(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            f"expected a plain module, got a ScriptModule ({type(model).__name__}), whose parameters cannot be "
            "replaced: give the Python module that it was made from, with load_state_dict(scripted.state_dict())"
        )
    try:
        own = copy.deepcopy(model).eval()
    except RuntimeError as error:
        raise ValueError(
            f"{type(model).__name__} cannot be copied ({str(error).splitlines()[0]}): the weight_norm of "
            "torch.nn.utils keeps a computed weight; use torch.nn.utils.parametrizations.weight_norm, or "
            "remove_weight_norm"
        ) from error
    for parameter in own.parameters():
        parameter.grad = None
    return own


def functional(model: nn.Module) -> nn.Module:
    """Return a copy as `own_copy` does, to be called with other tensors than its own.

    On a GPU a recurrent layer moves its weights into one block for cuDNN, also those that it is given: not here.
    """
    own = own_copy(model)
    for layer in own.modules():
        if isinstance(layer, nn.RNNBase):
            vars(layer)["flatten_parameters"] = _nothing
    return own


def _nothing() -> None:
    pass


def run(model: nn.Module, tensors: Mapping[str, Tensor], inputs: Any) -> Any:
    """Run a module as `call` does, with `plain_layers`."""
    with plain_layers():
        return call(model, dict(tensors), inputs)


def call(model: nn.Module, tensors: dict[str, Tensor], inputs: Any) -> Any:
    """Run a module with the given parameters and buffers; see `arguments` for the inputs.

    What the module assigns to a buffer is written into ``tensors``.
    """
    return functional_call(model, tensors, *arguments(inputs))


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a module is called with: a dict of inputs by name, a tuple or list by place, all else alone."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), {}


def picked(outputs: Any, which: Outputs = None) -> Any:
    """Return the part of a network's output that counts.

    Parameters
    ----------
    outputs
        A tensor, or a tuple, dict, dataclass or other object that holds tensors.
    which
        A function of the output, or a key, index or attribute; default: ``logits`` where there is one, else the first
        tensor.

    Raises
    ------
    ValueError
        An output that holds no such part, or no tensor.
    """
    if callable(which):
        return which(outputs)
    parts = dict(_parts(outputs))
    if which is not None:
        if which not in parts:
            raise ValueError(f"the network's output has no part {which!r}: expected one of {list(parts)}")
        return parts[which]
    if isinstance(outputs, Tensor):
        return outputs
    if "logits" in parts:
        return parts["logits"]
    found = next(tensors_of(outputs), None)
    if found is None:
        raise ValueError(f"expected a network whose output holds a tensor, got {type(outputs).__name__}: give outputs=")
    return found


def with_part(outputs: Any, part: Tensor, other: Tensor) -> Any:
    """Return an output like the given one in which one tensor is replaced by another."""
    if outputs is part:
        return other
    if isinstance(outputs, Tensor) or not any(leaf is part for leaf in tensors_of(outputs)):
        return outputs
    if isinstance(outputs, list | tuple):
        parts = [with_part(one, part, other) for one in outputs]
        return type(outputs)(*parts) if hasattr(outputs, "_fields") else type(outputs)(parts)
    result = copy.copy(outputs)
    for name, value in _parts(outputs):
        if isinstance(outputs, Mapping):
            result[name] = with_part(value, part, other)
        else:
            object.__setattr__(result, str(name), with_part(value, part, other))
    return result


def _parts(outputs: Any) -> Iterator[tuple[str | int, Any]]:
    """Yield the parts of an output by key, index or attribute."""
    if isinstance(outputs, Mapping):
        yield from outputs.items()
    elif isinstance(outputs, list | tuple):
        yield from enumerate(outputs)
        yield from ((name, getattr(outputs, name)) for name in getattr(outputs, "_fields", ()))
    elif is_dataclass(outputs):
        yield from ((field.name, getattr(outputs, field.name)) for field in fields(outputs))
    elif not isinstance(outputs, Tensor):
        yield from getattr(outputs, "__dict__", {}).items()


def tensors_of(outputs: Any) -> Iterator[Tensor]:
    """Yield the tensors of an output, however deep they lie."""
    if isinstance(outputs, Tensor):
        yield outputs
        return
    for _, part in _parts(outputs):
        yield from tensors_of(part)


def moving(model: nn.Module, tensors: Mapping[str, Tensor], inputs: Any) -> frozenset[str]:
    """Return the names of the buffers that a forward pass in eval mode changes: counters, moving averages."""
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    versions = {name: tensor._version for name, tensor in kept.items()}
    with torch.no_grad():
        run(model, kept, inputs)
    # a change through .data leaves no version, and a change that adds nothing today leaves no other value
    return frozenset(
        name
        for name, tensor in kept.items()
        if tensor._version != versions[name] or not torch.equal(tensor, tensors[name])
    )


def differing(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> str | None:
    """Return the first name whose tensor in the second mapping is another one, or None."""
    return next((name for name, tensor in first.items() if not torch.equal(tensor, second[name])), None)
