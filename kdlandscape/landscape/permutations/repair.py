"""Rescale the units of an interpolated network so that their statistics are those of its ends (REPAIR)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from kdlandscape.landscape.params import Ravel, Theta
from kdlandscape.landscape.permutations.alignment import full_state
from kdlandscape.landscape.permutations.groups import Site
from kdlandscape.landscape.permutations.symmetries import Symmetry, arguments, as_double, loaded, trace_symmetry, units

_Statistics = dict[str, tuple[Tensor, Tensor]]


def repair(network: nn.Module, start: Theta, end: Theta, inputs: Any) -> Callable[[Tensor, float], Tensor]:
    r"""Return a function of (theta, t) that gives each hidden unit the mean and deviation it should have at t.

    Interpolated units have a smaller variance than either end (variance collapse). For every layer that writes hidden
    units, the mean and the standard deviation of each unit's preactivation are set to
    :math:`(1-t)\,\mu_0 + t\,\mu_1` and :math:`(1-t)\,\sigma_0 + t\,\sigma_1`, layer after layer, by rescaling its
    weight and bias: no statistics have to be stored.

    Parameters
    ----------
    network
        The architecture. Networks with BatchNorm re-estimate their statistics instead (``bn="recalibrate"``).
    start, end
        The ends of the path, aligned already.
    inputs
        The batch on which statistics are taken: many more examples than units.

    Returns
    -------
    callable
        For ``interpolate(..., correct=...)``. Costs one forward pass in float64 on the CPU a point.

    Raises
    ------
    ValueError
        If a layer that writes hidden units has no bias (named), or the network has running statistics.

    Notes
    -----
    Jordan et al. 2023 (REPAIR), section 3.2. A unit that is constant at theta keeps its scale.
    """
    symmetry = trace_symmetry(network, inputs)
    if any(buffer.is_floating_point() for buffer in network.buffers()):
        raise ValueError(
            f"{type(network).__name__} has running statistics: re-estimate them along the path by bn='recalibrate'"
        )
    sites = {site.node: (site, group.size) for group in symmetry.groups.values() for site in group.writes}
    for node in symmetry.graph.graph.nodes:
        if node.name in sites and getattr(symmetry.module.get_submodule(str(node.target)), "bias", None) is None:
            raise ValueError(f"layer {str(node.target)!r} has no bias, which the shift of its units would need")
    ends = [_statistics(symmetry, full_state(network, theta), inputs, sites) for theta in (start, end)]
    space = Ravel.of(network)

    def correct(theta: Tensor, t: float) -> Tensor:
        wanted = {
            node: tuple((1 - t) * a + t * b for a, b in zip(ends[0][node], ends[1][node], strict=True))
            for node in sites
        }
        state = full_state(network, theta)
        rescaler = _Rescaler(loaded(symmetry.graph, state), wanted, sites)
        with torch.no_grad():
            rescaler.run(*arguments(symmetry.graph, as_double(inputs)))
        fixed = {name: tensor.to(theta) for name, tensor in rescaler.changed.items()}
        return space.ravel({name: tensor for name, tensor in (state | fixed).items() if name in space.shapes})

    correct.__name__ = "repair"
    return correct


def _statistics(symmetry: Symmetry, state: Any, inputs: Any, sites: dict[str, tuple[Site, int]]) -> _Statistics:
    values = symmetry.values(state, inputs, list(sites))
    return {node: _moments(units(values[node], *place)) for node, place in sites.items()}


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows.mean(1), rows.std(1, correction=0)


class _Rescaler(fx.Interpreter):
    """Runs a network and corrects each layer before the next one reads it."""

    def __init__(self, graph: fx.GraphModule, wanted: Any, sites: dict[str, tuple[Site, int]]) -> None:
        super().__init__(graph)
        self.wanted, self.sites = wanted, sites
        self.changed: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node; where it writes hidden units, rescale its weight, its bias and its value."""
        value = super().run_node(n)
        if n.name not in self.sites:
            return value
        site, size = self.sites[n.name]
        mean, deviation = _moments(units(value, site, size))
        target_mean, target_deviation = self.wanted[n.name]
        scale = torch.where(deviation > 0, target_deviation / deviation, 1.0)
        shift = target_mean - scale * mean
        layer: Any = self.module.get_submodule(str(n.target))
        transposed = isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
        weight_axis = 1 if transposed or isinstance(layer, nn.Embedding) else 0
        self.changed[f"{n.target}.weight"] = layer.weight * _on_axis(scale, weight_axis, layer.weight.ndim)
        self.changed[f"{n.target}.bias"] = layer.bias * scale + shift
        return value * _on_axis(scale, site.axis, value.ndim) + _on_axis(shift, site.axis, value.ndim)


def _on_axis(row: Tensor, axis: int, ndim: int) -> Tensor:
    return row.view(*[1] * axis, -1, *[1] * (ndim - axis - 1))
