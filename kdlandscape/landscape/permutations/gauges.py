"""Which scales and signs of units a network's function does not depend on, found by changing them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from kdlandscape.landscape.network import run
from kdlandscape.landscape.permutations.factors import homes
from kdlandscape.landscape.permutations.forward import State, as_double
from kdlandscape.landscape.permutations.symmetries import Dims, Symmetry, spread
from kdlandscape.landscape.permutations.walk import InDouble

PROJECTIONS = 16  # random ones of the outputs, whose gradients are taken
NULL = 1e-6  # singular values of the gradients below this share of the largest count as zero
FEW = 6  # tensors of a group, of which every set is tried for a change of sign
TOLERANCE = 1e-8  # of the outputs when scales or signs change, relative to the largest

Place = tuple[str, int, int]  # a tensor, one of its blocks, one of the block's dims


@dataclass(frozen=True)
class Gauge:
    """Factors c, one for each unit of a group, that change no output: a tensor at a place times ``c ** exponent``.

    ``positive`` and ``signs`` say which factors are allowed: c > 0, and c = -1.
    """

    group: str
    exponents: Mapping[Place, int]
    positive: bool
    signs: bool


def gauges(symmetry: Symmetry, state: State, inputs: Any) -> list[Gauge]:
    r"""Return the rescalings and sign flips of the units of a network.

    For each group, exponents e with :math:`\sum_o e_o J_o = 0` are a candidate, where :math:`J_o` are the derivatives
    of the outputs in the logarithm of a unit's scale in each parameter o that has it (at a ReLU: 1 for what writes the
    units, -1 for what reads them). Units may also change sign alone, as under tanh. A candidate is kept
    if finite factors leave the outputs as they are. Costs a few backward passes, and some forward passes a group.
    """
    generator = torch.Generator().manual_seed(0)
    trained = {name for name, _ in symmetry.module.named_parameters()}
    state = {name: _disturbed(x, generator, name in trained) for name, x in state.items()}
    slopes = _slopes(symmetry, state, inputs, trained, generator)
    inside = {parent for group in symmetry.groups.values() for parent in group.parents}
    found: list[Gauge] = []
    for group in (name for name in symmetry.groups if name not in inside):
        found += _of_group(symmetry, state, slopes, inputs, group, generator)
    return found


def _of_group(
    symmetry: Symmetry, state: State, slopes: Sequence[State], inputs: Any, group: str, generator: torch.Generator
) -> list[Gauge]:
    """Return the gauges of one group: candidates that finite factors confirm."""
    shape = symmetry.identity()[group].shape
    before = _outputs(symmetry, state, inputs)

    def unchanged(exponents: Mapping[Place, int], *every: Tensor) -> bool:
        gauge = Gauge(group, exponents, True, True)
        after = (_outputs(symmetry, scaled(symmetry, state, gauge, factors), inputs) for factors in every)
        return all((x - before).abs().max() <= TOLERANCE * before.abs().max().clamp_min(1.0) for x in after)

    scales = (0.5 * torch.randn(shape, generator=generator, dtype=torch.float64)).exp()
    some = torch.where(torch.rand(shape, generator=generator) < 0.5, -1.0, 1.0).double()
    flips = (some, -torch.ones_like(some))
    free = [e for e in _exponents(symmetry, state, slopes, group) if unchanged(e, scales)]
    found = [Gauge(group, exponents, True, unchanged(exponents, *flips)) for exponents in free]
    if not any(gauge.signs for gauge in found):
        places = [place for place, *_ in occurrences(symmetry, state, group)]
        odd = next((e for e in _patterns(places) if unchanged(e, *flips)), None)
        found += [] if odd is None else [Gauge(group, odd, False, True)]
    return found


def occurrences(symmetry: Symmetry, state: State, group: str) -> Iterator[tuple[Place, Tensor, Dims]]:
    """Yield every place of a group's units in the floating tensors of a state, with the block (a view) and its dims."""
    for name in symmetry.groups[group].tensors:
        if state[name].is_floating_point():
            for block, (view, dims) in enumerate(symmetry.blocks(name, state[name])):
                for dim in (k for k, one in enumerate(dims) if one == group):
                    yield (name, block, dim), view, dims


def scaled(symmetry: Symmetry, state: State, gauge: Gauge, factors: Tensor) -> dict[str, Tensor]:
    """Return a state with its units multiplied by factors."""
    result = dict(state)
    for name in {name for name, *_ in gauge.exponents}:
        result[name] = state[name].clone(memory_format=torch.contiguous_format)
    for place, view, dims in occurrences(symmetry, result, gauge.group):
        if exponent := gauge.exponents.get(place, 0):
            places = homes(dims, symmetry.groups[gauge.group].parents, place[2])
            view.mul_(spread(factors.to(view), places, view.ndim) ** exponent)
    return result


