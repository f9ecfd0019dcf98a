"""Permute the units of one network onto those of another, without changing its function."""

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from kdlandscape.landscape.params import Ravel, Theta
from kdlandscape.landscape.permutations.groups import Group, Slot
from kdlandscape.landscape.permutations.symmetries import Symmetry, arguments, as_double, take, trace_symmetry, units

METHODS = ("weights", "activations")
TOLERANCE = 1e-10  # of the function's invariance, in float64 and relative to the largest output
MIN_GAIN = 1e-9  # of a step of the coordinate descent, relative to the norms of both networks
TIE_BREAK = 1e-6  # weight of the correlations of preactivations in activation matching
_Slots = list[tuple[int, str, int]]  # axis, group, inner


class Alignment(NamedTuple):
    """A network with its units permuted.

    Attributes
    ----------
    theta
        The permuted parameters (P,), in the dtype they came in.
    permutations
        For each group: new unit i is old unit ``permutations[group][i]``.
    state
        The permuted parameters and buffers (running statistics move with their channels), for ``load_state_dict``.
    similarity
        Cosine of the reference and the network before and after, over all parameters.
    sweeps
        How many times the coordinate descent went through all groups (0 for activation matching).
    """

    theta: Tensor
    permutations: dict[str, Tensor]
    state: dict[str, Tensor]
    similarity: tuple[float, float]
    sweeps: int


def align(
    network: nn.Module,
    reference: Theta,
    other: Theta,
    *,
    generator: torch.Generator | None = None,
    method: str = "weights",
    inputs: Any = None,
    restarts: int = 1,
) -> Alignment:
    r"""Permute ``other`` onto ``reference``; its function stays the same, and this is checked on a batch.

    Parameters
    ----------
    network
        The architecture; its buffers stand in where ``reference`` or ``other`` is a flat theta.
    reference, other
        Two networks of this architecture: theta (P,), module or state dict.
    generator
        Draws the order in which groups are visited and, where no ``inputs`` are given, the batch for the check;
        default: seeded with 0.
    method
        ``weights``: maximize :math:`\langle \theta_{ref}, \pi(\theta)\rangle` by coordinate descent, one linear
        assignment a group, until no step gains; ``activations``: one assignment a group on the correlations of what
        the layers read.
    inputs
        A batch. Needed for ``activations`` and where the shape of an input cannot be told from the first layer.
    restarts
        How many orders of visits are tried from each start; the most similar result is kept.

    Returns
    -------
    Alignment
        Costs a few linear assignments (n^3 for n units) and products of weight matrices; in float64 on the CPU.

    Raises
    ------
    SpaceError
        If a network does not belong to the architecture, naming the first difference.
    ValueError
        For an unknown method, missing inputs, or a layer without a rule (named).
    RuntimeError
        If the permuted network computes another function.

    Notes
    -----
    Ainsworth et al. 2023 (Git Re-Basin), sections 3.1 and 3.2 and algorithm 1. The descent finds a local optimum; it
    starts both from the identity and from a greedy pass in the order of the layers, which finds a planted permutation
    exactly. Correlations instead of inner products: Jordan et al. 2023 (REPAIR), section 2.
    """
    if method not in METHODS:
        raise ValueError(f"expected method to be one of {', '.join(METHODS)}; got {method!r}")
    generator = generator or torch.Generator().manual_seed(0)
    if inputs is None:
        if method == "activations":
            raise ValueError("expected inputs: activation matching compares units on a batch")
        inputs = example_inputs(network, generator)
    symmetry = trace_symmetry(network, inputs)
    states = {"reference": full_state(network, reference), "other": full_state(network, other)}
    to, moving = ({name: as_double(tensor) for name, tensor in state.items()} for state in states.values())
    matching = _Matching(symmetry, to, moving)
    if method == "weights":
        permutations, sweeps = matching.descend(generator, restarts)
    else:
        permutations, sweeps = _match_activations(symmetry, to, moving, inputs), 0
    permuted = symmetry.permute(states["other"], permutations)
    check_invariance(symmetry, moving, symmetry.permute(moving, permutations), inputs)
    similarity = matching.similarity(symmetry.identity()), matching.similarity(permutations)
    theta = Ravel.of(network).ravel(permuted)
    return Alignment(theta, permutations, permuted, similarity, sweeps)


