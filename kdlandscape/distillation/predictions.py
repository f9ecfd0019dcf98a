"""What networks predict: the logits of many copies, of ensembles, and of teachers that label a batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap
from torch.utils._pytree import tree_leaves, tree_map

from kdlandscape.distillation.copies import Copies, Members, batching, members
from kdlandscape.distillation.descent import Generators
from kdlandscape.distillation.losses import ensemble_logits
from kdlandscape.landscape.reduction import num_examples

#: A teacher of any kind: (inputs (b, ...), generator for what it draws) -> logits (b, C).
Teacher = Callable[[Any, torch.Generator], Tensor]


def logits(network: nn.Module, networks: Any, inputs: Any, *, batch_size: int | None = None) -> Tensor:
    """Return the outputs (..., n, C) of networks (..., P) in eval mode. One forward pass each.

    Parameters
    ----------
    network
        The architecture.
    networks
        Weights (..., P), a module, a state dict, a sequence of them, or what a training gave.
    inputs
        One batch: a tensor (n, ...), or a tuple or dict of the network's arguments.
    batch_size
        Examples at a time; default: as many as make 16 million input numbers over all networks.
    """
    these = members(network, networks)
    flat = these.flat()
    if batch_size is None:
        numbers = sum(leaf[0].numel() for leaf in tree_leaves(inputs))
        batch_size = max(1, 2**24 // max(1, len(flat) * numbers))
    program = _program(Copies(network, training=False), flat)
    n = num_examples(inputs)
    with torch.no_grad():
        parts = [program(tree_map(lambda leaf, i=i: leaf[i : i + batch_size], inputs)) for i in range(0, n, batch_size)]
    return torch.cat(parts, dim=1).unflatten(0, these.thetas.shape[:-1])


def ensemble_of(network: nn.Module, networks: Any, inputs: Any) -> Tensor:
    """Return the logits (..., n, C) of ensembles (..., m, P): log of the mean of the members' probabilities."""
    return ensemble_logits(logits(network, networks, inputs).movedim(-3, 0))


def linearized_logits(network: nn.Module, theta: Tensor, thetas: Tensor, inputs: Any) -> Tensor:
    r"""Return :math:`f(\theta) + J(\theta) (\theta_k - \theta)` (K, n, C): outputs linear in the weights.

    Parameters
    ----------
    network
        The architecture, in eval mode.
    theta, thetas
        Where it is linearized (P,), and K weights (K, P), such as draws of a Laplace approximation.
    inputs
        One batch. Costs K products with the Jacobian.
    """
    copies = Copies(network, training=False)

    def one(move: Tensor) -> Tensor:
        found = jvp(lambda at: copies.outputs(at, inputs), (theta,), (move,))
        return found[0] + found[1]

    with torch.no_grad():
        return vmap(one)(thetas - theta)


def batched_labels(
    teachers: Members, copies: Copies, own: int | None, chunk_size: int | None
) -> Callable[[Tensor, dict[str, Tensor], Any], Tensor]:
    """Return the function of teachers' weights, their buffers and a batch that gives all labels (K, b, C) at once.

    Parameters
    ----------
    teachers
        The teacher (K, P) or the ensemble (K, m, P) of each student: only its shape counts.
    copies
        The teachers' architecture in eval mode.
    own
        0 where every student has a batch of its own, (K, b, ...); None where all see the same one.
    chunk_size
        Teachers in one program; None: all.
    """

    def one(theta: Tensor, buffers: dict[str, Tensor], x: Any) -> Tensor:
        return copies.outputs(theta, x, dict(buffers))

    def several(theta: Tensor, buffers: dict[str, Tensor], x: Any) -> Tensor:
        return ensemble_logits(vmap(one, in_dims=(0, 0, None))(theta, buffers, x))

    return vmap(one if teachers.thetas.ndim == 2 else several, in_dims=(0, 0, own), chunk_size=chunk_size)


def labeller(teachers: Members | Teacher, copies: Copies, own: int | None) -> Callable[[Any, Generators], Tensor]:
    """Return a function that labels a batch, one teacher after another: logits (K, b, C), or (b, C) where one labels.

    Parameters
    ----------
    teachers
        The teacher (K, P) or the ensemble (K, m, P) of each student, or a function that labels for all.
    copies, own
        As for `batched_labels`.
    """
    if not isinstance(teachers, Members):
        return _asked(teachers)
    single = teachers.thetas.ndim == 2

    def one_by_one(x: Any, draws: Generators) -> Tensor:
        found = []
        for k in range(len(teachers)):
            some = x if own is None else tree_map(lambda leaf, k=k: leaf[k], x)
            group = _members_of(teachers, k)
            each = torch.stack([_plain(copies, group, i, some) for i in range(len(group))])
            found.append(each[0] if single else ensemble_logits(each))
        return torch.stack(found)

    return one_by_one


def _members_of(teachers: Members, k: int) -> Members:
    """Return the teachers (m, P) of one student."""
    return teachers.map(lambda rows: rows[k : k + 1] if teachers.thetas.ndim == 2 else rows[k])


def _program(copies: Copies, these: Members) -> Callable[[Any], Tensor]:
    """Return the function of a batch that gives the outputs (K, b, C), by ``vmap`` unless that refuses the network."""

    def batched(x: Any) -> Tensor:
        with batching():
            program = vmap(lambda theta, own: copies.outputs(theta, x, own))
            return program(these.thetas, dict(these.buffers))

    def looped(x: Any) -> Tensor:
        return torch.stack([_plain(copies, these, k, x).detach() for k in range(len(these))])

    def run(x: Any) -> Tensor:
        try:
            return batched(x)
        except Exception:
            return looped(x)

    return run


def _plain(copies: Copies, these: Members, k: int, x: Any) -> Tensor:
    """Return the outputs of one network, by the very operations that a training of it alone takes."""
    with torch.enable_grad():
        point = these.thetas[k].detach().clone().requires_grad_()
        return copies.outputs(point, x, {name: rows[k].clone() for name, rows in these.buffers.items()}).detach()


def _asked(teacher: Teacher) -> Callable[[Any, Generators], Tensor]:
    def ask(x: Any, draws: Generators) -> Tensor:
        with torch.no_grad():
            if isinstance(draws, torch.Generator):
                return teacher(x, draws)
            rows = [tree_map(lambda leaf, k=k: leaf[k], x) for k in range(len(draws))]
            return torch.stack([teacher(row, draw) for row, draw in zip(rows, draws, strict=True)])

    return ask