def units(symmetry: Symmetry, group: str, values: Tensor, dims: Dims, dim: int) -> Tensor:
    """Sum a block over everything but the units of a group and their parents."""
    places = homes(dims, symmetry.groups[group].parents, dim)
    return values.movedim(places, list(range(len(places)))).reshape(*(values.shape[k] for k in places), -1).sum(-1)


def _slopes(
    symmetry: Symmetry, state: State, inputs: Any, trained: set[str], generator: torch.Generator
) -> list[dict[str, Tensor]]:
    """Return the gradients of random projections of the outputs in the parameters."""
    leaves = {name: state[name].clone().requires_grad_() for name in trained}
    with InDouble():
        outputs = symmetry.counted(run(symmetry.module, {**state, **leaves}, as_double(inputs)))
    flat = torch.cat([part.double().flatten() for part in outputs])
    found = []
    for _ in range(PROJECTIONS):
        projection = torch.randn(flat.shape, generator=generator, dtype=torch.float64)
        slopes = torch.autograd.grad(flat, list(leaves.values()), projection, retain_graph=True, allow_unused=True)
        pairs = zip(leaves.items(), slopes, strict=True)
        found.append({name: torch.zeros_like(x) if slope is None else slope for (name, x), slope in pairs})
    return found


def _exponents(symmetry: Symmetry, state: State, slopes: Sequence[State], group: str) -> list[dict[Place, int]]:
    """Return integer vectors that span the null space of the derivatives in the scales of each parameter."""
    places = [place for place, *_ in occurrences(symmetry, state, group) if place[0] in slopes[0]]
    rows = []
    for one in slopes:
        products = {**state, **{name: (slope * state[name]).contiguous() for name, slope in one.items()}}
        found = occurrences(symmetry, products, group)
        sums = [units(symmetry, group, x, dims, p[2]).flatten() for p, x, dims in found if p in places]
        rows.append(torch.stack(sums, 1))
    jacobian = torch.cat(rows)
    _, values, vectors = torch.linalg.svd(jacobian, full_matrices=len(jacobian) < len(places))
    values = torch.nn.functional.pad(values, (0, len(vectors) - len(values)))
    null = vectors[values <= NULL * values[0].clamp_min(torch.finfo(values.dtype).tiny)]
    exponents = [(row, row.round()) for row in _reduced(null)]
    whole = [near for row, near in exponents if (row - near).abs().max() < 1e-3 and near.abs().max() <= 3]
    return [{place: int(e) for place, e in zip(places, near, strict=True) if e} for near in whole]


def _reduced(rows: Tensor) -> Tensor:
    """Return the reduced row echelon form: the simplest basis of a row space."""
    rows = rows.clone()
    done = 0
    for column in range(rows.shape[1]):
        if done == len(rows):
            break
        pivot = done + int(rows[done:, column].abs().argmax())
        if rows[pivot, column].abs() < 1e-4:
            continue
        rows[[done, pivot]] = rows[[pivot, done]]
        rows[done] /= rows[done, column].clone()
        others = [k for k in range(len(rows)) if k != done]
        rows[others] -= rows[others, column, None] * rows[done]
        done += 1
    return rows


def _patterns(places: Sequence[Place]) -> Iterator[dict[Place, int]]:
    """Yield tensors that may change sign together: all sets of a few; of many those from some tensor on."""
    names = list(dict.fromkeys(name for name, *_ in places if not name.endswith("running_var")))
    sets = (names[start:] for start in range(len(names)))
    if len(names) <= FEW:
        sets = (list(one) for size in range(len(names), 0, -1) for one in combinations(names, size))
    for one in sets:
        yield {place: 1 for place in places if place[0] in one}


def _outputs(symmetry: Symmetry, state: State, inputs: Any) -> Tensor:
    return torch.cat([part.double().flatten() for part in symmetry.run(state, inputs)])


def _disturbed(tensor: Tensor, generator: torch.Generator, trained: bool) -> Tensor:
    """Move a tensor off special values (a bias of zero has any scale); what is no parameter grows."""
    if not tensor.is_floating_point():
        return tensor
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    size = float(tensor.double().square().mean().sqrt()) or 1.0
    return tensor.double() + 0.3 * size * (noise if trained else noise.abs())
