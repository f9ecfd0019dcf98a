"""Whether training is stable at initialization: how high the barrier between two runs from one start is."""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.distillation.copies import Members, members
from kdlandscape.distillation.losses import tempered_kl
from kdlandscape.distillation.predictions import ensemble_of, logits
from kdlandscape.landscape.paths.interpolation import barrier, mix

_AXES = ("seed", "temperature", "hard_weight")


def same_start_barrier(
    network: nn.Module,
    first: Tensor | Members,
    second: Tensor | Members,
    inputs: Any,
    teachers: Tensor | Members,
    teacher_network: nn.Module,
    *,
    t: int = 11,
) -> xr.DataArray:
    r"""Return the linear barrier between students that differ by the order of their examples alone.

    :math:`\max_t [L(\theta_t) - (1-t) L(\theta_0) - t L(\theta_1)]` with L the mean KL(teacher ‖ network) [nat] on the
    inputs. Where it is near 0, training is stable at initialization: the start alone decides the basin.

    Parameters
    ----------
    network, first, second
        The students' architecture, and two students (role, seed, temperature, hard weight, P) from each start.
    inputs
        One batch, such as the distillation set.
    teachers, teacher_network
        (role, seed, m, P). Role 1 is not asked.
    t
        Points of the path, both ends included; t forward passes a pair.

    Notes
    -----
    Running statistics of the students move along the path as their weights do; counters stay those of the first one.

    Frankle et al. 2020, linear mode connectivity and the lottery ticket hypothesis; the chord in place of the mean of
    the ends, as in `kdlandscape.landscape.paths.interpolation.barrier`.
    """
    start, end = members(network, first)[0], members(network, second)[0]
    z_t = ensemble_of(teacher_network, teachers[0], inputs)[:, None, None]
    shares = np.linspace(0.0, 1.0, t)
    heights = [
        tempered_kl(z_t, logits(network, _between(start, end, share), inputs)).double().mean(-1)
        for share in torch.from_numpy(shares)
    ]
    label = "KL(teacher ‖ network) between two students of one start"
    loss = variable(("t", *_AXES), torch.stack(heights).cpu(), label, "nat")
    path = dataset({"loss": loss}, {"t": variable("t", shares, "place on the path", symbol="t")})
    return barrier(path.assign_attrs(path="linear")).rename("same_start_barrier")


def _between(start: Members, end: Members, share: Tensor) -> Members:
    def moved(first: Tensor, last: Tensor) -> Tensor:
        if not first.is_floating_point():
            return first
        return mix(first.flatten(), last.flatten(), share[None])[0].view(first.shape)

    buffers = {name: moved(rows, end.buffers[name]) for name, rows in start.buffers.items()}
    return Members(moved(start.thetas, end.thetas), buffers, start.space)
