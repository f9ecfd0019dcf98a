"""A live surface without a view: directions, a background computation that refines and stops, and probes at a point.

Everything that knows a network comes in as a callable, or as an object with ``theta`` and ``evaluate``; arrays may be
numpy arrays or tensors.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from traitlets import Dict, HasTraits, Instance, Int, List, Tuple, Unicode, observe

from kdlandscape.cubes.coarse_to_fine import coarse_to_fine, filled
from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.widgets.cuts import Cut, ends_of
from kdlandscape.widgets.live_cut import LiveCut
from kdlandscape.widgets.live_plane import Layout, grid, layout_of, numbers, points_on, span

#: A chunk of points takes about this long, so that a cancel or a click waits no longer.
CHUNK_SECONDS = 0.15


class Surface(NamedTuple):
    """A plane that is being computed: its grid, which points are known, and the values by name, NaN elsewhere."""

    direction: str
    layout: Layout
    axes: tuple[np.ndarray, np.ndarray]
    known: np.ndarray
    values: dict[str, np.ndarray]


class LiveState(HasTraits):
    """The state of a live surface: what is chosen, how far it is, and what was found at a point.

    An empty range stands for one that contains the networks on the plane; it is filled in when the plane is known.
    """

    direction = Unicode(help="name of the chosen plane")
    metric = Unicode("loss")
    x_range: Tuple = Tuple(default_value=())
    y_range: Tuple = Tuple(default_value=())
    num = Int(33)
    done = Int(0)
    total = Int(0)
    status = Unicode("idle")
    point: Tuple = Tuple(default_value=())
    found: Dict = Dict(help="loss and metrics at the point")
    eigenvalues: List = List(help="top eigenvalues at the point, once asked for")
    line: Tuple = Tuple(default_value=(), help="a line on the plane: two names of networks, or x, y, x, y; empty: none")
    cut: Any = Instance(Cut, allow_none=True, help="what was found on the line")

    def __init__(
        self,
        evaluate: Callable[[Any], Mapping[str, Any]],
        planes: Mapping[str, Any],
        origin: Any,
        *,
        eigenvalues: Callable[[Any], Any] | None = None,
        hvp: Callable[[Any, Any], Any] | None = None,
        names: Sequence[str] = ("teacher", "student", "init"),
        x_range: Sequence[float] = (),
        y_range: Sequence[float] = (),
        num: int = 33,
        unit: str = "1",
    ) -> None:
        super().__init__(direction=next(iter(planes)), num=num)
        self.x_range, self.y_range = (tuple(map(float, ends)) for ends in (x_range, y_range))
        self.planes, self.origin, self.names, self.unit = planes, origin, names, unit
        self._evaluate, self._eigenvalues, self.hvp = evaluate, eigenvalues, hvp
        # One thread: a network that is being evaluated must not be evaluated from a second one.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="surface")
        self._turn = 0
        self._surface: Surface | None = None
        self._laid: LiveCut | None = None
        self.began = 0.0

    @property
    def layout(self) -> Layout | None:
        """The plane that is shown; None before its first point is there."""
        return self._surface.layout if self._surface else None

    @property
    def known(self) -> np.ndarray:
        """Which points (y, x) of the shown plane are computed."""
        return self._surface.known if self._surface else np.zeros((0, 0), bool)

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """The places along x and y of the shown plane."""
        return self._surface.axes if self._surface else (np.zeros(0), np.zeros(0))

    def start(self) -> None:
        """Compute the plane anew: a coarse picture, then finer ones, in the background.

        What was computed before stays until the new plane is known, and for good if something is wrong with it.
        """
        self._turn += 1
        problem = self.problem()
        if problem:
            self.status = problem
            return
        with self.hold_trait_notifications():
            self.done, self.total = 0, self.num**2
            self.status = "computing"
        self._pool.submit(self._begin, self._turn, self.direction, coarse_to_fine((self.num, self.num)))

    def cancel(self) -> None:
        """Stop computing: what is there stays, and the chunk under way is thrown away."""
        if self.status.startswith("computing"):
            self._turn += 1
            self.status = f"cancelled at {self.done} of {self.total} points"

    def probe(self, x: float, y: float) -> None:
        """Find the loss and the metrics at a point, between two chunks of the surface."""
        if self.layout is None:
            return
        with self.hold_trait_notifications():
            self.point, self.found, self.eigenvalues = (float(x), float(y)), {}, []
        self._pool.submit(self._guard, self._probe, self.layout, self.point)

    def probe_eigenvalues(self) -> None:
        """Find the top eigenvalues at the chosen point."""
        if self.layout is not None and self.point and self._eigenvalues is not None:
            self._pool.submit(self._guard, self._spectrum, self.layout, self.point)

    def lay(self, line: Sequence[Any]) -> None:
        """Lay a line on the plane and find the exact value and curvature on it, between two chunks of the surface."""
        with self.hold_trait_notifications():
            self.line, self.cut, self._laid = tuple(line), None, None
        ends = ends_of(self.line, self.layout.marks) if self.layout else None
        if ends is not None:
            assert self.layout is not None
            laid = LiveCut(self.layout, self.line, ends, self._evaluate, self.hvp)
            self._pool.submit(self._guard, self._cut, laid, 0)

    def problem(self) -> str:
        """Say what is wrong with the choices; empty if nothing is."""
        for name, ends in {"x": self.x_range, "y": self.y_range}.items():
            low, high = ends or (0.0, 1.0)
            if not (np.isfinite([low, high]).all() and low < high):
                return f"failed: expected a range of {name} from low to high, got {low:g} to {high:g}; change it"
        return "" if self.num >= 2 else f"failed: expected at least two points along each axis, got {self.num}"

    def surface(self) -> xr.DataArray:
        """Return the chosen metric over ``y, x``: NaN where it is not computed yet."""
        return self.dataset([self.metric])[self.metric]

    def dataset(self, names: Sequence[str] | None = None) -> xr.Dataset:
        """Return what is computed over ``y, x``, and where the networks are: a cube for `explore`.

        NaN stands where a point is not computed yet; ``attrs`` say which plane it is and how far it came.
        """
        surface = self._surface or Surface(self.direction, Layout(None, None, []), self.axes, self.known, {})
        found = {}
        for name in names or list(surface.values):
            values = surface.values.get(name, np.full(surface.known.shape, np.nan))
            found[name] = variable(("y", "x"), values.copy(), name, self.unit if name == "loss" else "1")
        coords: dict[str, Any] = {"y": surface.axes[1], "x": surface.axes[0]}
        marks = surface.layout.marks
        if marks:
            places = [[mark["x"], mark["y"]] for mark in marks]
            found["plane_points"] = variable(("point", "axis"), places, "places of the networks on the plane")
            coords |= {"point": [mark["name"] for mark in marks], "axis": ["x", "y"]}
        return dataset(found, coords=coords, plane=surface.direction, status=self.status)

    def progress(self) -> str:
        """Return the points that are done, their rate and the time that is left, in words."""
        if self.status != "computing" or not self.done:
            return self.status
        rate = self.done / max(time.monotonic() - self.began, 1e-3)
        left = (self.total - self.done) / rate
        time_left = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min"
        return f"computing: {self.done} of {self.total} points, {rate:.3g} points/s, about {time_left} left"

    def drawn(self) -> xr.DataArray:
        """Return `surface` with the nearest computed value where none is computed yet."""
        known, values = self.known, self.surface()
        if not values.size or known.shape != values.shape:  # another plane has just taken its place
            return values
        return values.copy(data=filled(values.values, known))

    def metrics(self) -> list[str]:
        """Return what was computed at each point."""
        return list(self._surface.values) if self._surface else []

    def wait(self, seconds: float = 60) -> None:
        """Wait until nothing is under way (for a script; a notebook need not)."""
        end = time.monotonic() + seconds
        while self.status == "computing" and time.monotonic() < end:
            time.sleep(0.01)
        self._pool.submit(int).result(max(0.1, end - time.monotonic()))

    def close(self) -> None:
        """End the thread."""
        self._turn += 1
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, turn: int, direction: str, levels: list[np.ndarray]) -> None:
        def begin() -> None:
            layout = layout_of(self.planes[direction], self.origin, self.names)
            ends = [chosen or own for chosen, own in zip((self.x_range, self.y_range), span(layout), strict=True)]
            networks = ([float(mark[name]) for mark in layout.marks] for name in "xy")
            x, y = (grid(one, self.num, held) for one, held in zip(ends, networks, strict=True))
            known = np.zeros((self.num, self.num), bool)
            self._chunk(turn, Surface(direction, layout, (x, y), known, {}), levels, 1)

        self._guard(begin)

    def _chunk(self, turn: int, surface: "Surface", levels: list[np.ndarray], size: int) -> None:
        """Compute a few points and hand on to the next chunk, so that a click comes in between."""
        if turn != self._turn:
            return
        places, rest = levels[0][:size], levels[0][size:]
        began = time.monotonic()
        if not self._guard(self._compute, turn, surface, places) or turn != self._turn:
            return
        took = time.monotonic() - began
        size = int(np.clip(size * CHUNK_SECONDS / max(took, 1e-4), max(1, size // 2), 2 * size))
        levels = [rest, *levels[1:]] if len(rest) else levels[1:]
        if levels:
            self._pool.submit(self._chunk, turn, surface, levels, size)
        else:
            self.status = "finished"

    def _compute(self, turn: int, surface: "Surface", places: np.ndarray) -> None:
        rows, columns = np.unravel_index(places, surface.known.shape)
        found = self._evaluate(points_on(surface.layout, surface.axes[0][columns], surface.axes[1][rows]))
        if turn != self._turn:
            return
        for name, values in found.items():
            held = surface.values.setdefault(name, np.full(surface.known.shape, np.nan))
            held[rows, columns] = numbers(values)
        surface.known[rows, columns] = True
        if self._surface is not surface:
            self._replace(surface)
        self.done = int(surface.known.sum())

    def _replace(self, surface: "Surface") -> None:
        """Show a new surface, now that its first points are there."""
        self._surface, self.began = surface, time.monotonic()
        x, y = surface.axes
        with self.hold_trait_notifications():
            self.x_range, self.y_range = (float(x[0]), float(x[-1])), (float(y[0]), float(y[-1]))
            self.point, self.found, self.eigenvalues = (), {}, []
            self.line, self.cut, self._laid = (), None, None

    def _probe(self, layout: Layout, point: tuple[float, float]) -> None:
        found = self._evaluate(points_on(layout, [point[0]], [point[1]]))
        if point == self.point:
            self.found = {name: float(numbers(values).ravel()[0]) for name, values in found.items()}

    def _cut(self, laid: LiveCut, place: int) -> None:
        """Find the next point of a line and hand on; the whole line is shown when it is known."""
        if laid.line != self.line or self.layout is not laid.layout:
            return
        laid.find(place)
        if place + 1 < laid.num:
            self._pool.submit(self._guard, self._cut, laid, place + 1)
        else:
            self._laid = laid
            self._show_cut()

    @observe("metric")
    def _show_cut(self, _: Any = None) -> None:
        if self._laid is not None and self._laid.line == self.line:
            self.cut = self._laid.found(self.metric, self.unit if self.metric == "loss" else "1")

    def _spectrum(self, layout: Layout, point: tuple[float, float]) -> None:
        assert self._eigenvalues is not None
        found = self._eigenvalues(points_on(layout, [point[0]], [point[1]])[0])
        values = found["eigenvalues"].values if hasattr(found, "data_vars") else found
        if point == self.point:
            self.eigenvalues = numbers(values).ravel().tolist()

    def _guard(self, action: Callable[..., None], *arguments: Any) -> bool:
        """Run in the background: what goes wrong there is said in the status, where it can be read."""
        try:
            action(*arguments)
        except Exception as error:
            self.status = f"failed: {type(error).__name__}: {error}"
            return False
        return True
