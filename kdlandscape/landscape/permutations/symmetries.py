"""Which units of a network may change places: its permutation groups, found by running it once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdlandscape.landscape.network import own_copy
from kdlandscape.landscape.permutations.blocks import blocks, check, settle
from kdlandscape.landscape.permutations.factors import Axis, Factor, homes, leaves
from kdlandscape.landscape.permutations.forward import Counted, State, as_double, counted, full, outputs_of
from kdlandscape.landscape.permutations.walk import Recorder, Site, Walk, free

Permutations = Mapping[str, Tensor]
Dims = list[str | None]


@dataclass(frozen=True)
class Group:
    """Units that can only be permuted together, everywhere they appear.

    Attributes
    ----------
    size
        How many units.
    parents
        Groups inside whose units these lie (the units of a head inside the heads): each unit of the parents has an
        order of its own.
    tensors
        The parameters and buffers on whose axes they lie.
    """

    size: int
    parents: tuple[str, ...]
    tensors: tuple[str, ...]


class Writer(NamedTuple):
    """A layer that writes units: the axis of its output and that of its weight on which they lie, and their groups."""

    layer: str
    axis: int
    weight_axis: int
    groups: set[str]


class Symmetry:
    """The permutation groups of a network, by the name of the layer that has them first.

    A permutation of a group is a tensor (n,), or (m, n) for a group inside another one with m units: new unit j of the
    parent's new unit i is old unit ``permutation[i, j]`` of the parent's old unit.
    """

    def __init__(self, module: nn.Module, walk: Walk, counted: Counted) -> None:
        self.module, self.counted = module, counted
        self._factors, self._axes = walk.labels.factors, walk.axes
        # What is written and read by weights, where its units may move.
        self.writes, self.reads = ([s for s in sites if free(s.axes)] for sites in (walk.writes, walk.reads))
        atoms = settle(self._factors, walk.labels.tensors)
        used = {factor for axes in walk.labels.used for _, flat in blocks(self._factors, axes) for factor in flat}
        held: dict[Factor, list[str]] = {}
        for name, axes in self._axes.items():
            for factor in dict.fromkeys(f for _, flat in blocks(self._factors, axes) for f in flat if f in atoms):
                held.setdefault(factor, []).append(name)
        check(self._factors, held)
        parameters = {name for name, _ in module.named_parameters()}
        held = {factor: names for factor, names in held.items() if factor in used and parameters.intersection(names)}
        self._layers = walk.outputs
        self._names = _named(sorted(held, key=lambda factor: (len(atoms[factor]), factor.order)))  # parents first
        self.groups = {
            name: Group(f.size, tuple(self._names[p] for p in atoms[f] if p in held), tuple(held[f]))
            for f, name in self._names.items()
        }

    def blocks(self, name: str, tensor: Tensor) -> Iterator[tuple[Tensor, Dims]]:
        """Take a parameter or buffer apart into views with one dim for each group (None: places that stay)."""
        if name in self._axes:
            yield from self.parts(self._axes[name], tensor)
        else:
            yield tensor, [None] * tensor.ndim

    def parts(self, axes: Sequence[Axis], tensor: Tensor) -> Iterator[tuple[Tensor, Dims]]:
        """Take a tensor with given axes apart, as `blocks` does."""
        for view, flat in blocks(self._factors, axes, tensor):
            if view is not None:
                yield view, [self._names.get(factor) for factor in flat]

    def writers(self) -> Iterator[Writer]:
        """Yield every layer that writes units."""
        for layer, axes in self._layers.items():
            weight = self._axes.get(f"{layer}.weight", [])
            if len(weight) < 2:
                continue
            columns = "Conv1D" in type(self.module.get_submodule(layer)).__name__  # as `transformers` writes a Linear
            for at in sorted(range(len(weight)), reverse=columns):
                own = leaves(weight[at])
                place = next((k for k, axis in enumerate(axes) if own and leaves(axis) == own), None)
                factors = [f for _, flat in blocks(self._factors, [weight[at]]) for f in flat if f in self._names]
                if place is not None and factors:
                    yield Writer(layer, place, at, {self._names[factor] for factor in factors})
                    break

    def permute(self, state: State, permutations: Permutations) -> dict[str, Tensor]:
        """Return a state with its units in a new order; groups that are not given stay as they are.

        Raises
        ------
        ValueError
            For an unknown group, or something that is no permutation of its units.
        """
        self._check(permutations)
        return self.moved(state, permutations, reordered)

    def moved(self, state: State, given: Mapping[str, Tensor], move: Callable[..., Tensor]) -> dict[str, Tensor]:
        """Return a state whose blocks are ``move(block, dims, given, groups)`` where the groups of ``given`` lie."""
        result = dict(state)
        for name in {name for group in given for name in self.groups[group].tensors} & set(state):
            result[name] = state[name].clone(memory_format=torch.contiguous_format)
            for view, dims in self.blocks(name, result[name]):
                view.copy_(move(view, dims, given, self.groups))
        return result

    def random(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a uniformly random permutation for every group."""
        return {name: self._each(name, lambda n: torch.randperm(n, generator=generator)) for name in self.groups}

    def identity(self) -> dict[str, Tensor]:
        """Return the permutations that change nothing."""
        return {name: self._each(name, torch.arange) for name in self.groups}

    def values(self, state: State, inputs: Any, sites: Sequence[Site]) -> list[Tensor]:
        """Return the values at some sites in one forward pass with these parameters and buffers."""
        recorder = Recorder(list(sites))
        self.run(state, inputs, recorder)
        return [recorder.kept[site.number, site.place] for site in sites]

    def run(self, state: State, inputs: Any, mode: Any = None) -> list[Tensor]:
        """Run the network in float64 with these parameters and buffers, and return the outputs that count."""
        return outputs_of(self.module, state, inputs, self.counted, mode)

    def _each(self, name: str, make: Any) -> Tensor:
        shape = [self.groups[parent].size for parent in self.groups[name].parents]
        rows = [make(self.groups[name].size) for _ in range(int(torch.tensor(shape).prod()))]
        return torch.stack(rows).view(*shape, -1)

    def _check(self, permutations: Permutations) -> None:
        for name, permutation in permutations.items():
            if name not in self.groups:
                raise ValueError(f"expected a group of {', '.join(self.groups) or 'none'}; got {name!r}")
            expected = self._each(name, torch.arange)
            if permutation.shape != expected.shape or not torch.equal(permutation.sort().values.cpu(), expected):
                raise ValueError(
                    f"expected a permutation of the {self.groups[name].size} units of group {name!r}, of shape "
                    f"{tuple(expected.shape)}"
                )


