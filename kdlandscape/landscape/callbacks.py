"""The recorder as a callback of other packages, which are imported when one is made."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from kdlandscape.landscape.recorder import Recorder


def lightning_recorder(folder: Path | str, *, every: int = 1) -> Any:
    """Return a callback for the trainer of Lightning that records the network, as `Recorder` does.

    A training that goes on from a checkpoint of Lightning goes on with its trajectory too. The callback has the
    recorder as ``recorder``.

    Parameters
    ----------
    folder
        Where the snapshots go.
    every
        Stride in optimizer steps.

    Raises
    ------
    ImportError
        If neither ``lightning`` nor ``pytorch_lightning`` is installed.
    """
    names = ("lightning.pytorch", "pytorch_lightning")
    base = _module(sorted(names, key=lambda name: name not in sys.modules)).Callback  # the one that is in use

    class LightningRecorder(base):  # type: ignore[misc, valid-type]
        recorder: Recorder | None = None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.is_global_zero:
                optimizer = trainer.optimizers[0] if len(trainer.optimizers) == 1 else None
                taken = trainer.global_step
                self.recorder = Recorder(folder, pl_module, every=every, optimizer=optimizer, start=taken)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if self.recorder is not None:
                self.recorder.at(trainer.global_step, _loss(outputs))

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            if self.recorder is not None:
                self.recorder.finish()

    return LightningRecorder()


def trainer_recorder(folder: Path | str, *, every: int = 1) -> Any:
    """Return a callback for the ``Trainer`` of transformers that records the network, as `Recorder` does.

    A training that goes on from a checkpoint of the trainer goes on with its trajectory too. The callback has the
    recorder as ``recorder``. A trainer tells its callbacks no loss, so none is kept.

    Parameters
    ----------
    folder
        Where the snapshots go.
    every
        Stride in optimizer steps.

    Raises
    ------
    ImportError
        If ``transformers`` is not installed.
    """
    base = _module(["transformers"]).TrainerCallback

    class TrainerRecorder(base):  # type: ignore[misc, valid-type]
        recorder: Recorder | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if state.is_world_process_zero:
                self.recorder = Recorder(
                    folder, given["model"], every=every, optimizer=given.get("optimizer"), start=state.global_step
                )

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if self.recorder is not None:
                self.recorder.at(state.global_step)

        def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if self.recorder is not None:
                self.recorder.finish()

    return TrainerRecorder()


class AccelerateRecorder:
    """Records a network that accelerate has prepared: on the main process, and steps that were really taken.

    Parameters
    ----------
    accelerator
        It says which process is the main one, and when gradients are accumulated and no step is taken.
    folder, network, every, start
        As for `Recorder`.
    optimizer
        As ``accelerator.prepare`` gave it: it says whether mixed precision has skipped a step.

    Attributes
    ----------
    recorder
        The recorder; None on every process but the main one.
    """

    def __init__(
        self, accelerator: Any, folder: Path | str, network: Any, optimizer: Any, *, every: int = 1, start: int = 0
    ) -> None:
        self._accelerator, self._optimizer = accelerator, optimizer
        self.recorder = (
            Recorder(folder, network, every=every, optimizer=optimizer, start=start)
            if accelerator.is_main_process
            else None
        )

    def step(self, loss: Any = None) -> None:
        """Call it after each ``optimizer.step()``; see `Recorder.step`."""
        taken = self._accelerator.sync_gradients and not self._optimizer.step_was_skipped
        if self.recorder is not None and taken:
            self.recorder.step(loss)

    def finish(self) -> None:
        """Write the last weights, if they are not written yet."""
        if self.recorder is not None:
            self.recorder.finish()


def _module(names: list[str]) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
    raise ImportError(f"expected the package {' or '.join(names)}, which is not installed: pip install {names[-1]}")


def _loss(outputs: Any) -> Any:
    """Return the loss among what a training step of Lightning returned."""
    return outputs.get("loss") if isinstance(outputs, dict) else outputs
