"""Permute the units of one network onto those of another, without changing its function."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.network import tensors_of
from kdlandscape.landscape.params import Ravel, Theta, unwrapped
from kdlandscape.landscape.permutations.forward import Counted, as_double, counted, full
from kdlandscape.landscape.permutations.matching import Block, Matching
from kdlandscape.landscape.permutations.symmetries import Symmetry, trace_symmetry
from kdlandscape.summary import Summarized, count

FEW = 32  # examples on which a network's operations are seen and its function is compared
METHODS = ("weights", "activations")
TOLERANCE = 1e-10  # of the function's invariance, in float64 and relative to the largest output
TIE_BREAK = 1e-6  # weight of the correlations of preactivations in activation matching


class StateDict(Mapping[str, Tensor]):
    """A network as its parameters and buffers by name: what an objective takes as a state dict."""

    state: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.state[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)


@dataclass(frozen=True, eq=False, repr=False)
class Alignment(Summarized, StateDict):
    """A network with its units permuted: a state dict, of which an objective takes parameters and buffers alike.

    Attributes
    ----------
    state
        The permuted parameters and buffers (running statistics move with their channels); the mapping itself.
    theta
        The permuted parameters alone (P,), in the dtype they came in: an objective adds its own buffers.
    permutations
        For each group of units: new unit i is old unit ``permutations[group][i]``. A group inside another one (the
        units of a head inside the heads) has an order for each new unit of that one, (m, n).
    similarity
        Cosine of the reference and the network before and after, over all parameters.
    sweeps
        How many times the coordinate descent went through all groups (0 for activation matching).
    """

    state: dict[str, Tensor]
    theta: Tensor
    permutations: dict[str, Tensor]
    similarity: tuple[float, float]
    sweeps: int

    def _summary(self) -> tuple[str, dict[str, Any]]:
        before, after = self.similarity
        moved = sum(bool((order.cpu() != torch.arange(order.shape[-1])).any()) for order in self.permutations.values())
        groups = f"{moved} of {count(len(self.permutations), 'group')} of units permuted"
        facts = {"theta": count(self.theta.numel(), "parameter"), "order": groups}
        return "Alignment", {**facts, "cosine with the reference": f"{before:.4f} before, {after:.4f} after"}


def align(
    objective: MeanLoss | nn.Module,
    reference: Theta,
    other: Theta,
    *,
    generator: torch.Generator | None = None,
    method: str = "weights",
    inputs: Any = None,
    restarts: int = 1,
    rules: Mapping[str, str] | None = None,
) -> Alignment:
    r"""Permute ``other`` onto ``reference``; its function stays the same, and this is checked on a batch.

    What is removed is the order of units, of heads, and of units inside a head (queries with keys, values with
    outputs). Nothing else is: signs (under tanh), positive scales (under ReLU) and rotations (of linear units, of
    attention) of the same function remain in the distance. `rescaling` says how much of it is scale and sign.

    Parameters
    ----------
    objective
        Gives the architecture, its buffers where ``reference`` or ``other`` is a flat theta, and the inputs. Or the
        architecture alone, with ``inputs``.
    reference, other
        Two networks of this architecture: theta (P,), module or state dict.
    generator
        Draws the order in which groups are visited; default: seeded with 0.
    method
        ``weights``: maximize :math:`\langle \theta_{ref}, \pi(\theta)\rangle` by coordinate descent, one linear
        assignment a group, until no step gains; ``activations``: one assignment a group on the correlations of what
        the layers read.
    inputs
        A batch on which the network is run; default: the first batch of the objective.
    restarts
        How many orders of visits are tried from each start; the most similar result is kept.
    rules
        Rules by hand for operations that have none; see `trace_symmetry`.

    Returns
    -------
    Alignment
        Costs a few linear assignments (n^3 for n units) and products of weight matrices; in float64 on the CPU.

    Raises
    ------
    SpaceError
        If a network does not belong to the architecture, naming the first difference.
    ValueError
        For an unknown method, missing inputs, or an operation without a rule (named, with its layer).
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
    pair = Pair.of(objective, reference, other, inputs=inputs, rules=rules, every=method == "activations")
    if method == "weights":
        return pair.aligned(*best_descent(pair.symmetry, pair.matching, pair.scale, generator, restarts))
    return pair.aligned(_activations(pair.symmetry, pair.to, pair.moving, pair.inputs).greedy(), 0)


class Pair(NamedTuple):
    """Two networks of one architecture, whose units are to be matched.

    ``to`` and ``moving`` are both in float64 on the CPU, ``other`` is the second as it came; ``inputs`` is the batch
    that they are compared on, and ``scale`` the product of their norms.
    """

    network: nn.Module
    symmetry: Symmetry
    to: dict[str, Tensor]
    moving: dict[str, Tensor]
    other: dict[str, Tensor]
    matching: Matching
    scale: float
    inputs: Any

    @classmethod
    def of(
        cls,
        objective: MeanLoss | nn.Module,
        reference: Theta,
        other: Theta,
        *,
        inputs: Any = None,
        rules: Mapping[str, str] | None = None,
        every: bool = False,
    ) -> "Pair":
        """Trace the architecture on a few examples, or on the whole batch (``every``)."""
        network, inputs, few, counted = given(objective, inputs)
        few = inputs if every else few
        symmetry = trace_symmetry(network, few, rules=rules, counted=counted)
        states = full_state(network, reference), full_state(network, other)
        to, moving = ({name: as_double(tensor) for name, tensor in state.items()} for state in states)
        scale = prod(float(_norm(symmetry, state)) for state in (to, moving)) or 1.0
        return cls(network, symmetry, to, moving, states[1], matching_of_weights(symmetry, to, moving), scale, few)

    def aligned(self, permutations: dict[str, Tensor], sweeps: int) -> Alignment:
        """Return the second network in a new order of its units, after a check that its function is the same."""
        permuted = self.symmetry.permute(self.other, permutations)
        check_invariance(self.symmetry, self.moving, self.symmetry.permute(self.moving, permutations), self.inputs)
        before, after = (self.matching.value(one) / self.scale for one in (self.symmetry.identity(), permutations))
        theta = Ravel.of(self.network).ravel(permuted)
        return Alignment(permuted, theta, permutations, (before, after), sweeps)


