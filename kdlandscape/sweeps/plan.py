"""From a spec to its runs: the product of the outer axes; what is vectorized stays inside each run."""

import hashlib
import json
import re
from dataclasses import dataclass
from itertools import product
from typing import Any

from kdlandscape.sweeps.spec import Scalar, Spec

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
    runs = []
    for values in product(*spec.outer.values()):
        coords = dict(zip(spec.outer, values, strict=True))
        own = {name: [value] if name in lists else value for name, value in coords.items()}
        parameters = {**spec.parameters, **inner, **own}
        runs.append(Run(_identity(parameters, coords), parameters, coords))
    return runs


def _identity(parameters: dict[str, Any], coords: dict[str, Scalar]) -> str:
    text = json.dumps([parameters, coords], sort_keys=True)
    readable = ",".join(f"{name}={value}" for name, value in coords.items()) or "all"
    safe = re.sub(r"[^A-Za-z0-9_.,+=-]", "_", readable)[:_LONGEST]
    return f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
