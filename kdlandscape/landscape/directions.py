"""Directions in theta-space, with the coordinates of given points in them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from kdlandscape.landscape.draws import seeded
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Params, Ravel, Theta, matching
from kdlandscape.summary import as_line, as_table, count

NORMALIZATIONS = ("filter", "layer", "model", None)


class Directions(NamedTuple):
    """Directions (n, P) with their ``norms`` (n,) and ``cosines`` (n, n); ``facts`` go into the attrs of a slice."""

    directions: Tensor
    norms: Tensor
    cosines: Tensor
    facts: dict[str, Any]

    def __repr__(self) -> str:
        """Return how many there are, where, and how they were scaled."""
        return as_line(*self._summary())

    def _repr_html_(self) -> str:
        return as_table(*self._summary())

    def _summary(self) -> tuple[str, dict[str, Any]]:
        n, dim = self.directions.shape
        norms = ", ".join(f"{norm:.4g}" for norm in self.norms.tolist()[:4]) + (", …" if n > 4 else "")
        return "Directions", {"count": n, "theta": count(dim, "parameter"), "norms": norms, **self.facts}


class Plane(NamedTuple):
    """A plane in theta-space: theta(x, y) = origin + x directions[0] + y directions[1].

    ``origin`` (P,), ``directions`` (2, P) and ``points`` (3 or 2, 2): coordinates (x, y) of the points it was laid
    through.
    """

    origin: Tensor
    directions: Tensor
    points: Tensor


def random_directions(
    theta: Theta | MeanLoss,
    n: int = 2,
    *,
    normalize: str | None = "filter",
    generator: torch.Generator | None = None,
    params: Params = None,
    space: nn.Module | MeanLoss | None = None,
    skip_1d: bool = True,
) -> Directions:
    r"""Draw Gaussian directions, orthogonalize them, and give them the scale of the weights.

    Parameters
    ----------
    theta
        Where: an objective (its own theta), a module, a state dict, or a flat vector (P,) with its ``space``.
    n
        How many directions.
    normalize
        ``filter``: each output filter of a direction gets the norm of that filter of theta (Li et al. 2018, section 4);
        ``layer``: each tensor that of the tensor; ``model``: the whole that of the whole (over the parameters that
        move); None: as drawn. A filter is a slice along the output axis: the first (rows of an Embedding), the second
        for transposed convolutions. Filters of zero norm get a zero direction.
    generator
        Draws the directions; default: seed 0.
    params
        Only parameters whose name matches the pattern, such as ``"layer3.*"``, or one of several; the rest is zero.
    space
        The network whose parameters a flat theta or a state dict holds; it tells layers apart.
    skip_1d
        Whether tensors of one axis (biases, BatchNorm) do not move. If they do, each counts as one filter.

    Returns
    -------
    Directions
        Norms and cosines are taken at the end: normalization undoes orthogonality a little.

    Raises
    ------
    ValueError
        If the normalization is unknown, no name matches, or nothing can move.
    """
    if normalize not in NORMALIZATIONS:
        raise ValueError(f"expected normalize to be filter, layer, model or None; got {normalize!r}")
    point, tensors, transposed = _named(theta, space)
    moves = matching(tensors, params)
    mask = torch.cat([torch.full((t.numel(),), k in moves and (t.ndim > 1 or not skip_1d)) for k, t in tensors.items()])
    if n > int(mask.sum()):
        raise ValueError(f"expected at most {int(mask.sum())} directions, as many as parameters that move; got {n}")
    axes: list[Tensor] = []
    rows = []
    generator = seeded(generator, point.device)
    for _ in range(n):
        draw = torch.randn(point.shape, device=generator.device, dtype=point.dtype, generator=generator)
        row = _orthogonal(draw.to(point) * mask.to(point), axes)
        axes.append(row / row.norm())
        rows.append(_scaled(row, tensors, transposed, normalize, mask.to(point)))
    facts = {"normalize": str(normalize).lower(), "params": str(params or "*"), "skip_1d": int(skip_1d)}
    return _recorded(torch.stack(rows), facts)


def _recorded(rows: Tensor, facts: dict[str, Any]) -> Directions:
    norms = rows.norm(dim=1)
    return Directions(rows, norms, rows @ rows.T / norms.outer(norms), facts)


def _named(
    theta: Theta | MeanLoss, space: nn.Module | MeanLoss | None
) -> tuple[Tensor, dict[str, Tensor], dict[str, int]]:
    """Return flat theta, its named tensors, and the groups of each transposed convolution's weight by name."""
    source = theta if isinstance(theta, MeanLoss | nn.Module) else space
    module = source.model if isinstance(source, MeanLoss) else source
    if source is None:
        if isinstance(theta, Tensor):
            raise ValueError("a flat theta does not say where its filters are: expected space=objective or a module")
        assert isinstance(theta, Mapping)
        ravel = Ravel({name: t.shape for name, t in theta.items() if t.is_floating_point()})
        return _flat({k: t for k, t in theta.items() if k in ravel.shapes}, ravel), dict(theta), {}
    assert module is not None
    ravel = Ravel.of(module)
    point = theta.theta if isinstance(theta, MeanLoss) else ravel.ravel(theta).detach()
    layers = dict(module.named_modules())
    kinds = {name: layers[name.rpartition(".")[0]] for name in ravel.shapes if name.rpartition(".")[0] in layers}
    transposed = {name: layer.groups for name, layer in kinds.items() if isinstance(layer, _ConvTransposeNd)}
    return point, ravel.unravel(point), transposed


