"""A recorded trajectory, read from disk."""

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from kdlandscape.cubes.seals import read_sealed
from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.recorder import SUFFIX


class Recorded(NamedTuple):
    """Checkpoints along a training, with their ``facts`` over ``step``.

    ``states`` are state dicts, modules or flat weights, in the order of training; ``facts`` needs the coordinate
    ``step`` alone, and a ``stability_threshold`` where one is known.
    """

    states: list[Any]
    facts: xr.Dataset


def open_trajectory(folder: Path | str, *, steps: Collection[int] | None = None) -> Recorded:
    """Read the snapshots that a `Recorder` has written; a training that goes on, or was killed, is no obstacle.

    Parameters
    ----------
    folder
        Of the recorder.
    steps
        The snapshots to read; default: all. Memory: one copy of the network a snapshot.

    Returns
    -------
    Recorded
        State dicts, with the running statistics of each, and over ``step``: ``training_loss`` as the loop gave it,
        ``learning_rate``, and ``stability_threshold``, the largest eigenvalue of the Hessian with which full-batch
        steps of this optimizer on a quadratic still converge; NaN where it is not known (see `stability_threshold`).

    Raises
    ------
    FileNotFoundError
        A folder without snapshots, or without one of the steps.
    DamagedFileError
        A snapshot that is not as it was written.
    """
    paths = {int(path.stem): path for path in sorted(Path(folder).glob(f"*{SUFFIX}"))}
    if not paths:
        raise FileNotFoundError(f"expected the snapshots of a Recorder in {folder}, got none")
    wanted = list(paths) if steps is None else sorted(steps)
    for step in wanted:
        if step not in paths:
            raise FileNotFoundError(f"expected one of the {len(paths)} recorded steps {_few(paths)}, got {step}")
    read = [_read(paths[step]) for step in wanted]
    labels = {
        "training_loss": "loss of the training step, as the loop gave it",
        "learning_rate": "learning rate η",
        "stability_threshold": "largest curvature at which full-batch steps are stable",
    }
    values = {
        "training_loss": [one["loss"] for one in read],
        "learning_rate": [one["optimizer"].get("lr") for one in read],
        "stability_threshold": [stability_threshold(one["optimizer"]) for one in read],
    }
    numbers = {name: variable("step", np.array(values[name], dtype=float), label) for name, label in labels.items()}
    coords = {"step": variable("step", wanted, "optimizer steps taken")}
    return Recorded([one["state_dict"] for one in read], dataset(numbers, coords))


def stability_threshold(optimizer: Mapping[str, Any]) -> float | None:
    r"""Return the largest curvature at which an optimizer is stable on a quadratic, or None if it is not known.

    With learning rate η and momentum β it is :math:`2/\eta` for gradient descent, :math:`(2 + 2\beta)/\eta` with
    momentum and :math:`(2 + 2\beta)/(\eta (1 + 2\beta))` with Nesterov's, less the weight decay, which adds to each
    eigenvalue (Cohen et al. 2021, appendix B). It is known of ``SGD`` without dampening alone: an adaptive optimizer is
    stable or not by the curvature of a preconditioned loss.

    Parameters
    ----------
    optimizer
        Its ``name`` and its settings: ``lr``, ``momentum``, ``nesterov``, ``weight_decay``, ``dampening``.
    """
    if optimizer.get("name") != "SGD" or "lr" not in optimizer or optimizer.get("dampening"):
        return None
    rate, beta = optimizer["lr"], optimizer.get("momentum", 0.0)
    if not rate > 0:
        return None
    slower = 1 + 2 * beta if optimizer.get("nesterov") else 1
    return (2 + 2 * beta) / (rate * slower) - optimizer.get("weight_decay", 0.0)


def _read(path: Path) -> dict[str, Any]:
    saved = io.BytesIO(read_sealed(path, "; remove it to open the others"))
    return torch.load(saved, map_location="cpu", weights_only=True)


def _few(paths: Collection[int]) -> str:
    known = list(map(str, paths))
    return ", ".join(known if len(known) <= 6 else [*known[:3], "…", *known[-2:]])
