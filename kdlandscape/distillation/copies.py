"""Many copies of one network, each a pure function of its theta: as one batched program, or one after another."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from kdlandscape.landscape.batches import preserve_rng
from kdlandscape.landscape.network import call, functional, picked
from kdlandscape.landscape.params import Ravel, SpaceError
from kdlandscape.landscape.plain_layers import plain_layers


@dataclass(frozen=True)
class Members:
    """Networks of one architecture, along any leading axes.

    Attributes
    ----------
    thetas
        Weights (..., P).
    buffers
        Buffers, and frozen parameters, (..., shape) by name, where networks have their own: the running statistics of
        BatchNorm, say. What is missing here is as in the architecture.
    space
        Names and shapes of the parameters.
    """

    thetas: Tensor
    buffers: dict[str, Tensor]
    space: Ravel

    def __len__(self) -> int:
        return len(self.thetas)

    def __getitem__(self, index: Any) -> "Members":
        """Return the networks at an index, or a slice, of the first axes."""
        return self.map(lambda rows: rows[index])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Members":
        """Apply a function of leading axes, such as an index or an expansion, to weights and buffers alike."""
        return Members(function(self.thetas), {name: function(rows) for name, rows in self.buffers.items()}, self.space)

    def flat(self) -> "Members":
        """Return the same networks with one leading axis (K, P)."""
        lead = self.thetas.ndim - 1
        return self.map(lambda rows: rows.reshape(-1, *rows.shape[lead:]))

    @property
    def states(self) -> list[dict[str, Tensor]]:
        """The state dict of each network, its parameters and its own buffers, as every function of theta takes it."""
        one = self.flat()
        own = [{name: rows[k] for name, rows in one.buffers.items()} for k in range(len(one))]
        return [self.space.unravel(theta) | buffers for theta, buffers in zip(one.thetas, own, strict=True)]


def joined(*networks: Members) -> Members:
    """Return networks of one architecture along one axis, one group after another."""
    names = [name for name in networks[0].buffers if all(name in group.buffers for group in networks)]
    buffers = {name: torch.cat([group.buffers[name] for group in networks]) for name in names}
    return Members(torch.cat([group.thetas for group in networks]), buffers, networks[0].space)


def members(network: nn.Module, given: Any) -> Members:
    """Return the networks that were given, in any form.

    Parameters
    ----------
    network
        The architecture.
    given
        Weights (..., P), whose buffers are those of ``network``; what a training gave; a module, a state dict, or a
        sequence of them, each with its own buffers.

    Raises
    ------
    SpaceError
        A network of another architecture, by its first parameter that differs.
    TypeError
        Anything else.
    """
    given = getattr(given, "members", given)
    if isinstance(given, Members):
        return given
    space = Ravel.of(network)
    if isinstance(given, Tensor):
        if not given.ndim or given.shape[-1] != space.dim:
            raise SpaceError(f"expected weights of shape (..., {space.dim}), got {tuple(given.shape)}")
        return Members(given[None] if given.ndim == 1 else given, {}, space)
    each = [given] if isinstance(given, nn.Module | Mapping) else given
    if not isinstance(each, Sequence) or not all(isinstance(one, nn.Module | Mapping | Tensor) for one in each):
        raise TypeError(
            "expected networks as weights (K, P), modules, state dicts or what train or distill gave; got "
            f"{type(given).__name__}"
        )
    thetas = torch.stack([space.ravel(one) for one in each])
    states = [{} if isinstance(one, Tensor) else space.named(one) for one in each]
    own = {}
    for name, constant in space.rest(network).items():
        rows = [state.get(name, constant).detach() for state in states]
        if not all(torch.equal(row, constant) for row in rows):
            own[name] = torch.stack(rows)
    return Members(thetas, own, space)


class Copies:
    """Copies of a network in one mode, as pure functions.

    Parameters
    ----------
    network
        The architecture; it is copied, and what training changes in the copy is not kept.
    training
        Whether the copies are in training mode.
    """

    def __init__(self, network: nn.Module, *, training: bool) -> None:
        self.space = Ravel.of(network)
        self.network = functional(network).train(training)
        self.name = type(self.network).__name__

    def outputs(self, theta: Tensor, inputs: Any, buffers: dict[str, Tensor] | None = None) -> Tensor:
        """Return the prediction of one copy on a batch of inputs: a tensor, or a tuple or dict of arguments.

        ``buffers`` are those of the copy by name; what its forward changes is written into this dict.
        """
        tensors = {**(buffers or {}), **self.space.unravel(theta)}
        found = call(self.network, tensors, inputs)
        if buffers is not None:
            buffers.update({name: tensors[name] for name in buffers})
        return picked(found)

    def moving(self, theta: Tensor, inputs: Any) -> list[str]:
        """Return the names of the buffers that a forward pass changes."""
        before = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        tensors = {name: buffer.clone() for name, buffer in before.items()}
        with preserve_rng(), torch.no_grad():
            self.outputs(theta, inputs, tensors)
        return [name for name, buffer in before.items() if not torch.equal(buffer, tensors[name])]

    def draws(self, theta: Tensor, inputs: Any) -> bool:
        """Return whether a forward pass draws random numbers, as dropout does."""
        found = []
        for seed in range(2):
            with preserve_rng(), torch.no_grad():
                torch.manual_seed(seed)
                found.append(self.outputs(theta, inputs, {n: b.clone() for n, b in self.network.named_buffers()}))
        return not torch.equal(*found)

    def refusal(self, thetas: Tensor, inputs: Any) -> str | None:
        """Return why ``vmap`` cannot run or differentiate the copies as one program, or None."""

        def total(theta: Tensor, x: Any) -> Tensor:
            return self.outputs(theta, x).double().sum()

        try:
            with preserve_rng(), batching():
                vmap(grad(total), in_dims=(0, None))(thetas, inputs)
                with torch.no_grad():
                    vmap(total, in_dims=(0, None))(thetas, inputs)
        except Exception as error:
            return f"vmap cannot batch it ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        return None


@contextmanager
def batching() -> Iterator[None]:
    """Compute attention by its plain formula, and refuse operations that ``vmap`` would loop over itself."""
    with warnings.catch_warnings(), plain_layers():
        warnings.filterwarnings("error", message=".*performance drop.*", category=UserWarning)
        yield