def full_state(network: nn.Module, theta: Theta) -> dict[str, Tensor]:
    """Return every parameter and buffer of a network at theta; what theta does not hold comes from the network."""
    space = Ravel.of(network)
    own = {name: tensor.detach() for name, tensor in (*network.named_parameters(), *network.named_buffers())}
    parameters = space.unravel(space.ravel(theta).detach())
    given: Mapping[str, Tensor] = {}
    if isinstance(theta, nn.Module):
        given = theta.state_dict()
    elif isinstance(theta, Mapping):
        given = theta
    return own | {name: tensor.detach() for name, tensor in given.items() if name in own} | parameters


def example_inputs(network: nn.Module, generator: torch.Generator, num: int = 8) -> Tensor:
    """Draw a batch of standard normal inputs whose shape follows from the network's first layer.

    Raises
    ------
    ValueError
        If it does not: spatial sizes of a convolution are not known to it.
    """
    first = next((layer for layer in network.modules() if not list(layer.children())), network)
    if isinstance(first, nn.Linear):
        shape: tuple[int, ...] = (first.in_features,)
    elif isinstance(first, nn.Unflatten):
        shape = (prod(first.unflattened_size),)
    elif isinstance(first, nn.LayerNorm):
        shape = tuple(first.normalized_shape)
    else:
        raise ValueError(
            f"expected inputs: the shape of a batch does not follow from the first layer ({type(first).__name__})"
        )
    return torch.randn(num, *shape, generator=generator, dtype=torch.float64)


def check_invariance(symmetry: Symmetry, before: Mapping, after: Mapping, inputs: Any) -> None:
    """Raise unless two states of a network give the same outputs on a batch, to 1e-10 in float64."""
    outputs = []
    for state in (before, after):
        tensors = {name: as_double(tensor) for name, tensor in state.items()}
        with torch.no_grad():
            arguments_ = arguments(symmetry.graph, as_double(inputs))
            outputs.append(torch.func.functional_call(symmetry.module, tensors, arguments_))
    scale = max(1.0, float(outputs[0].abs().max()))
    gap = float((outputs[0] - outputs[1]).abs().max())
    if not gap <= TOLERANCE * scale:
        raise RuntimeError(
            f"the permuted network computes another function: its outputs differ by {gap:.3g}, expected at most "
            f"{TOLERANCE * scale:.3g}; a layer's rule is wrong, or the network depends on more than its inputs"
        )


