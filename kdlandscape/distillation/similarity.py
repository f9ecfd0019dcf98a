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
    a, b = _centred(x, y)
    if max(a.shape[1], b.shape[1]) > len(a):
        k, m = a @ a.T, b @ b.T  # <K, M> = ||B^T A||^2
        return (k * m).sum() / (k.norm() * m.norm())
    return (b.T @ a).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())


def procrustes(x: Tensor, y: Tensor) -> Tensor:
    r"""Return the orthogonal Procrustes similarity of two representations of the same examples, in [0, 1].

    .. math:: \frac{\|Y^T X\|_*}{\|X\|_F\, \|Y\|_F}
              = 1 - \tfrac12 \min_{Q^T Q = 1} \left\| \frac{X}{\|X\|_F} - \frac{Y}{\|Y\|_F} Q \right\|_F^2,
              \quad X, Y \text{ centred over examples}

    Parameters
    ----------
    x, y
        (n, p) and (n, q): rows are examples. Further axes are flattened into features; the narrower one is filled up
        with zeros.

    Returns
    -------
    Tensor
        1 for representations equal up to rotation and scale, NaN where one of them is constant. CKA weighs directions
        by their squared variance, so a single strong one that two networks share brings it near 1, whatever the others
        do; this weighs them by their standard deviations.

    Raises
    ------
    ValueError
        If the examples differ in number, or are fewer than two.

    Notes
    -----
    Ding, Denain and Steinhardt, Grounding representation similarity through statistical testing, 2021, section 2.
    Costs a singular value decomposition of (q, p), or of (n, n) where that is smaller.
    """
    a, b = (_reduced(part) for part in _centred(x, y))
    return torch.linalg.matrix_norm(b.T @ a, ord="nuc") / (a.norm() * b.norm())


def _centred(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return both representations (n, p) and (n, q), centred, in float64."""
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"expected the same examples, at least 2, as rows of both; got {len(x)} and {len(y)} rows")
    a, b = (part.reshape(len(part), -1).double() for part in (x, y))
    return a - a.mean(0), b - b.mean(0)


def _reduced(centred: Tensor) -> Tensor:
    """Return the same rows (n, min(n, p)) up to a rotation, which no similarity here sees."""
    if centred.shape[1] <= len(centred):
        return centred
    return torch.linalg.qr(centred.T, mode="r").R.T


def layer_similarity(
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
        ``cka`` and ``procrustes`` over ``layer`` (its place, 0 is the first); the names are the attr ``layers``. Two
        forward passes.

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
    measures = {"cka": (cka, "centred kernel alignment"), "procrustes": (procrustes, "Procrustes similarity")}
    found = {
        key: variable("layer", torch.stack([measure(a[name], b[name]) for name in layers]).cpu(), words)
        for key, (measure, words) in measures.items()
    }
    coords = {"layer": range(len(layers))}
    return dataset(found, coords=coords, layers=list(layers), num_examples=len(a[layers[0]]))


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
