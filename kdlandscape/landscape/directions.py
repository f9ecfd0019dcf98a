"""Directions in theta-space, with the coordinates of given points in them."""

from typing import NamedTuple

import torch
from torch import Tensor


class Plane(NamedTuple):
    """A plane in theta-space: theta(x, y) = origin + x directions[0] + y directions[1].

    ``origin`` (P,), ``directions`` (2, P) and ``points`` (3, 2): the coordinates (x, y) of the points it was laid
    through.
    """

    origin: Tensor
    directions: Tensor
    points: Tensor


def plane_through(
    a: Tensor, b: Tensor, c: Tensor, *, unit: float | None = None, generator: torch.Generator | None = None
) -> Plane:
    r"""Lay an orthogonal plane through three points: a is the origin, b lies on the positive x axis, c at y > 0.

    Both directions have the length ``unit``, so the picture is not distorted: a distance of 1 on the plane is a
    distance of ``unit`` in theta-space.

    Parameters
    ----------
    a, b, c
        Points (P,).
    unit
        Length of both directions; default: the distance from a to b.
    generator
        Draws what the points do not determine: with it, coincident or collinear points get random orthogonal
        directions; without it they are refused.

    Raises
    ------
    ValueError
        If the points lie on one line and there is no generator, or ``unit`` is needed and missing.
    """
    length = float((b - a).norm()) if unit is None else float(unit)
    if not length > 0:
        raise ValueError("the first two points coincide: give a unit of length (and a generator) to lay a plane there")
    axes: list[Tensor] = []
    for name, point in (("second", b), ("third", c)):
        offset = point - a
        rest = _orthogonal(offset, axes)
        if float(rest.norm()) <= 100 * torch.finfo(a.dtype).eps * max(float(offset.norm()), length):
            if generator is None:
                raise ValueError(
                    f"the {name} point adds no direction: expected three points that are not on one line; "
                    "move one of them, or give a generator to draw the missing direction at random"
                )
            draw = torch.randn(a.shape, device=generator.device, dtype=a.dtype, generator=generator).to(a)
            rest = _orthogonal(draw, axes)
        axes.append(rest / rest.norm())
    directions = torch.stack(axes) * length
    offsets = torch.stack([torch.zeros_like(a), b - a, c - a])
    return Plane(a, directions, offsets @ directions.T / length**2)


def _orthogonal(vector: Tensor, axes: list[Tensor]) -> Tensor:
    for _ in range(2):  # twice is enough
        for axis in axes:
            vector = vector - (vector @ axis) * axis
    return vector
