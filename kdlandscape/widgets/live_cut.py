"""A line on a live plane: the exact value at its points, and the exact curvature along it where there are products."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.cubes.words import readable, visible
from kdlandscape.widgets.cuts import Cut, Line, Place, names_of, per_area, second_differences
from kdlandscape.widgets.live_plane import Layout, numbers, points_on

#: So many points on a line; each costs an evaluation, and a product with the Hessian where there are products.
NUM = 33
EXACT = f"exact at {NUM} points of the line"
NOTES = {True: (EXACT, f"Hessian product u'Hu, {EXACT}"), False: (EXACT, f"second differences of {NUM} exact values")}


class LiveCut:
    r"""The points :math:`\theta_t` of a line between two points of a plane, and what is found at them so far.

    Parameters
    ----------
    layout, line, ends
        The plane, the line as it was chosen, and its ends (x, y).
    evaluate
        Maps points (K, P) to values by name, each (K,).
    hvp
        Maps a point (P,) and a vector (P,) to the product of the loss's Hessian with the vector; None without one.
    """

    num = NUM

    def __init__(
        self,
        layout: Layout,
        line: Line,
        ends: tuple[Place, Place],
        evaluate: Callable[[Any], Mapping[str, Any]],
        hvp: Callable[[Any, Any], Any] | None,
    ) -> None:
        self.layout, self.line, self.ends = layout, line, ends
        self._evaluate, self._hvp = evaluate, hvp
        self.t = np.linspace(0, 1, NUM)
        self.length = float(np.hypot(ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]))
        x, y = ([start + float(t) * (end - start) for t in self.t] for start, end in zip(*ends, strict=True))
        self._points = points_on(layout, x, y)
        self._values: dict[str, np.ndarray] = {}
        self._bent = np.full(NUM, np.nan)

    def find(self, place: int) -> None:
        r"""Find the values at one point and, of the loss, :math:`u^\top H u` for the line's unit vector."""
        for name, value in self._evaluate(self._points[place : place + 1]).items():
            self._values.setdefault(name, np.full(NUM, np.nan))[place] = numbers(value).ravel()[0]
        if self._hvp is not None:
            way = self._points[-1] - self._points[0]
            self._bent[place] = float((way * self._hvp(self._points[place], way)).sum()) / self.length**2

    def found(self, name: str, unit: str) -> Cut:
        """Return the line of one value; its curvature comes from products for the loss, else from differences."""
        names = names_of(self.line)
        way = f"along the line from {visible(names[0])} (t = 0) to {visible(names[1])} (t = 1)"
        exact = self._hvp is not None and name == "loss"
        bent = self._bent if exact else second_differences(self._values[name], self.t * self.length, 0)
        words = readable(name)
        found = dataset(
            {
                name: variable("t", self._values[name], f"{words} {way}", unit),
                "curvature": variable("t", bent, f"curvature of the {words} {way}", per_area(unit, "plane length")),
            },
            coords={"t": self.t},
        )
        return Cut(self.ends, names, found[name], found["curvature"], NOTES[exact])