def reordered(tensor: Tensor, dims: Dims, permutations: Permutations, groups: Mapping[str, Group]) -> Tensor:
    """Return a block with the units on its dims in a new order; the groups are sorted, parents first."""
    for name in (name for name in groups if name in permutations and name in dims):
        for dim in (k for k, one in enumerate(dims) if one == name):
            tensor = taken(tensor, permutations[name], homes(dims, groups[name].parents, dim))
    return tensor


def taken(tensor: Tensor, order: Tensor, places: Sequence[int]) -> Tensor:
    """Reorder units on the last of some dims; with more of them, in an order for each unit of the parents on these."""
    order, dim = order.to(tensor.device), places[-1]
    return (
        tensor.index_select(dim, order)
        if len(places) == 1
        else tensor.gather(dim, spread(order, places, tensor.ndim).expand(tensor.shape))
    )


def spread(values: Tensor, places: Sequence[int], ndim: int) -> Tensor:
    """Bring what belongs to units, and their parents, to its dims of a block."""
    shape = [values.shape[places.index(k)] if k in places else 1 for k in range(ndim)]
    return values.permute(sorted(range(len(places)), key=places.__getitem__)).reshape(shape)


def _named(factors: Sequence[Factor]) -> dict[Factor, str]:
    """Name groups by their layers; the second of a layer is ``layer:2``."""
    seen: dict[str, int] = {}
    names = {}
    for factor in factors:
        seen[factor.name] = seen.get(factor.name, 0) + 1
        names[factor] = factor.name if seen[factor.name] == 1 else f"{factor.name}:{seen[factor.name]}"
    return names


def trace_symmetry(
    model: nn.Module, inputs: Any, *, rules: Mapping[str, str] | None = None, counted: Counted = counted
) -> Symmetry:
    """Run a network on a batch and derive its permutation groups from the operations that torch executes.

    Parameters
    ----------
    model
        Any module. Elementwise functions, sums and products, reductions, softmax, norms, reshapes, concatenations and
        cuts, matrix products, convolutions (grouped and transposed) and embeddings are understood, whatever layers
        they are written in: residual streams, gates, recurrence, attention (the heads are units, and each head has
        units of its own). Other operations are tried on permuted inputs. A group that touches a frozen parameter is
        left alone: theta could not tell it.
    inputs
        A batch (a tensor, a tuple or a dict of tensors).
    rules
        What an operation without a rule does to the axes of its tensors, by its name: ``{"fft_rfft": "bct->bc."}``.
        Axes of one letter carry the same units, in the same order; ``.`` is an axis whose places stay.
    counted
        Which tensors of the output count: their places stay. Default: each of a tuple or dict, of other objects their
        ``logits``, else their first tensor.

    Raises
    ------
    ValueError
        If an operation leaves no known freedom to units that could otherwise move; the message names it, the layer in
        which it runs and the layer that writes the units.

    Notes
    -----
    One forward pass in float64 on the CPU. Groups: Ainsworth et al. 2023 (Git Re-Basin), section 3 and appendix A.4.
    """
    module = own_copy(model).double().cpu()
    state = full(module)
    inputs = as_double(inputs)
    # A buffer that no state dict holds is a constant.
    kept = set(module.state_dict())
    walk = Walk(module, {name: tensor for name, tensor in state.items() if name in kept}, inputs, rules or {})
    with walk.watching(module):
        outputs = outputs_of(module, state, inputs, counted, walk)
    walk.finish(outputs)
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            for axis in walk.axes[name]:
                walk.labels.factors.pin(axis)
    return Symmetry(module, walk, counted)
