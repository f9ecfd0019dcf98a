"""Rescale the units of an interpolated network so that their statistics are those of its ends (REPAIR)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Ravel, Theta
from kdlandscape.landscape.permutations.alignment import full_state, given
from kdlandscape.landscape.permutations.symmetries import Symmetry, trace_symmetry

Moments = dict[str, tuple[Tensor, Tensor]]
Hook = Callable[[str, int, int, nn.Module, Tensor], Tensor | None]


def repair(
    objective: MeanLoss | nn.Module, start: Theta, end: Theta, *, inputs: Any = None
) -> Callable[[Tensor, float], Tensor]:
    r"""Return a function of (theta, t) that gives each hidden unit the mean and deviation it should have at t.

    Interpolated units have a smaller variance than either end (variance collapse). For every layer that writes hidden
    units, the mean and the standard deviation of each unit's preactivation are set to
    :math:`(1-t)\,\mu_0 + t\,\mu_1` and :math:`(1-t)\,\sigma_0 + t\,\sigma_1`, layer after layer, by rescaling its
    weight and bias: no statistics have to be stored.

    Parameters
    ----------
    objective
        Gives the architecture and the inputs; or the architecture alone, with ``inputs``. Networks with BatchNorm
        re-estimate their statistics instead (``bn="recalibrate"``).
    start, end
        The ends of the path, aligned already.
    inputs
        The batch on which statistics are taken: many more examples than units. Default: the objective's first.

    Returns
    -------
    callable
        For ``interpolate(..., correct=...)``. Costs one forward pass in float64 on the CPU a point.

    Raises
    ------
    ValueError
        If a layer that writes hidden units has no bias, units are written by no layer (as inside
        ``nn.MultiheadAttention``), both by name, or the network has running statistics.

    Notes
    -----
    Jordan et al. 2023 (REPAIR), section 3.2. A unit that is constant at theta keeps its scale.
    """
    network, inputs, few, counted = given(objective, inputs)
    if any(buffer.is_floating_point() for buffer in network.buffers()):
        raise ValueError(
            f"{type(network).__name__} has running statistics: re-estimate them along the path by bn='recalibrate'"
        )
    symmetry = trace_symmetry(network, few, counted=counted)
    written: set[str] = set()
    for layer, _, _, groups in symmetry.writers():
        written |= groups
        if getattr(symmetry.module.get_submodule(layer), "bias", None) is None:
            raise ValueError(f"layer {layer!r} has no bias, which the shift of its units would need")
    if left := sorted(set(symmetry.groups) - written):
        raise ValueError(
            f"the units of {left[0]!r} are written by no layer that is called and has a weight and a bias: expected "
            "one, to rescale them"
        )
    ends = [_statistics(symmetry, full_state(network, theta), inputs) for theta in (start, end)]
    space = Ravel.of(network)

    def correct(theta: Tensor, t: float) -> Tensor:
        wanted = {
            layer: tuple((1 - t) * a + t * b for a, b in zip(ends[0][layer], ends[1][layer], strict=True))
            for layer in ends[0]
        }
        state = full_state(network, theta)
        fixed = {name: tensor.to(theta) for name, tensor in _rescaled(symmetry, state, inputs, wanted).items()}
        return space.ravel({name: tensor for name, tensor in (state | fixed).items() if name in space.shapes})

    correct.__name__ = "repair"
    return correct


def _statistics(symmetry: Symmetry, state: Mapping[str, Tensor], inputs: Any) -> Moments:
    """Return the mean and the deviation of every unit that a layer writes."""
    found: Moments = {}

    def keep(name: str, axis: int, _: int, layer: nn.Module, output: Tensor) -> None:
        found[name] = _moments(output, axis)

    with _watched(symmetry, keep):
        symmetry.run(state, inputs)
    return found


def _rescaled(symmetry: Symmetry, state: Mapping[str, Tensor], inputs: Any, wanted: Mapping) -> dict[str, Tensor]:
    """Return new weights and biases; each layer is corrected before the next one reads it."""
    changed: dict[str, Tensor] = {}

    def rescale(name: str, axis: int, weight_axis: int, layer: Any, output: Tensor) -> Tensor:
        mean, deviation = _moments(output, axis)
        target_mean, target_deviation = wanted[name]
        scale = torch.where(deviation > 0, target_deviation / deviation, 1.0)
        shift = target_mean - scale * mean
        changed[f"{name}.weight"] = layer.weight * _on_axis(scale, weight_axis, layer.weight.ndim)
        changed[f"{name}.bias"] = layer.bias * scale + shift
        return output * _on_axis(scale, axis, output.ndim) + _on_axis(shift, axis, output.ndim)

    with _watched(symmetry, rescale):
        symmetry.run(state, inputs)
    return changed


@contextmanager
def _watched(symmetry: Symmetry, hook: Hook) -> Iterator[None]:
    """Call a function on the output of every layer that writes units."""
    handles = [
        symmetry.module.get_submodule(name).register_forward_hook(partial(_forward, partial(hook, name, axis, at)))
        for name, axis, at, _ in symmetry.writers()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _forward(hook: Callable[[nn.Module, Tensor], Tensor | None], layer: nn.Module, _: Any, output: Tensor) -> Any:
    return hook(layer, output)


def _moments(values: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    rows = values.movedim(axis, 0).flatten(1)
    return rows.mean(1), rows.std(1, correction=0)


def _on_axis(row: Tensor, axis: int, ndim: int) -> Tensor:
    return row.view(*[1] * axis, -1, *[1] * (ndim - axis - 1))
