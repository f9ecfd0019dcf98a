"""From a spec to its runs: the product of the outer axes; what is vectorized stays inside each run."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from kdlandscape.sweeps.axes import Scalar
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.own_problem import filled
from kdlandscape.sweeps.spec import Spec
from kdlandscape.sweeps.values import canonical

_UNSAFE = re.compile(r"[^A-Za-z0-9_.,+=-]")
_LONGEST = 120  # characters of the readable part; file systems end at 255 bytes a name


@dataclass(frozen=True)
class Run:
    """One execution of the notebook.

    Attributes
    ----------
    id
        Readable, safe as a file name, unique among parameters and coordinates.
    parameters
        What the notebook's parameters cell is overridden with.
    coords
        The run's place on the outer axes.
    """

    id: str
    parameters: dict[str, Any]
    coords: dict[str, Scalar]


def plan(spec: Spec) -> list[Run]:
    """Return the runs of a study; the first axis of the grid varies slowest.

    Raises
    ------
    SpecError
        If two runs had one id, which 64 bits of hash make as good as impossible.
    """
    named = {name: dict(zip(spec.grid[name], values, strict=True)) for name, values in spec.facts.values.items()}
    inner = {name: list(spec.grid[name]) for name in spec.grid if name in spec.vectorize}
    shared = {**spec.parameters, **inner}
    # what every run covers as a whole is the same in any order
    tail = canonical({**spec.parameters, **{name: sorted(map(canonical, axis)) for name, axis in inner.items()}})
    parts = {name: _parts(name, spec.grid[name], named.get(name)) for name in sorted(spec.grid) if name not in inner}
    runs: dict[str, Run] = {}
    for _, coords in spec.axes.cells():
        own = {name: named[name][value] if name in named else value for name, value in coords.items()}
        own |= {name: [own[name]] for name in spec.facts.lists}
        identity = _identity([part[coords[name]] for name, part in parts.items()], tail)
        if identity in runs:
            raise SpecError(
                f"grid: expected runs with ids of their own, got {identity} for {runs[identity].coords} too"
            )
        runs[identity] = Run(identity, filled({**shared, **own}), coords)
    return list(runs.values())


def shard_of(runs: list[Run], shard: str | None) -> list[Run]:
    """Return the runs of shard ``"i/n"``, every n-th; all of them without a shard.

    The n shards of a job array divide the runs, whether it counts from 0 (``0/n`` to ``(n-1)/n``) or from 1 (``1/n`` to
    ``n/n``): ``0/n`` and ``n/n`` are the same one.
    """
    if shard is None:
        return runs
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", shard)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if count < 1 or number > count:
        raise SpecError(f"shard: expected i/n with i from 0 to n - 1 or from 1 to n, such as 0/4 or 4/4, got {shard!r}")
    return runs[number % count :: count]


def _parts(name: str, axis: list, named: dict | None) -> dict[Scalar, tuple[str, str]]:
    """Return what each place on an axis adds to a run's id: a readable text, safe in file names, and its value."""
    return {
        place: (
            _UNSAFE.sub("_", f"{name}={_short(place)}"),
            canonical([name, place, named[place]] if named else [name, place]),
        )
        for place in axis
    }


def _identity(parts: list[tuple[str, str]], shared: str) -> str:
    """Return a run's id: its coordinates as far as file names go, and a hash of its value, whatever its spelling."""
    readable = ",".join(text for text, _ in parts)[:_LONGEST] or "all"
    value = "".join(value for _, value in parts) + shared
    return f"{readable}-{hashlib.sha256(value.encode()).hexdigest()[:16]}"


def _short(value: Scalar) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else str(value)
