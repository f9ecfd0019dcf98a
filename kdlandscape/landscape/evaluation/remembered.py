"""Measured choices of a strategy that outlive a process: one small file for each machine and problem, to be looked at.

They lie under ``strategies`` in the folder for generated data (``$KDLANDSCAPE_CACHE``); a file that is removed is
measured again. A choice changes how fast numbers come, not the numbers. What a trial of a study chooses goes with it.
"""

import hashlib
import json
import os
import platform
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from kdlandscape.cubes.clock_ahead import place_of
from kdlandscape.cubes.files import write
from kdlandscape.cubes.seals import cache_folder
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.loss import MeanLoss


def remembered() -> list[dict[str, Any]]:
    """Return what is remembered: machine, problem, strategy, how much faster than the plain loop, and when measured."""
    found = []
    for path in sorted((cache_folder() / "strategies").glob("*.json")):
        with suppress(OSError, ValueError):
            found.append(json.loads(path.read_text(encoding="utf-8")))
    return found


def recall(objective: MeanLoss, **asked: Any) -> Strategy | None:
    """Return the strategy that was chosen for such a problem on such a machine; None if there is none."""
    path = _path(_machine(objective), _problem(objective, asked))
    for place in (path, place_of(path)):
        with suppress(OSError, ValueError, TypeError, KeyError):  # a file of another version, or a damaged one
            return Strategy(**json.loads(place.read_text(encoding="utf-8"))["strategy"])
    return None


def remember(objective: MeanLoss, strategy: Strategy, speedup: float, **asked: Any) -> None:
    """Keep a choice; where the folder cannot be written, it is measured again in the next process."""
    machine, problem = _machine(objective), _problem(objective, asked)
    content = {"machine": machine, "problem": problem, "strategy": asdict(strategy), "times_the_plain_loop": speedup}
    text = json.dumps(content | {"measured": datetime.now(UTC).isoformat(timespec="seconds")}, indent=1)
    with suppress(OSError):
        write(place_of(_path(machine, problem)), lambda path: path.write_text(text, encoding="utf-8"))


def _path(machine: dict[str, Any], problem: dict[str, Any]) -> Any:
    digest = hashlib.sha256(json.dumps([machine, problem], sort_keys=True).encode()).hexdigest()
    return cache_folder() / "strategies" / f"{digest[:24]}.json"


def _machine(objective: MeanLoss) -> dict[str, Any]:
    on_card = objective.device.type == "cuda" and torch.cuda.is_available()
    return {
        "host": platform.node(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(objective.device) if on_card else str(objective.device),
    }


def _problem(objective: MeanLoss, asked: dict[str, Any]) -> dict[str, Any]:
    """Describe all that the speed of a strategy depends on, but not the numbers in weights and data."""
    batch = next(objective.batches.loaded())
    return {
        "network": str(objective.model),
        "parameters": {name: list(shape) for name, shape in objective.shapes.items()},
        "dtype": str(objective.dtype),
        "loss": [list(label) for label in objective.labels.values()],
        "data": [[str(leaf.dtype), *leaf.shape[1:]] for leaf in tree_leaves(batch) if isinstance(leaf, torch.Tensor)],
        "num_examples": objective.num_examples,
        "batch_size": objective.batches.batch_size,
        "bn": objective.bn,
        **asked,
    }