def full_state(network: nn.Module, theta: Theta) -> dict[str, Tensor]:
    """Return every parameter and buffer of a network at theta; what theta does not hold comes from the network."""
    space = Ravel.of(network)
    parameters = space.unravel(space.ravel(theta).detach())
    own = full(network)
    if not isinstance(theta, Tensor):
        given = space.named(theta)
        own = {name: given.get(name, tensor).detach() for name, tensor in own.items()}
        parameters = {name: own[name] for name in parameters}
    return own | parameters


class Given(NamedTuple):
    """A network, a batch of inputs, a few examples of them, and what of its output counts."""

    network: nn.Module
    inputs: Any
    few: Any
    counted: Counted


def given(objective: MeanLoss | nn.Module, inputs: Any) -> Given:
    """Return what an objective, or a network with inputs, gives.

    Raises
    ------
    ValueError
        If there is neither an objective nor inputs.
    """
    if isinstance(objective, nn.Module):
        if inputs is None:
            raise ValueError(
                f"expected an objective, or inputs=: {type(objective).__name__} has to be run on a batch to see its "
                "units"
            )
        return Given(unwrapped(objective), inputs, inputs, counted)

    def taken(outputs: Any) -> list[Tensor]:
        return [x for name in objective.metric_names for x in tensors_of(objective.criteria.taken(outputs, name))]

    if inputs is not None:
        return Given(objective.model, inputs, inputs, taken)
    inputs, _ = next(objective.stream())
    size = next(len(tensor) for tensor in tree_leaves(inputs) if isinstance(tensor, Tensor) and tensor.ndim)
    few = tree_map(lambda x: x[:FEW] if isinstance(x, Tensor) and x.ndim and len(x) == size else x, inputs)
    return Given(objective.model, inputs, few, taken)


def check_invariance(symmetry: Symmetry, before: Mapping, after: Mapping, inputs: Any) -> None:
    """Raise unless two states of a network give the same outputs on a batch, to 1e-10 in float64."""
    pairs = list(zip(*(symmetry.run(state, inputs) for state in (before, after)), strict=True))
    scale = max(1.0, *(float(one.abs().max()) for one, _ in pairs))
    gap = max(float((one - two).abs().max()) for one, two in pairs)
    if not gap <= TOLERANCE * scale:
        raise RuntimeError(
            f"the permuted network computes another function: its outputs differ by {gap:.3g}, expected at most "
            f"{TOLERANCE * scale:.3g}; a rule given by hand is wrong, or the network depends on more than its inputs"
        )


def _norm(symmetry: Symmetry, state: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([state[name].norm() for name, _ in symmetry.module.named_parameters()]).norm()


def matching_of_weights(symmetry: Symmetry, reference: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Matching:
    """Return the matching of the parameters of two states."""
    blocks = []
    for name, _ in symmetry.module.named_parameters():
        pairs = zip(*(symmetry.blocks(name, state[name].contiguous()) for state in (reference, other)), strict=True)
        blocks += [Block(dims, one, two) for (one, dims), (two, _) in pairs]
    return Matching(symmetry.groups, blocks)


def best_descent(
    symmetry: Symmetry, matching: Matching, scale: float, generator: torch.Generator, restarts: int
) -> tuple[dict[str, Tensor], int]:
    """Return the best of the local optima, and its number of sweeps."""
    identity = symmetry.identity()
    best, most = (identity, 0), -float("inf")
    starts = (identity, matching.greedy())
    for start in starts * max(restarts, 1):
        found = matching.descend(start, generator, scale)
        if (similarity := matching.value(found[0])) > most:
            best, most = found, similarity
    return best


def _activations(symmetry: Symmetry, reference: Mapping, other: Mapping, inputs: Any) -> Matching:
    """Return the matching of the units' correlations on a batch.

    What the next layers read decides; what was written breaks the ties of units that never fire.
    """
    blocks = []
    for weight, sites in ((1.0, symmetry.reads), (TIE_BREAK, symmetry.writes)):
        values = [symmetry.values(state, inputs, sites) for state in (reference, other)]
        for site, one, two in zip(sites, *values, strict=True):
            pairs = zip(*(symmetry.parts(site.axes, value) for value in (one, two)), strict=True)
            for (a, dims), (b, _) in pairs:
                still = [k for k, name in enumerate(dims) if name is None]
                samples = prod(a.shape[k] for k in still)
                blocks.append(Block(dims, _standardized(a, still) * (weight / samples), _standardized(b, still)))
    return Matching(symmetry.groups, blocks)


def _standardized(values: Tensor, dims: list[int]) -> Tensor:
    """Return values with mean 0 and variance 1 over some dims; a unit that never changes stays 0."""
    if not dims:
        return torch.zeros_like(values)
    centred = values - values.mean(dims, keepdim=True)
    deviation = centred.square().mean(dims, keepdim=True).sqrt()
    return torch.where(deviation > 0, centred / deviation.clamp_min(torch.finfo(values.dtype).tiny), 0.0)
