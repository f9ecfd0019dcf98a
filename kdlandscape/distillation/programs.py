"""How copies of a network are trained: all as one batched program, or one after another where ``vmap`` cannot."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap
from torch.utils._pytree import tree_leaves, tree_map

from kdlandscape.distillation.copies import Copies, Members
from kdlandscape.distillation.descent import Generators, drawn_seeds
from kdlandscape.landscape.batches import preserve_rng
from kdlandscape.landscape.replay import traced

_TRIED = 4  # examples that a network is tried on


class Program:
    """How copies of a network are trained: all as one batched program, or one after another.

    Attributes
    ----------
    networks, copies
        The initial networks (K, P), and their architecture in training mode.
    own
        0 where every network has a batch of its own, None where all see the same one.
    batched
        Whether they are one program.
    """

    def __init__(
        self, network: nn.Module, networks: Members, inputs: Any, generator: Generators, chunk_size: int | None
    ) -> None:
        self.networks = networks
        self.copies = Copies(network, training=True)
        self.own = None if isinstance(generator, torch.Generator) else 0
        self._chunk_size = chunk_size
        found = obstacle(self.copies, self.networks, inputs)
        self.batched, self._random = found is None, found is not None and found.random
        if found is not None:
            self.networks = with_buffers(self.networks, self.copies, found.moving)
        if found is not None and len(self.networks) > 1:
            warnings.warn(
                f"{self.copies.name} trains its {len(self.networks)} networks one after another: {found.reason}",
                stacklevel=3,
            )

    def step(
        self,
        objective: Callable[..., Tensor],
        in_dims: Sequence[int | None],
        prepare: Callable[..., Sequence[Any]] = lambda *arguments: arguments,
    ) -> Callable[..., Any]:
        """Return the function of (thetas, generators, *given) that gives gradients (K, P) and losses (K,).

        ``objective(theta, buffers, *arguments)`` is the loss of one network, ``prepare(*given)`` gives its arguments
        for all of them. Both are recorded as one program: what they compute alike stays alike to the bit.
        """
        buffers = self.networks.buffers
        if self.batched:
            program = vmap(grad_and_value(objective), in_dims=(0, 0, *in_dims), chunk_size=self._chunk_size)
            replayed = traced(lambda thetas, own, *given: program(thetas, own, *prepare(*given)))
            return lambda thetas, draws, *given: replayed(thetas, buffers, *given)
        alone = one_by_one(objective, buffers, in_dims)
        return lambda thetas, draws, *given: alone(
            thetas, drawn_seeds(draws, len(thetas)) if self._random else None, *prepare(*given)
        )


class Obstacle(NamedTuple):
    """Why copies cannot be trained as one batch, in words; the buffers that move; whether random numbers are drawn."""

    reason: str
    moving: list[str]
    random: bool


def obstacle(copies: Copies, networks: Members, inputs: Any) -> Obstacle | None:
    """Try copies in training mode on a few examples; None if they can be trained as one batch.

    Costs 3 forward passes, and a gradient of two copies where none of them changes or draws anything.

    Raises
    ------
    ValueError
        If the network does not compute on the inputs at all, with its own message.
    """
    some = tree_map(lambda leaf: leaf[:_TRIED], inputs)
    theta = networks.thetas[0]
    try:
        moving = copies.moving(theta, some)
    except Exception as error:
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in tree_leaves(some))
        raise ValueError(f"{copies.name} fails on the first examples, of shape {shapes}: {error}") from error
    random = copies.draws(theta, some)
    if moving:
        listed = ", ".join(moving[:3]) + (", …" if len(moving) > 3 else "")
        return Obstacle(f"a forward pass in training mode changes {listed}", moving, random)
    if random:
        return Obstacle("a forward pass in training mode draws random numbers, as dropout does", moving, random)
    reason = copies.refusal(networks.thetas[:2], some)
    return None if reason is None else Obstacle(reason, moving, random)


def with_buffers(networks: Members, copies: Copies, names: Sequence[str]) -> Members:
    """Return networks that have their own copy of the buffers that training changes, and of those they came with."""
    tensors = dict(copies.network.named_buffers())
    missing = {name: tensors[name].expand(len(networks), *tensors[name].shape) for name in names}
    own = {name: rows.clone() for name, rows in {**missing, **networks.buffers}.items()}
    return Members(networks.thetas, own, networks.space)


def one_by_one(
    loss: Callable[..., Tensor], buffers: dict[str, Tensor], in_dims: Sequence[int | None]
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return what ``vmap(grad_and_value(loss), in_dims=(0, 0, *in_dims))`` computes, for one copy after another.

    Parameters
    ----------
    loss
        ``loss(theta, buffers, *arguments)``, a scalar.
    buffers
        Those of each copy, (K, ...) by name; what a forward pass changes is written into them.
    in_dims
        For each argument whether it has a leading axis of copies (0) or is the same for all (None).

    Returns
    -------
    callable
        ``step(thetas, seeds, *arguments)`` gives gradients (K, P) and values (K,). A seed for each copy is that of the
        random numbers that its forward pass draws; None if it draws none.
    """

    def step(thetas: Tensor, seeds: Sequence[int] | None, *arguments: Any) -> tuple[Tensor, Tensor]:
        slopes, values = torch.empty_like(thetas), thetas.new_empty(len(thetas))
        for k in range(len(thetas)):
            own = {name: rows[k] for name, rows in buffers.items()}
            pairs = zip(arguments, in_dims, strict=True)
            some = [a if dim is None else tree_map(lambda leaf, k=k: leaf[k], a) for a, dim in pairs]
            point = thetas[k].detach().clone().requires_grad_()
            with nullcontext() if seeds is None else preserve_rng():
                if seeds is not None:
                    torch.manual_seed(seeds[k])
                value = loss(point, own, *some)
                (slopes[k],) = torch.autograd.grad(value, point)
            values[k] = value.detach()
            for name, rows in buffers.items():
                rows[k] = own[name].detach()
        return slopes, values

    return step
