"""Which units of a network may change places: permutation groups, derived by tracing the network once."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from kdlandscape.landscape.permutations.groups import Group, Site, Slot
from kdlandscape.landscape.permutations.rules import Walk

State = Mapping[str, Tensor]
Permutations = Mapping[str, Tensor]


@dataclass(frozen=True)
class Symmetry:
    """The permutation groups of a network by the name of the layer that writes them first, and its traced graph."""

    groups: Mapping[str, Group]
    graph: fx.GraphModule
    module: nn.Module

    def permute(self, state: State, permutations: Permutations) -> dict[str, Tensor]:
        """Return a state with new unit i = old unit ``permutations[group][i]``; missing groups stay as they are.

        Raises
        ------
        ValueError
            For an unknown group, or something that is no permutation of its units.
        """
        result = dict(state)
        for name, permutation in permutations.items():
            if name not in self.groups:
                raise ValueError(f"expected a group of {', '.join(self.groups) or 'none'}; got {name!r}")
            group = self.groups[name]
            if not torch.equal(permutation.sort().values.cpu(), torch.arange(group.size)):
                raise ValueError(f"expected a permutation of the {group.size} units of group {name!r}")
            for slot in group.slots:
                result[slot.name] = take(result[slot.name], slot, permutation)
        return result

    def random(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a uniformly random permutation for every group."""
        return {name: torch.randperm(group.size, generator=generator) for name, group in self.groups.items()}

    def identity(self) -> dict[str, Tensor]:
        """Return the permutations that change nothing."""
        return {name: torch.arange(group.size) for name, group in self.groups.items()}

    def values(self, state: State, inputs: Any, nodes: Sequence[str]) -> dict[str, Tensor]:
        """Return the values of named nodes of the graph in one forward pass with these parameters and buffers."""
        return Recorder(loaded(self.graph, state), nodes).record(inputs)


def take(tensor: Tensor, slot: Slot, permutation: Tensor) -> Tensor:
    """Permute the units on one axis."""
    size = len(permutation)
    places = torch.arange(tensor.shape[slot.axis]).view(-1, size, slot.inner)
    return tensor.index_select(slot.axis, places[:, permutation.cpu()].reshape(-1).to(tensor.device))


def units(tensor: Tensor, place: Slot | Site, size: int) -> Tensor:
    """Return a tensor as (units, everything else)."""
    apart = tensor.movedim(place.axis, 0).reshape(-1, size, place.inner, tensor.numel() // tensor.shape[place.axis])
    return apart.transpose(0, 1).reshape(size, -1)


def inverse(permutation: Tensor) -> Tensor:
    """Return the permutation that undoes another one."""
    return torch.argsort(permutation)


def trace_symmetry(network: nn.Module, inputs: Any) -> Symmetry:
    """Trace a network and derive its permutation groups.

    Parameters
    ----------
    network
        Linear, convolution (plain, depthwise, transposed), embedding, BatchNorm, LayerNorm, RMSNorm, InstanceNorm,
        ``GroupNorm(1, C)``, elementwise functions, pooling, reshapes, sums and products of branches (a residual
        stream is one group). A group that touches a frozen parameter is left alone: theta could not tell it.
    inputs
        A batch (a tensor, a tuple or a dict of tensors); only its shape matters, and that it runs.

    Raises
    ------
    ValueError
        If the network cannot be traced by ``torch.fx``, or has a layer without a rule: the message names it.

    Notes
    -----
    One forward pass. Groups: Ainsworth et al. 2023 (Git Re-Basin), section 3 and appendix A.4.
    """
    module = copy.deepcopy(network).eval().double().cpu()
    try:
        graph = fx.symbolic_trace(module)
    except Exception as error:
        raise ValueError(
            f"{type(network).__name__} cannot be traced by torch.fx ({error}): expected a forward without branches "
            "that depend on the data"
        ) from error
    with torch.no_grad():
        walk = Walk(graph)
        walk.run(*arguments(graph, as_double(inputs)))
    return Symmetry(walk.groups.free(), graph, module)


def as_double(inputs: Any) -> Any:
    """Copy a batch to the CPU in float64; integers stay integers."""
    if isinstance(inputs, Mapping):
        return {name: as_double(value) for name, value in inputs.items()}
    if isinstance(inputs, list | tuple):
        return tuple(as_double(value) for value in inputs)
    tensor = inputs.detach().cpu()
    return tensor.double() if tensor.is_floating_point() else tensor


def arguments(graph: Any, inputs: Any) -> tuple[Any, ...]:
    """Return the batch as the positional arguments of a graph."""
    if isinstance(inputs, Mapping):
        return tuple(inputs[node.target] for node in graph.graph.nodes if node.op == "placeholder")
    return inputs if isinstance(inputs, tuple) else (inputs,)


def loaded(graph: fx.GraphModule, state: State) -> fx.GraphModule:
    """Return a copy of a graph that holds other parameters and buffers (those it is given)."""
    graph = copy.deepcopy(graph)
    held = graph.state_dict()
    graph.load_state_dict({name: state[name].to(held[name]) if name in state else held[name] for name in held})
    return graph


class Recorder(fx.Interpreter):
    """Runs a graph and keeps the values of some of its nodes."""

    def __init__(self, graph: fx.GraphModule, nodes: Sequence[str]) -> None:
        super().__init__(graph)
        self.kept: dict[str, Tensor] = {}
        self.nodes = frozenset(nodes)

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and keep its value where asked for."""
        value = super().run_node(n)
        if n.name in self.nodes:
            self.kept[n.name] = value.clone()
        return value

    def record(self, inputs: Any) -> dict[str, Tensor]:
        """Run a batch and return the kept values by node."""
        with torch.no_grad():
            self.run(*arguments(self.module, as_double(inputs)))
        return self.kept
