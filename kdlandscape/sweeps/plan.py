"""From a spec to its runs: the product of the outer axes; what is vectorized stays inside each run."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from kdlandscape.sweeps.axes import Scalar
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.spec import Spec

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
        The run's place on the outer axes, literally as in the spec.
    """

    id: str
    parameters: dict[str, Any]
    coords: dict[str, Scalar]


def plan(spec: Spec) -> list[Run]:
    """Return the runs of a study; the first axis of the grid varies slowest."""
    lists = spec.facts.lists
    inner = {name: list(spec.grid[name]) for name in spec.grid if name in spec.vectorize}
    shared = {**spec.parameters, **inner}
    tail = json.dumps(shared, sort_keys=True)
    runs = []
    for _, coords in spec.axes.cells():
        own = {name: [value] if name in lists else value for name, value in coords.items()}
        runs.append(Run(_identity(coords, tail), {**shared, **own}, coords))
    return runs


def shard_of(runs: list[Run], shard: str | None) -> list[Run]:
    """Return the runs of shard ``"i/n"``: every n-th, starting at the i-th; all of them without a shard."""
    if shard is None:
        return runs
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise SpecError(f"shard: expected i/n with i from 1 to n, such as 1/4, got {shard!r}")
    return runs[number - 1 :: count]


def _identity(coords: dict[str, Scalar], shared: str) -> str:
    text = repr(coords) + shared
    readable = ",".join([f"{name}={value}" for name, value in coords.items()]) or "all"
    safe = _UNSAFE.sub("_", readable)[:_LONGEST]
    return f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