class _Matching:
    """Weight matching: the similarity of two states as a function of the permutations of one of them."""

    def __init__(self, symmetry: Symmetry, reference: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
        self.groups, self.reference, self.other = symmetry.groups, reference, other
        self.parameters = [name for name, _ in symmetry.module.named_parameters()]
        self.slots: dict[str, _Slots] = {name: [] for name in self.parameters}
        for group_name, group in self.groups.items():
            for slot in group.slots:
                if slot.name in self.slots:
                    self.slots[slot.name].append((slot.axis, group_name, slot.inner))
        norms = (sum(float(s[name].norm()) ** 2 for name in self.parameters) ** 0.5 for s in (reference, other))
        self.scale = prod(norms) or 1.0

    def similarity(self, permutations: Mapping[str, Tensor]) -> float:
        """Cosine of the reference and the permuted network."""
        return self._inner(self.parameters, permutations) / self.scale

    def descend(self, generator: torch.Generator, restarts: int) -> tuple[dict[str, Tensor], int]:
        """Return the best of the local optima, and its number of sweeps."""
        identity = {name: torch.arange(group.size) for name, group in self.groups.items()}
        best, most = (identity, 0), -float("inf")
        for _ in range(max(restarts, 1)):
            for start in (identity, self._greedy()):
                result, sweeps = self._sweep(dict(start), generator)
                if (similarity := self.similarity(result)) > most:
                    best, most = (result, sweeps), similarity
        return best

    def _greedy(self) -> dict[str, Tensor]:
        """Match group after group, each by the axes whose partners are already matched."""
        known: dict[str, Tensor] = {}
        for name, group in self.groups.items():
            known[name] = _assign(self._costs(name, group, known))
        return known

    def _sweep(self, permutations: dict[str, Tensor], generator: torch.Generator) -> tuple[dict[str, Tensor], int]:
        """Coordinate descent. Every accepted step raises the similarity by a relative threshold, so it ends."""
        names = list(self.groups)
        sweeps, gained = 0, True
        while gained:
            sweeps, gained = sweeps + 1, False
            for index in torch.randperm(len(names), generator=generator).tolist():
                name = names[index]
                affected = sorted({slot.name for slot in self.groups[name].slots} & set(self.slots))
                new = permutations | {name: _assign(self._costs(name, self.groups[name], permutations))}
                gain = self._inner(affected, new) - self._inner(affected, permutations)
                if gain > MIN_GAIN * self.scale:
                    permutations, gained = new, True
        return permutations, sweeps

    def _costs(self, name: str, group: Group, known: Mapping[str, Tensor]) -> Tensor:
        """Inner products (n, n) of the reference's units and the other's, over axes with known partners."""
        costs = torch.zeros(group.size, group.size, dtype=torch.float64)
        for slot in group.slots:
            if slot.name not in self.slots:  # a buffer
                continue
            partners = [(axis, g, inner) for axis, g, inner in self.slots[slot.name] if axis != slot.axis]
            if all(g in known for _, g, _ in partners):
                other = _permuted(self.other[slot.name], slot.name, partners, known)
                costs += units(self.reference[slot.name], slot, group.size) @ units(other, slot, group.size).T
        return costs

    def _inner(self, names: list[str], permutations: Mapping[str, Tensor]) -> float:
        return sum(
            float((self.reference[name] * _permuted(self.other[name], name, self.slots[name], permutations)).sum())
            for name in names
        )


def _permuted(tensor: Tensor, name: str, slots: _Slots, permutations: Mapping[str, Tensor]) -> Tensor:
    for axis, group, inner in slots:
        tensor = take(tensor, Slot(name, axis, inner), permutations[group])
    return tensor


def _assign(costs: Tensor) -> Tensor:
    """Return the permutation that maximizes the sum of ``costs[i, permutation[i]]``."""
    return torch.from_numpy(linear_sum_assignment(costs.numpy(), maximize=True)[1].copy())


def _match_activations(symmetry: Symmetry, reference: Mapping, other: Mapping, inputs: Any) -> dict[str, Tensor]:
    nodes = sorted({site.node for group in symmetry.groups.values() for site in (*group.reads, *group.writes)})
    values = [symmetry.values(state, inputs, nodes) for state in (reference, other)]
    permutations = {}
    for name, group in symmetry.groups.items():
        costs = torch.zeros(group.size, group.size, dtype=torch.float64)
        # What the next layers read decides; what was written breaks the ties of units that never fire.
        for weight, sites in ((1.0, group.reads), (TIE_BREAK, group.writes)):
            for site in sites:
                a, b = (_standardized(units(value[site.node], site, group.size)) for value in values)
                costs += weight * (a @ b.T) / a.shape[1]
        permutations[name] = _assign(costs)
    return permutations


def _standardized(rows: Tensor) -> Tensor:
    """Return rows with mean 0 and variance 1; a unit that never changes stays 0 and correlates with nothing."""
    centred = rows - rows.mean(1, keepdim=True)
    deviation = centred.square().mean(1, keepdim=True).sqrt()
    return torch.where(deviation > 0, centred / deviation.clamp_min(torch.finfo(rows.dtype).tiny), 0.0)
