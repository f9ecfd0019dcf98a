"""A plane in theta-space that can be evaluated: its directions, the networks on it, its ranges and its points."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Layout(NamedTuple):
    """A plane in theta-space: its origin (P,), two directions (2, P), and named points in its coordinates."""

    origin: Any
    directions: Any
    marks: list[dict[str, Any]]


def layout_of(plane: Any, origin: Any, names: Sequence[str]) -> Layout:
    """Read a plane: two directions (2, P), drawn `Directions`, a `Plane`, or a callable.

    Raises
    ------
    ValueError
        If the directions are not two vectors of theta's length.
    """
    plane = plane() if callable(plane) else plane
    marks = []
    if hasattr(plane, "directions"):
        origin, points, plane = getattr(plane, "origin", origin), getattr(plane, "points", ()), plane.directions
        marks = [{"name": name, "x": float(x), "y": float(y)} for name, (x, y) in zip(names, points, strict=False)]
    if tuple(plane.shape) != (2, len(origin)):
        raise ValueError(f"expected directions of shape (2, {len(origin)}), got {tuple(plane.shape)}")
    return Layout(origin, plane, marks)


def span(layout: Layout) -> list[tuple[float, float]]:
    """Return ranges of x and y that contain the networks on a plane, with the same room around them on all sides."""
    if not layout.marks:
        return [(-1.0, 1.0), (-1.0, 1.0)]
    ends = [(min(places), max(places)) for places in ([mark[name] for mark in layout.marks] for name in "xy")]
    room = 0.3 * max(high - low for low, high in ends) or 1.0
    return [(low - room, high + room) for low, high in ends]


def grid(ends: tuple[float, float], num: int, networks: Sequence[float] = ()) -> np.ndarray:
    """Return the places along an axis: evenly spread, but with the networks inside the range exactly on it.

    The value at a network is then its own, and not that of a neighbour.
    """
    places = np.linspace(ends[0], ends[1], num)
    free = np.ones(num, bool)
    free[[0, -1]] = False  # the range stays as it was asked for
    for place in dict.fromkeys(networks):
        nearest = int(np.abs(places - place).argmin())
        if ends[0] < place < ends[1] and free[nearest]:
            places[nearest], free[nearest] = place, False
    return places


def points_on(layout: Layout, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> Any:
    """Return the points origin + x d0 + y d1, (K, P)."""
    along = [_like(layout.origin, values)[:, None] for values in (x, y)]
    return layout.origin[None] + along[0] * layout.directions[0][None] + along[1] * layout.directions[1][None]


def _like(origin: Any, values: Sequence[float] | np.ndarray) -> Any:
    return origin.new_tensor(list(values)) if hasattr(origin, "new_tensor") else np.asarray(values, float)


def numbers(values: Any) -> np.ndarray:
    """Return an array or a tensor as a numpy array of floats."""
    return np.asarray(values.tolist() if hasattr(values, "tolist") else values, float)
