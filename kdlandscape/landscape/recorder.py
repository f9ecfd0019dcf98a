"""Snapshots of a network while it is trained by any loop: the weights change by not one bit."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdlandscape.cubes.files import leftovers
from kdlandscape.cubes.seals import write_sealed
from kdlandscape.landscape.params import unwrapped

SUFFIX = ".pt"


class Overhead(NamedTuple):
    """What recording has cost so far: ``snapshots`` written, ``bytes`` and ``seconds`` of all of them together.

    ``share`` is the part of the time since the recorder was made that went into writing.
    """

    snapshots: int
    bytes: int
    seconds: float
    share: float

    def __str__(self) -> str:
        size, pause = (total / max(1, self.snapshots) for total in (self.bytes / 1e6, 1e3 * self.seconds))
        return (
            f"{self.snapshots} snapshots of {size:.3g} MB in {pause:.3g} ms each: {self.share:.1%} of the time since "
            "the recorder was made"
        )


class Recorder:
    r"""Keeps the weights of a network at a stride of optimizer steps, in a folder that `open_trajectory` opens.

    It reads parameters and buffers and changes nothing: no gradient, no mode, no random state, no hook. Every snapshot
    is one file that is written under another name, flushed, sealed by a checksum and renamed, so a training that is
    killed at any time leaves a trajectory that opens. Each file is also a checkpoint of its own: ``torch.load`` reads
    it, and its ``state_dict`` has parameters and buffers under the names of the network, without wrappers.

    Parameters
    ----------
    folder
        Where the snapshots go; made if it does not exist.
    network
        The network that is trained. ``DataParallel``, ``torch.compile`` and averaged models are taken off.
    every
        Stride in optimizer steps.
    optimizer
        With it the learning rate, the momentum and the weight decay are kept, which the edge of stability needs.
    start
        Optimizer steps that were taken before. Above 0 a training goes on: the snapshots up to this step stay, and
        later ones, which the new training replaces, are removed.

    Attributes
    ----------
    taken
        The number of optimizer steps so far.

    Raises
    ------
    ValueError
        If the folder holds the snapshots of another training, or the stride is below 1.

    Examples
    --------
    ::

        recorder = kdl.Recorder("trajectory", network, every=10, optimizer=optimizer)
        for x, y in batches:
            ...
            optimizer.step()
            recorder.step(loss)
        recorder.finish()
    """

    def __init__(
        self,
        folder: Path | str,
        network: nn.Module,
        *,
        every: int = 1,
        optimizer: torch.optim.Optimizer | None = None,
        start: int = 0,
    ) -> None:
        if every < 1:
            raise ValueError(f"expected every of at least 1 optimizer step, got {every}")
        self.folder, self.every, self.taken = Path(folder), every, start
        self._network, self._optimizer = unwrapped(network), optimizer
        self._began, self._seconds, self._bytes, self._count = time.perf_counter(), 0.0, 0, 0
        self._last: int | None = None
        _clear(self.folder, start)
        self._write(None)

    def step(self, loss: Tensor | float | None = None) -> None:
        """Count one optimizer step that was just taken, and write a snapshot where the stride says so.

        Parameters
        ----------
        loss
            The training loss of this step, to be kept with the snapshot.
        """
        self.at(self.taken + 1, loss)

    def at(self, taken: int, loss: Tensor | float | None = None) -> None:
        """Say how many optimizer steps were taken in all, as trainers count them; see `step`."""
        crossed = taken // self.every > self.taken // self.every
        self.taken = taken
        if crossed:
            self._write(loss)

    def finish(self, loss: Tensor | float | None = None) -> Overhead:
        """Write the last weights, if they are not written yet; return what recording has cost."""
        if self._last != self.taken:
            self._write(loss)
        return self.overhead

    @property
    def overhead(self) -> Overhead:
        """What recording has cost so far."""
        return Overhead(
            self._count, self._bytes, self._seconds, self._seconds / max(1e-9, time.perf_counter() - self._began)
        )

    def _write(self, loss: Tensor | float | None) -> None:
        began = time.perf_counter()
        content = {
            "step": self.taken,
            "loss": float(loss.detach()) if isinstance(loss, Tensor) else loss,
            "optimizer": _facts(self._optimizer),
            "state_dict": _tensors(self._network),
        }
        path = self.folder / f"{self.taken:010d}{SUFFIX}"
        write_sealed(path, lambda temporary: torch.save(content, temporary))
        self._last = self.taken
        self._count += 1
        self._bytes += path.stat().st_size
        self._seconds += time.perf_counter() - began


def _clear(folder: Path, start: int) -> None:
    """Make room for a training that goes on at a step: remove what it will write again."""
    folder.mkdir(parents=True, exist_ok=True)
    leftovers(folder)
    known = sorted(folder.glob(f"*{SUFFIX}"))
    if known and start == 0:
        raise ValueError(
            f"expected an empty folder for a new trajectory, got {folder} with {len(known)} snapshots up to step "
            f"{int(known[-1].stem)}: give another folder, or start= the number of steps that were taken, to go on"
        )
    for path in known:
        if int(path.stem) > start:
            path.unlink()


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by name, on the CPU; `state_dict` would run the hooks of the network."""
    named = dict(network.named_parameters(remove_duplicate=False)) | dict(network.named_buffers(remove_duplicate=False))
    return {name: _alone(tensor.detach().cpu()) for name, tensor in named.items()}


def _alone(tensor: Tensor) -> Tensor:
    """Return a tensor that is no part of a larger storage, which would be written as a whole."""
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor


def _facts(optimizer: Any) -> dict[str, Any]:
    """Return the name and the settings of an optimizer; settings on which its groups differ are left out."""
    if optimizer is None:
        return {}
    groups = optimizer.param_groups
    inner = getattr(optimizer, "optimizer", optimizer)  # what accelerate wraps
    kept: dict[str, Any] = {"name": type(inner).__name__}
    for key in ("lr", "momentum", "dampening", "nesterov", "weight_decay"):
        values = {float(group[key]) for group in groups if key in group}
        if len(values) == 1:
            kept[key] = values.pop()
    return kept
