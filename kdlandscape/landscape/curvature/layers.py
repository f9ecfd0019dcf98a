"""Which layer is to blame: each layer of a network called alone, with the inputs that it had in a forward pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.plain_layers import plain_layers

UNSUPPORTED = (RuntimeError, NotImplementedError)


class Call(NamedTuple):
    """A layer and copies of what it was called with, taken before it could overwrite them."""

    layer: nn.Module
    inputs: Any  # positional and named arguments

    def scalar(self) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """Return the sum of the sines of the outputs as a function of one flat vector, and that vector here.

        The vector holds the floating-point inputs and the parameters of the layer.
        """
        leaves, structure = tree_flatten(self.inputs)
        parameters = dict(self.layer.named_parameters())
        given = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        parts = [*(leaves[i] for i in given), *parameters.values()]
        like = parts[0] if parts else torch.zeros(0)

        def function(vector: Tensor) -> Tensor:
            pieces = vector.split([part.numel() for part in parts])
            shaped = [piece.view(part.shape).to(part.dtype) for piece, part in zip(pieces, parts, strict=True)]
            inputs = list(leaves)
            for i, tensor in zip(given, shaped, strict=False):
                inputs[i] = tensor.clone()  # a layer may overwrite it
            args, kwargs = tree_unflatten(inputs, structure)
            named = dict(zip(parameters, shaped[len(given) :], strict=True))
            with plain_layers():
                outputs = functional_call(self.layer, named, args, kwargs)
            sines = [leaf.sin().sum() for leaf in tree_leaves(outputs) if _is_floating(leaf)]
            return torch.stack(sines).sum() if sines else vector.sum() * 0

        return function, torch.cat([part.detach().reshape(-1).to(like.dtype) for part in parts] or [like])

    def has_second_derivatives(self) -> bool:
        """Whether the layer can be differentiated twice at all."""
        function, point = self.scalar()
        theta = point.requires_grad_()
        try:
            with torch.enable_grad():
                slope = gradient(function(theta), theta, create_graph=True)
                gradient(slope.sin().sum(), theta)
        except UNSUPPORTED:
            return False
        return True


def innermost(objective: MeanLoss, piece: Any, fails: Callable[[Call], bool]) -> str:
    """Name the innermost layer that fails a test in a forward pass on some examples; the loss where none does."""
    calls: dict[str, Call] = {}

    def record(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, args: Any, kwargs: Any) -> None:
            copies = tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, (args, kwargs))
            calls.setdefault(name, Call(layer, copies))

        return hook

    layers = dict(objective.model.named_modules())
    hooks = [layer.register_forward_pre_hook(record(name), with_kwargs=True) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            objective.outputs(objective.theta, piece[0])
    finally:
        for hook in hooks:
            hook.remove()
    for name in sorted(calls, key=lambda name: -len(name.split(".")) if name else 0):
        if fails(calls[name]):
            kind = type(calls[name].layer).__name__
            return f"layer {name!r} ({kind})" if name else f"network {kind}"
    return "the loss"


def gradient(value: Tensor, wanted: Tensor, along: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
    """Differentiate; zero where the value does not depend on what is wanted (a loss linear in theta)."""
    if not value.requires_grad:
        return torch.zeros_like(wanted)
    (result,) = torch.autograd.grad(
        value, wanted, along, retain_graph=True, create_graph=create_graph, allow_unused=True
    )
    return torch.zeros_like(wanted) if result is None else result


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
