"""Products of a curvature with row vectors on one piece of the data, in several modes of differentiation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.func import grad, jvp, vjp
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from kdlandscape.landscape.curvature.convolutions import twice_differentiable
from kdlandscape.landscape.curvature.layers import UNSUPPORTED, gradient, innermost
from kdlandscape.landscape.curvature.outputs import between
from kdlandscape.landscape.loss import MeanLoss

Rows = Callable[[Tensor], Tensor]
Piece = tuple[Any, Any]
Network = Callable[[Tensor, Any], Any]
MODES = ("reverse", "forward")


def linearize(
    objective: MeanLoss, point: Tensor, piece: Piece, kind: str, mode: str, network: Network | None = None
) -> Rows:
    """Return the map of rows (b, P) to rows A v, with A of the *summed* loss on one piece of the data.

    Parameters
    ----------
    objective, point, piece
        The loss, theta (P,), and ``(inputs, targets)``.
    kind
        ``hessian``, or one that `kdlandscape.landscape.curvature.outputs.between` knows.
    mode
        ``reverse``: two backward passes; the graph lives as long as the map, so a map that is kept costs about one
        gradient and a half a row, one that is used once about three. ``forward``: a tangent through the gradient
        (Hessian) or the network (others); nothing but theta is held between rows of a Hessian.
    network
        The outputs as a function of theta and inputs; default: the objective's.
    """
    make = _HESSIANS[mode] if kind == "hessian" else partial(_OUTER[mode], kind=kind)
    return make(objective, network or objective.outputs, point, piece)


def _reverse_hessian(objective: MeanLoss, network: Network, point: Tensor, piece: Piece) -> Rows:
    theta = point.detach().requires_grad_()
    with torch.enable_grad(), twice_differentiable():
        total = objective.criteria.reduce(network(theta, piece[0]), piece[1]).total
        slope = gradient(total, theta, create_graph=True)

    def apply(rows: Tensor) -> Tensor:
        return torch.stack([gradient(slope, theta, row) for row in rows])

    return apply


def _forward_hessian(objective: MeanLoss, network: Network, point: Tensor, piece: Piece) -> Rows:
    slope = grad(lambda theta: objective.criteria.reduce(network(theta, piece[0]), piece[1]).total)
    return lambda rows: torch.stack([jvp(slope, (point,), (row,))[1].detach() for row in rows])


def _reverse_outer(objective: MeanLoss, network: Network, point: Tensor, piece: Piece, *, kind: str) -> Rows:
    """J v is the derivative of u -> J' u, itself a backward pass, so no forward mode is needed."""
    theta = point.detach().requires_grad_()
    with torch.enable_grad(), twice_differentiable():
        outputs = network(theta, piece[0])
        middle = between(objective.criteria, outputs, piece[1], kind)
        dual = torch.zeros_like(outputs, requires_grad=True)
        pulled = gradient(outputs, theta, dual, create_graph=True)

    def apply(rows: Tensor) -> Tensor:
        return torch.stack([gradient(outputs, theta, middle(gradient(pulled, dual, row))) for row in rows])

    return apply


def _forward_outer(objective: MeanLoss, network: Network, point: Tensor, piece: Piece, *, kind: str) -> Rows:
    def at(theta: Tensor) -> Any:
        return network(theta, piece[0])

    outputs, pull = vjp(at, point)  # type: ignore[misc]
    middle = between(objective.criteria, outputs, piece[1], kind)
    return lambda rows: torch.stack([pull(middle(jvp(at, (point,), (row,))[1]))[0].detach() for row in rows])


_HESSIANS = {"reverse": _reverse_hessian, "forward": _forward_hessian}
_OUTER = {"reverse": _reverse_outer, "forward": _forward_outer}


def first_mode(objective: MeanLoss, point: Tensor, piece: Piece, kind: str, modes: tuple[str, ...]) -> str:
    """Return the first mode that works on a few examples.

    Raises
    ------
    NotImplementedError
        None does; the error names the layer.
    """
    few = tree_map(lambda leaf: leaf[:2], piece)
    problems = []
    for mode in modes:
        try:
            linearize(objective, point, few, kind, mode)(torch.ones_like(point)[None])
            return mode
        except UNSUPPORTED as error:
            problems.append(f"{mode}: {str(error).splitlines()[0]}")
    where = innermost(objective, few, lambda call: not call.has_second_derivatives())
    raise NotImplementedError(
        f"{where} cannot be differentiated twice: expected a layer with second derivatives, got {'; '.join(problems)}. "
        "Replace it (EmbeddingBag by Embedding and a mean, a fused layer by its plain parts)"
    )


def graph_bytes(objective: MeanLoss, point: Tensor, piece: Piece, kind: str) -> int:
    """Bytes that a kept reverse map holds for one example, from the tensors that it saves for a few examples.

    A network that takes a gradient by ``torch.func`` in its forward pass hides what is saved: then all that is computed
    counts, which is more.
    """
    few = tree_map(lambda leaf: leaf[:8], piece)
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    try:
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            kept = linearize(objective, point, few, kind, "reverse")
    except RuntimeError:
        with _Results(pack):
            kept = linearize(objective, point, few, kind, "reverse")
    del kept
    constants = 2 * point.nbytes  # theta and the convolutions' own layouts of it
    return max(sum(saved.values()) - constants, 0) // max(len(tree_leaves(few)[0]), 1)


class _Results(TorchDispatchMode):
    """Calls a function with every tensor that torch computes."""

    def __init__(self, each: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self._each = each

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                self._each(leaf)
        return found
