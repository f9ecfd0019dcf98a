"""The coordinates of a slice: values along its axes, marked points, and a span that the loss itself sets."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from kdlandscape.landscape.evaluation.evaluator import Evaluate

Axis = int | Sequence[float]


def axis_values(name: str, axis: Axis, ends: tuple[float, float]) -> np.ndarray:
    """Return increasing coordinates as they are, or a number of points evenly spaced between the ends, and 0."""
    if not isinstance(axis, int):
        array = np.asarray(axis, dtype=float)
        if array.ndim != 1 or not len(array) or not np.isfinite(array).all() or (np.diff(array) <= 0).any():
            raise ValueError(f"expected {name} to be increasing finite coordinates, got {axis!r}")
        return array
    low, high = ends
    if axis < 1 or not low < high:
        raise ValueError(f"expected at least 1 point of {name} over an increasing span, got {axis} over {ends}")
    array = np.linspace(low, high, axis) if axis > 1 else np.zeros(1)
    array[np.abs(array) < 1e-12 * (high - low)] = 0.0
    if low <= 0.0 <= high and 0.0 not in array:
        array = np.sort(np.append(array, 0.0))
    return array


def marked_points(marks: Mapping[str, Sequence[float]] | None, axes: Sequence[str]) -> dict[str, list[float]]:
    """Return the coordinates of the origin, as ``center``, and of every mark."""
    result = {"center": [0.0] * len(axes)}
    for name, point in (marks or {}).items():
        coordinates = np.asarray(point, dtype=float).reshape(-1).tolist()
        if len(coordinates) != len(axes):
            raise ValueError(f"expected mark {name!r} to have coordinates ({', '.join(axes)}), got {point!r}")
        result[name] = coordinates
    return result


def span_of_growth(evaluate: Evaluate, index: int, dims: int, growth: float, name: str) -> tuple[float, float]:
    """Return the symmetric span at whose ends the larger loss is ``growth`` times that at the origin, within 5 %."""

    def height(width: float) -> float:
        points = torch.zeros(2, dims, dtype=torch.float64)
        points[0, index], points[1, index] = width, -width
        values = evaluate(points)["loss"].double().nan_to_num(nan=float("inf"))
        return float(values.max())

    center = height(0.0)
    if not (center > 0 and growth > 1):
        raise ValueError(f"expected a growth above 1 of a positive loss, got {growth} of {center}: give a span instead")
    low, high = 0.0, 1.0
    while height(high) < growth * center:
        low, high = high, 2 * high
        if high > 2.0**30:
            raise ValueError(f"the loss never grows to {growth} times along {name}: give a span instead")
    while low < 0.95 * high and high > 2.0**-40:
        middle = (low * high) ** 0.5 if low > 0 else high / 4
        low, high = (low, middle) if height(middle) >= growth * center else (middle, high)
    return -high, high
