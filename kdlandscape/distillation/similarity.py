"""How similar two networks are inside, layer by layer."""

from collections.abc import Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.distillation.copies import Copies, members
from kdlandscape.landscape.network import picked
from kdlandscape.landscape.params import Theta


def cka(x: Tensor, y: Tensor) -> Tensor:
    r"""Return the linear centred kernel alignment of two representations of the same examples, in [0, 1].

    .. math:: \frac{\|Y^T X\|_F^2}{\|X^T X\|_F\, \|Y^T Y\|_F}, \quad X, Y \text{ centred over examples}

    Parameters
    ----------
    x, y
        (n, p) and (n, q): rows are examples. Further axes are flattened into features.

    Returns
    -------
    Tensor
        1 for representations equal up to rotation and scale, NaN where one of them is constant. Unrelated
        representations give about :math:`\sqrt{pq}/n` or more, so use many more examples than features.

    Raises
    ------
    ValueError
        If the examples differ in number, or are fewer than two.

    Notes
    -----
    Kornblith et al. 2019, equation 5 and section 3. Costs n p q, or n^2 (p + q) where that is less.
    """
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"expected the same examples, at least 2, as rows of both; got {len(x)} and {len(y)} rows")
    a, b = (part.reshape(len(part), -1).double() for part in (x, y))
    a, b = a - a.mean(0), b - b.mean(0)
    if max(a.shape[1], b.shape[1]) > len(a):
        k, m = a @ a.T, b @ b.T  # <K, M> = ||B^T A||^2
        return (k * m).sum() / (k.norm() * m.norm())
    return (b.T @ a).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())


def layer_cka(
    network: nn.Module, first: Theta, second: Theta, inputs: Any, *, layers: Sequence[str] | None = None
) -> xr.Dataset:
    """Compare two networks of one architecture layer by layer.

    Parameters
    ----------
    network
        The architecture; its own weights are not changed.
    first, second
        Theta (P,), module or state dict.
    inputs
        A batch, many more examples than units.
    layers
        Names of modules; default: all linear and convolution layers, in the order of the network.

    Returns
    -------
    xarray.Dataset
        ``cka`` over ``layer`` (its place, 0 is the first); the names are the attr ``layers``. Two forward passes.

    Raises
    ------
    ValueError
        For an unknown layer.
    """
    modules = dict(network.named_modules())
    if layers is None:
        kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
        layers = [name for name, module in modules.items() if isinstance(module, kinds)]
    unknown = [name for name in layers if name not in modules]
    if unknown:
        raise ValueError(f"expected layers of {', '.join(filter(None, modules))}; got {unknown[0]!r}")
    a, b = (representations(network, theta, inputs, layers) for theta in (first, second))
    values = torch.stack([cka(a[name], b[name]) for name in layers])
    labelled = variable("layer", values.cpu(), "centred kernel alignment")
    coords = {"layer": range(len(layers))}
    return dataset({"cka": labelled}, coords=coords, layers=list(layers), num_examples=len(a[layers[0]]))


def representations(network: nn.Module, theta: Theta, inputs: Any, layers: Sequence[str]) -> dict[str, Tensor]:
    """Return the outputs of named modules at theta, in eval mode, with the buffers of that very network."""
    copies, these = Copies(network, training=False), members(network, theta).flat()
    kept: dict[str, Tensor] = {}
    for name in layers:
        copies.network.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: kept.__setitem__(name, picked(output).detach())
        )
    with torch.no_grad():
        copies.outputs(these.thetas[0], inputs, {name: rows[0] for name, rows in these.buffers.items()})
    return kept
