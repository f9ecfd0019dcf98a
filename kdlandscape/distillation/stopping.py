"""Networks of one training loss: each taken from its own training where the loss first falls below a level."""

from typing import NamedTuple

import torch
from torch import Tensor

from kdlandscape.distillation.descent import Trained


class Stopped(NamedTuple):
    """Weights (K, P), whether the level was reached (K,), and the steps taken (K,)."""

    thetas: Tensor
    reached: Tensor
    steps: Tensor


def first_below(trained: Trained, level: float) -> Stopped:
    """Return each network at the first recorded step after the epoch whose mean loss was below a level.

    Measures of flatness compare networks only at one training loss (Jiang et al. 2020, section 4.2). A network that
    never gets there is taken at the end.

    Parameters
    ----------
    trained
        Of a training with ``record_every``, about once an epoch.
    level
        Of the loss seen in training, in its unit.

    Raises
    ------
    ValueError
        A training that was not recorded, or networks with running statistics, which are not recorded.
    """
    if trained.trajectory is None:
        raise ValueError("expected a recorded training: give record_every to train")
    if trained.members.buffers:
        raise ValueError("expected networks without running statistics, which a trajectory does not hold")
    recorded = torch.tensor(trained.steps)
    per_epoch = int(recorded[-1]) / len(trained.losses)
    rows, reached = [], []
    for losses in trained.losses.T:
        below = (losses < level).nonzero().flatten()
        reached.append(len(below) > 0)
        ready = recorded >= per_epoch * (int(below[0]) + 1) if len(below) else recorded == recorded[-1]
        rows.append(int(ready.nonzero()[0]))
    each = torch.arange(len(rows))
    return Stopped(trained.trajectory[torch.tensor(rows), each], torch.tensor(reached), recorded[torch.tensor(rows)])
