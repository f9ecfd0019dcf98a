"""The training loop of many networks at once: batches, steps, early stop, checkpoints."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from kdlandscape.cubes.clock_ahead import Steps
from kdlandscape.cubes.seals import read_sealed, write_sealed
from kdlandscape.distillation.copies import Members
from kdlandscape.distillation.recipe import Recipe, direction, fresh_state
from kdlandscape.landscape.reduction import num_examples

Generators = torch.Generator | Sequence[torch.Generator]
#: (thetas, batch, generators) -> gradients (K, P) and losses (K,); each tensor of the batch is (b, ...) or (K, b, ...)
Gradient = Callable[[Tensor, tuple[Any, ...], Generators], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Trained:
    """What came out of a training.

    Attributes
    ----------
    members
        The trained networks: weights (K, P), and the running statistics of each where its training changes them.
    losses
        The mean loss (epochs, K) seen during each epoch; NaN for epochs after every network has stopped early.
    steps, trajectory
        Where a stride was asked for: the recorded steps (S,) from 0, the initial weights, to the last one, and the
        weights there (S, K, P); running statistics are not recorded.
    """

    members: Members
    losses: Tensor = field(repr=False)
    steps: tuple[int, ...] = field(default=(), repr=False)
    trajectory: Tensor | None = field(default=None, repr=False)

    @property
    def thetas(self) -> Tensor:
        """Final weights (K, P)."""
        return self.members.thetas

    @property
    def states(self) -> list[dict[str, Tensor]]:
        """The state dict of each network, with its own running statistics; every function of theta takes it."""
        return self.members.states


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a training is saved. A run that finds the file goes on from it, to the same bits on a CPU.

    Attributes
    ----------
    path
        Replaced atomically every ``every`` epochs and at the end. A file of another training, or a damaged one, is
        refused.
    every
        Epochs between two saves.
    """

    path: Path | str
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"expected a checkpoint every epoch or less often, got every {self.every} epochs")