def _flat(tensors: Mapping[str, Tensor], ravel: Ravel) -> Tensor:
    return ravel.ravel(dict(tensors)).detach()


def _scaled(
    row: Tensor, tensors: Mapping[str, Tensor], transposed: Mapping[str, int], normalize: str | None, mask: Tensor
) -> Tensor:
    if normalize is None:
        return row
    point = torch.cat([tensor.reshape(-1) for tensor in tensors.values()])
    if normalize == "model":
        return row * (point * mask).norm() / row.norm()
    parts = row.split([tensor.numel() for tensor in tensors.values()])
    scaled = []
    for (name, tensor), part in zip(tensors.items(), parts, strict=True):
        whole = normalize == "layer" or tensor.ndim < 2
        goal, length = (_norms(t, whole, transposed.get(name)) for t in (tensor, part.view_as(tensor)))
        scaled.append((_blocks(part.view_as(tensor), transposed.get(name)) * _ratio(goal, length)).reshape(-1))
    return torch.cat(scaled)


def _blocks(tensor: Tensor, groups: int | None) -> Tensor:
    """View as (groups, inputs, outputs, rest); groups is None for layers whose outputs are the first axis."""
    if groups is None or tensor.ndim < 2:
        return tensor.reshape(1, 1, tensor.shape[0] if tensor.ndim else 1, -1)
    return tensor.reshape(groups, tensor.shape[0] // groups, tensor.shape[1], -1)


def _norms(tensor: Tensor, whole: bool, groups: int | None) -> Tensor:
    return torch.linalg.vector_norm(_blocks(tensor, groups), dim=(0, 1, 2, 3) if whole else (1, 3), keepdim=True)


def _ratio(goal: Tensor, length: Tensor) -> Tensor:
    return torch.where(length > 0, goal / length.clamp_min(torch.finfo(length.dtype).tiny), 0.0)


def plane_through(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    unit: float | None = None,
    step: float | None = None,
    fill: bool = False,
    generator: torch.Generator | None = None,
) -> Plane:
    r"""Lay an orthogonal plane through points: a is the origin, b lies on the positive x axis, c at y > 0.

    Both directions have the length ``unit``, so the picture is not distorted: a distance of 1 on the plane is a
    distance of ``unit`` in theta-space.

    Parameters
    ----------
    a, b, c
        Points (P,). Without c the plane holds a and b, and its second direction is drawn by the generator.
    unit
        Length of both directions; default: the distance from a to b.
    step
        Of a grid that a and b shall lie on: both directions become so much longer or shorter that b has a whole number
        of steps, at least one. Their length then differs from ``unit`` by half a step at b; `Plane.directions` has it.
    fill
        Whether coincident or collinear points get random orthogonal directions for what they do not determine; they are
        refused otherwise.
    generator
        Draws these directions, and the second one where there is no c; default: seed 0.

    Raises
    ------
    ValueError
        If the points lie on one line and are not to be filled up, or ``unit`` is needed and missing, or ``step`` is
        not positive.
    """
    distance = float((b - a).norm())
    length = distance if unit is None else float(unit)
    if not length > 0:
        raise ValueError("the first two points coincide: give a unit of length, and fill=True, to lay a plane there")
    if step is not None:
        if not step > 0:
            raise ValueError(f"step: expected a positive distance between grid points, in units, got {step}")
        if distance > 100 * torch.finfo(a.dtype).eps * float(a.norm()):  # else b is a, which lies on every grid
            length = distance / (max(round(distance / length / step), 1) * step)
    axes: list[Tensor] = []
    for name, point in (("second", b), ("third", a if c is None else c)):
        offset = point - a
        rest = _orthogonal(offset, axes)
        if float(rest.norm()) <= 100 * torch.finfo(a.dtype).eps * max(float(offset.norm()), length):
            if not fill and (name == "second" or c is not None):
                raise ValueError(
                    f"the {name} point adds no direction: expected three points that are not on one line; "
                    "move one of them, or give fill=True to draw the missing direction at random"
                )
            generator = seeded(generator, a.device)
            draw = torch.randn(a.shape, device=generator.device, dtype=a.dtype, generator=generator).to(a)
            rest = _orthogonal(draw, axes)
        axes.append(rest / rest.norm())
    directions = torch.stack(axes) * length
    offsets = torch.stack([torch.zeros_like(a), b - a, *([] if c is None else [c - a])])
    return Plane(a, directions, offsets @ directions.T / length**2)


def _orthogonal(vector: Tensor, axes: list[Tensor]) -> Tensor:
    for _ in range(2):  # twice is enough
        for axis in axes:
            vector = vector - (vector @ axis) * axis
    return vector
