"""How much of the distance of two networks is no more than the scale, or the sign, of their units."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Ravel, Theta
from kdlandscape.landscape.permutations.alignment import StateDict, align, check_invariance, full_state, given
from kdlandscape.landscape.permutations.forward import State, as_double
from kdlandscape.landscape.permutations.gauges import Gauge, gauges, occurrences, scaled, units
from kdlandscape.landscape.permutations.symmetries import Symmetry, trace_symmetry

WIDEST, SPACING = 6.0, 0.5  # of the grid of logarithms of factors
NEWTON_STEPS = 12
MAX_SWEEPS = 200
MIN_GAIN = 1e-14  # of a sweep, relative to the squared norm
Factors = list[Tensor]


@dataclass(frozen=True, eq=False)
class Rescaling(StateDict):
    """A network with its units permuted and rescaled: a state dict, as an alignment is.

    Attributes
    ----------
    state, theta
        Parameters and buffers (the mapping itself), and the parameters alone (P,).
    scales
        For each group that allows it, the factor of each unit (negative: its sign is flipped), in the new order.
    permutations
        The order of the units, as in an alignment.
    distances
        From the reference, over all parameters: of the aligned network, and of the rescaled one.
    """

    state: dict[str, Tensor]
    theta: Tensor
    scales: dict[str, Tensor]
    permutations: dict[str, Tensor]
    distances: tuple[float, float]

    @property
    def share(self) -> float:
        """The share of the squared distance that scales and signs explain: 1 for the same network in other units."""
        before, after = self.distances
        return 1 - (after / before) ** 2 if before else 1.0

    @property
    def flipped(self) -> float:
        """The share of the units, among those of ``scales``, whose sign is flipped."""
        every = [scale.flatten() for scale in self.scales.values()]
        return float((torch.cat(every) < 0).double().mean()) if every else 0.0


def rescaling(
    objective: MeanLoss | nn.Module,
    reference: Theta,
    other: Theta,
    *,
    inputs: Any = None,
    rules: Mapping[str, str] | None = None,
) -> Rescaling:
    r"""Bring ``other`` as close to ``reference`` as orders, scales and signs of its units can; its function stays.

    A ReLU unit computes the same with its incoming weights times c > 0 and its outgoing ones over c; a tanh unit with
    both times -1; a value unit of an attention head, which is linear, with any c other than 0. An alignment removes
    none of these. Which of them a network has is found by changing its weights, not by the names of its layers.

    Parameters
    ----------
    objective, reference, other, inputs, rules
        As for `align`.

    Returns
    -------
    Rescaling
        Its ``share`` says how much of the squared distance that is left after alignment is scale and sign.

    Raises
    ------
    SpaceError, ValueError, RuntimeError
        As `align` does.

    Notes
    -----
    Minimizes :math:`\|\theta_{ref} - c \cdot \pi(\theta)\|^2` by coordinate descent over groups, each unit by itself,
    from the aligned network and from the match of both networks in their normal forms: scales of least norm
    (Neyshabur et al. 2015, Path-SGD, section 3 has the symmetry), signs of positive third moment. The second start
    finds networks that differ by nothing else. Costs two alignments, and some forward passes for each tensor. Rotations
    (linear units, attention) are not looked for.
    """
    network, inputs, few, counted = given(objective, inputs)
    symmetry = trace_symmetry(network, few, rules=rules, counted=counted)
    own = full_state(network, other)
    target, moving = ({n: as_double(x) for n, x in state.items()} for state in (full_state(network, reference), own))
    free = gauges(symmetry, target, few)

    def match(first: State, second: State) -> dict[str, Tensor]:
        return align(objective, first, second, inputs=inputs, rules=rules).permutations

    results, aligned = [], float("inf")
    for order, start, factors in _starts(symmetry, free, target, moving, match):
        state, more = fit(symmetry, free, start, target)
        scales = [one * two for one, two in zip(factors, more, strict=True)]
        results.append((distance(symmetry, target, state), order, state, scales))
        aligned = min(aligned, distance(symmetry, target, symmetry.permute(moving, order)))
    after, order, state, scales = min(results, key=lambda result: result[0])
    check_invariance(symmetry, moving, state, few)
    state = {name: x.to(own[name]) for name, x in state.items()}
    return Rescaling(state, Ravel.of(network).ravel(state), _named(free, scales), order, (aligned, after))


def rescaled(objective: MeanLoss | nn.Module, theta: Theta, factor: float, *, inputs: Any = None) -> Tensor:
    """Return another theta (P,) of the same function: every unit that can be rescaled, by a factor.

    At a ReLU the incoming weights are multiplied and the outgoing ones divided (Dinh et al. 2017, section 3), so what
    differs between both thetas is no property of the function.

    Parameters
    ----------
    objective, theta, inputs
        As for `align`.
    factor
        Above 0.

    Raises
    ------
    ValueError
        A factor that is not positive, or a network none of whose units can be rescaled.
    """
    if not factor > 0:
        raise ValueError(f"expected a positive factor, got {factor}")
    network, _, few, counted = given(objective, inputs)
    symmetry = trace_symmetry(network, few, counted=counted)
    own = full_state(network, theta)
    before = state = {name: as_double(x) for name, x in own.items()}
    free = [gauge for gauge in gauges(symmetry, state, few) if gauge.positive and min(gauge.exponents.values()) < 0]
    if not free:
        raise ValueError("expected units that can be rescaled (ReLU, linear), found none in this network")
    for gauge in free:
        state = scaled(symmetry, state, gauge, torch.full(_shape(symmetry, gauge), factor, dtype=torch.float64))
    check_invariance(symmetry, before, state, few)
    return Ravel.of(network).ravel({name: x.to(own[name]) for name, x in state.items()})


Match = Callable[[State, State], dict[str, Tensor]]


def _starts(
    symmetry: Symmetry, free: list[Gauge], target: State, moving: State, match: Match
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor], Factors]]:
    """Yield the order, the network and its factors: as it is aligned, and as its normal form is aligned."""
    order = match(target, moving)
    yield order, symmetry.permute(moving, order), [torch.ones(_shape(symmetry, gauge)) for gauge in free]
    normal, there = normal_form(symmetry, free, target)
    order = match(normal, normal_form(symmetry, free, moving)[0])
    state, factors = normal_form(symmetry, free, symmetry.permute(moving, order))
    for gauge, back in zip(free, there, strict=True):
        state = scaled(symmetry, state, gauge, 1 / back)
    yield order, state, [one / two for one, two in zip(factors, there, strict=True)]


def _named(free: list[Gauge], scales: Factors) -> dict[str, Tensor]:
    """Name factors by their groups; the second of a group (its input and its output of a norm) is ``group/2``."""
    result: dict[str, Tensor] = {}
    for gauge, factors in zip(free, scales, strict=True):
        count = sum(name.partition("/")[0] == gauge.group for name in result)
        result[f"{gauge.group}/{count + 1}" if count else gauge.group] = factors
    return result


def _shape(symmetry: Symmetry, gauge: Gauge) -> torch.Size:
    return symmetry.identity()[gauge.group].shape


def distance(symmetry: Symmetry, first: State, second: State) -> float:
    """Return the distance of two states over all parameters."""
    parts = [(first[name] - second[name]).norm() for name, _ in symmetry.module.named_parameters()]
    return float(torch.stack(parts).norm())


def normal_form(symmetry: Symmetry, free: list[Gauge], state: State) -> tuple[dict[str, Tensor], Factors]:
    """Return the network of least norm with the same function, signs chosen by third moments, and the factors to it."""
    zero = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    # A factor that only shrinks has no least norm (a bias that changes nothing).
    bounded = [gauge if min(gauge.exponents.values()) < 0 else replace(gauge, positive=False) for gauge in free]
    result, factors = fit(symmetry, bounded, state, zero)
    known: set[str] = set()
    for k, gauge in enumerate(free):
        known.add(gauge.group)
        if gauge.signs:
            signs = _signs(symmetry, gauge, result, known)
            result, factors[k] = scaled(symmetry, result, gauge, signs), factors[k] * signs
    return result, factors


def fit(symmetry: Symmetry, free: list[Gauge], state: State, reference: State) -> tuple[dict[str, Tensor], Factors]:
    """Bring a state close to a reference by the factors of its units, group after group until nothing is gained."""
    result = dict(state)
    factors = [torch.ones(_shape(symmetry, gauge), dtype=torch.float64) for gauge in free]
    scale = max(distance(symmetry, state, {name: torch.zeros_like(x) for name, x in state.items()}) ** 2, 1e-300)
    last = float("inf")
    for _ in range(MAX_SWEEPS):
        for k, gauge in enumerate(free):
            step = _best(symmetry, gauge, result, reference)
            result, factors[k] = scaled(symmetry, result, gauge, step), factors[k] * step
        now = distance(symmetry, reference, result) ** 2
        if not free or last - now <= MIN_GAIN * scale:
            break
        last = now
    return result, factors


def _best(symmetry: Symmetry, gauge: Gauge, state: State, reference: State) -> Tensor:
    r"""Return for each unit the factor c that minimizes :math:`\sum_o c^{2 e_o} A_o - 2 c^{e_o} B_o`."""
    exponents, squares, products = _moments(symmetry, gauge, state, reference)
    best = torch.ones(squares.shape[1:], dtype=torch.float64)
    least = (squares - 2 * products).sum(0)
    for sign in (1.0, -1.0) if gauge.signs else (1.0,):
        signed = products * sign**exponents
        log = _minimum(exponents, squares, signed) if gauge.positive else torch.zeros_like(best)
        now = _value(log, exponents, squares, signed)
        best, least = torch.where(now < least, sign * log.exp(), best), torch.minimum(now, least)
    return best


def _value(log: Tensor, exponents: Tensor, squares: Tensor, products: Tensor) -> Tensor:
    c = (exponents * log).exp()
    return (c * c * squares - 2 * c * products).sum(0)


def _minimum(exponents: Tensor, squares: Tensor, products: Tensor) -> Tensor:
    """Minimize over the logarithm of each factor: the best point of a grid, then Newton steps of bounded length."""
    grid = torch.arange(-WIDEST, WIDEST + SPACING, SPACING, dtype=torch.float64)
    shape = squares.shape[1:]
    values = torch.stack([_value(x.expand(shape), exponents, squares, products) for x in grid])
    log = grid[values.argmin(0)]
    for _ in range(NEWTON_STEPS):
        c = (exponents * log).exp()
        slope = (2 * exponents * (c * c * squares - c * products)).sum(0)
        bend = (2 * exponents**2 * (2 * c * c * squares - c * products)).sum(0)
        step = torch.where(bend > 0, slope / bend.clamp_min(1e-300), slope.sign() * SPACING)
        log = log - step.clamp(-SPACING, SPACING)
    return torch.where(_value(log, exponents, squares, products) <= values.amin(0), log, grid[values.argmin(0)])


def _moments(symmetry: Symmetry, gauge: Gauge, state: State, reference: State) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each place the exponent and, for each unit, its square and its product with the reference."""
    trained = {name for name, _ in symmetry.module.named_parameters()}
    pairs = zip(*(occurrences(symmetry, s, gauge.group) for s in (state, reference)), strict=True)
    exponents, squares, products = [], [], []
    for (place, view, dims), (_, target, _) in pairs:
        if place[0] in trained and (exponent := gauge.exponents.get(place, 0)):
            exponents.append(exponent)
            squares.append(units(symmetry, gauge.group, view * view, dims, place[2]))
            products.append(units(symmetry, gauge.group, view * target, dims, place[2]))
    shape = (-1, *[1] * squares[0].ndim)
    return torch.tensor(exponents, dtype=torch.float64).view(shape), torch.stack(squares), torch.stack(products)


def _signs(symmetry: Symmetry, gauge: Gauge, state: State, known: set[str]) -> Tensor:
    """Return for each unit the sign of the third moment of what it reads from units whose signs are known."""
    moment = torch.zeros(_shape(symmetry, gauge), dtype=torch.float64)
    for place, view, dims in occurrences(symmetry, state, gauge.group):
        others = {name for name in dims if name is not None} - {*symmetry.groups[gauge.group].parents}
        if gauge.exponents.get(place, 0) % 2 and others <= known:
            moment += units(symmetry, gauge.group, view**3, dims, place[2])
    return torch.where(moment < 0, -1.0, 1.0).double()