def descend(
    gradient: Gradient,
    networks: Members,
    data: tuple[Any, ...],
    recipe: Recipe,
    generator: Generators,
    *,
    lr_scale: Tensor | None = None,
    record_every: int | None = None,
    checkpoint: Checkpoint | None = None,
    facts: Sequence[Tensor] = (),
) -> Trained:
    """Take the recipe's steps from K networks (K, P); see `kdlandscape.distillation.training.train`.

    The gradient may change their buffers in place. Each part of the data is a tensor (n, ...), or a tuple or dict of
    them. ``facts`` are what a checkpoint has to agree with beside the arguments, such as the teachers.
    """
    thetas = networks.thetas
    if record_every is not None and record_every < 1:
        raise ValueError(f"expected record_every of at least 1 step, got {record_every}")
    if isinstance(generator, Sequence) and len(generator) != len(thetas):
        raise ValueError(f"expected one generator, or one for each of the {len(thetas)} networks; got {len(generator)}")
    scale = torch.ones(len(thetas)) if lr_scale is None else lr_scale
    scale = scale.to(thetas)[:, None]
    n = num_examples(data)
    per_epoch = -(-n // recipe.batch_size)
    run = _Run(networks, recipe, generator, record_every)
    start = [thetas, *networks.buffers.values(), *tree_leaves(data), scale, *facts]
    steps = Steps(recipe.epochs * per_epoch, finish=lambda: float(run.thetas[0, 0]))
    if steps.is_trial:  # nothing of a trial is kept, and a checkpoint of it would be that of another training
        checkpoint = None
    name = _fingerprint(recipe, *start) if checkpoint else ""
    if checkpoint and Path(checkpoint.path).exists():
        run.load(Path(checkpoint.path), name)
    while run.epoch < recipe.epochs and not (steps.cut or run.stopped.all()):
        some_stopped = bool(run.stopped.any())  # asked once an epoch: a step on a GPU waits for no answer
        for step, rows in enumerate(steps.of(_order(n, recipe.batch_size, generator))):
            with run.held() if some_stopped else nullcontext():
                slopes, values = gradient(run.thetas, tree_map(lambda leaf, rows=rows: leaf[rows], data), generator)
            run.losses[run.epoch] += values * (rows.shape[-1] / n)
            move = direction(recipe, run.thetas, slopes, run.state)
            if some_stopped:
                move = move.masked_fill(run.stopped[:, None], 0.0)
            run.thetas.addcmul_(scale, move, value=-recipe.rate(run.epoch, step / per_epoch))
            run.record(run.epoch * per_epoch + step + 1, last=recipe.epochs * per_epoch)
        run.end_epoch()
        if checkpoint and (run.epoch % checkpoint.every == 0 or run.epoch == recipe.epochs):
            run.save(Path(checkpoint.path), name)
    run.losses[run.epoch :] = torch.nan
    if steps.cut:
        run.record_rest(recipe.epochs * per_epoch)
    return run.result()


class _Run:
    """Everything that changes during a training: what a checkpoint holds."""

    def __init__(self, networks: Members, recipe: Recipe, generator: Generators, record_every: int | None) -> None:
        self.recipe, self.record_every = recipe, record_every
        self.space, self.buffers, thetas = networks.space, networks.buffers, networks.thetas
        self.generators = [generator] if isinstance(generator, torch.Generator) else list(generator)
        self.epoch = 0
        self.thetas = thetas.clone()
        self.state = fresh_state(thetas, recipe)
        self.losses = thetas.new_zeros(recipe.epochs, len(thetas))
        self.best = thetas.new_full((len(thetas),), torch.inf)
        self.waited = torch.zeros(len(thetas), dtype=torch.long, device=thetas.device)
        self.stopped = torch.zeros(len(thetas), dtype=torch.bool, device=thetas.device)
        self.kept: dict[int, Tensor] = {}
        if record_every is not None:
            self.kept[0] = thetas.clone()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the buffers of networks that have stopped."""
        kept = {name: rows.clone() for name, rows in self.buffers.items()}
        yield
        for name, rows in kept.items():
            self.buffers[name][self.stopped] = rows[self.stopped]

    def record(self, taken: int, last: int) -> None:
        if self.record_every is not None and (taken % self.record_every == 0 or taken == last):
            self.kept[taken] = self.thetas.clone()

    def record_rest(self, last: int) -> None:
        """Take the weights as they are for all steps to come: what follows in a trial has as much to look at."""
        for taken in range(max(self.kept, default=0) + 1, last + 1):
            self.record(taken, last)

    def end_epoch(self) -> None:
        losses = self.losses[self.epoch]
        _refuse_divergence(losses, self.epoch)
        self.epoch += 1
        if self.recipe.patience is not None:
            better = losses < self.best - self.recipe.min_delta
            self.waited = torch.where(better, 0, self.waited + 1)
            self.best = torch.minimum(self.best, losses)
            self.stopped |= self.waited >= self.recipe.patience

    def result(self) -> Trained:
        networks = Members(self.thetas, self.buffers, self.space)
        if self.kept:
            return Trained(networks, self.losses, tuple(self.kept), torch.stack(list(self.kept.values())))
        return Trained(networks, self.losses)

    def save(self, path: Path, name: str) -> None:
        content = {key: getattr(self, key) for key in _SAVED}
        content["buffers"] = self.buffers
        content["draws"] = [generator.get_state() for generator in self.generators]
        write_sealed(path, lambda temporary: torch.save({"training": name, **content}, temporary))

    def load(self, path: Path, name: str) -> None:
        saved = io.BytesIO(read_sealed(path, "; remove it, and the training starts anew"))
        content = torch.load(saved, map_location=self.thetas.device, weights_only=True)
        if content["training"] != name:
            raise ValueError(f"expected a checkpoint of this training in {path}, got one of another; remove it")
        for key in _SAVED:
            setattr(self, key, content[key])
        for key, rows in content["buffers"].items():  # in place: the gradient works on these tensors
            self.buffers[key].copy_(rows)
        self.state["steps"] = self.state["steps"].cpu()
        for generator, state in zip(self.generators, content["draws"], strict=True):
            generator.set_state(state.cpu())


_SAVED = ("epoch", "thetas", "state", "losses", "best", "waited", "stopped", "kept")


def _fingerprint(recipe: Recipe, *tensors: Tensor) -> str:
    """Hash what a training starts from."""
    digest = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def _order(n: int, batch_size: int, generator: Generators) -> Sequence[Tensor]:
    """Return the rows of each batch of an epoch: (b,), or (K, b) where every network has an order of its own."""
    if isinstance(generator, torch.Generator):
        return torch.randperm(n, generator=generator, device=generator.device).split(batch_size)
    orders = [torch.randperm(n, generator=one, device=one.device) for one in generator]
    return torch.stack(orders).split(batch_size, dim=1)


def drawn_seeds(draws: Generators, count: int) -> list[int]:
    """Draw the seed of the random numbers of K networks: one for all of them, or one for each."""
    each = [draws] if isinstance(draws, torch.Generator) else draws
    seeds = [int(torch.randint(2**62, (), generator=one, device=one.device)) for one in each]
    return seeds * count if len(seeds) == 1 else seeds


def _refuse_divergence(losses: Tensor, epoch: int) -> None:
    bad = (~torch.isfinite(losses)).nonzero().flatten().tolist()
    if bad:
        raise RuntimeError(
            f"the loss of network {bad[0]} of {len(losses)} became {float(losses[bad[0]])} in epoch {epoch + 1}: "
            "lower lr, or look at the inputs"
        )
