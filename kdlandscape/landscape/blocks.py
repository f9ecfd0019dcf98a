"""An objective narrowed to a block of its parameters, or in another precision."""

import copy
from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import Ravel, Theta

Params = str | Sequence[str] | None


def narrow(
    objective: Objective, theta: Theta, params: Params = None, dtype: torch.dtype | None = None
) -> tuple[Objective, Tensor, Tensor]:
    """Return an objective of a block of the parameters, its theta, and the block's places in the whole theta.

    Parameters
    ----------
    objective, theta
        The loss and the point; parameters outside the block are held at it.
    params
        Glob patterns of parameter names, such as ``"layer3.*"``; default: all of them.
    dtype
        Precision to compute in; default: the objective's own. The data are those that the objective holds.

    Returns
    -------
    objective, theta, places
        Of the block: (P',) and integers (P',). The caller's objective is not changed; theta is copied.

    Raises
    ------
    SpaceError
        A theta of another space.
    ValueError
        A pattern that matches no parameter, with the nearest names; a loss that holds tensors of another precision.
    """
    point = objective.ravel(theta).clone()
    if dtype is not None and dtype != objective.dtype:
        objective, point = _in_dtype(objective, dtype), point.to(dtype)
    places = torch.arange(objective.dim)
    if params is None:
        return objective, point, places
    patterns = [params] if isinstance(params, str) else list(params)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in objective.shapes):
            near = get_close_matches(pattern, list(objective.shapes), n=3, cutoff=0.1) or list(objective.shapes)[:3]
            raise ValueError(
                f"params {pattern!r} matches no parameter: expected a glob of their names; the nearest are "
                f"{', '.join(near)}"
            )
    named = objective.unravel(point)
    chosen = {name: any(fnmatchcase(name, pattern) for pattern in patterns) for name in named}
    mask = torch.cat([torch.full((tensor.numel(),), chosen[name]) for name, tensor in named.items()])
    block = copy.copy(objective)
    block.cache = {}
    block._ravel = Ravel({name: shape for name, shape in objective.shapes.items() if chosen[name]})
    fixed = {name: tensor for name, tensor in named.items() if not chosen[name]}
    block.constants = {**objective.constants, **fixed}
    block.theta = point[mask.to(point.device)].clone()
    return block, block.theta, places[mask]


def _in_dtype(objective: Objective, dtype: torch.dtype) -> Objective:
    other = copy.copy(objective)
    other.dtype, other.cache = dtype, {}
    other.model = copy.deepcopy(objective.model).to(dtype=dtype)
    other.constants = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in objective.constants.items()
    }
    other.theta = objective.theta.to(dtype)
    other.batches = copy.copy(objective.batches)
    other.batches._dtype = dtype
    if other.batches.held:
        other.batches._held = other.batches._move(objective.batches._held)
    try:
        with torch.no_grad():
            other.reduced(other.theta, next(other.stream()))
    except RuntimeError as error:
        raise ValueError(
            f"the loss holds {objective.dtype} tensors and does not take {dtype} ({error}); "
            f"expected an objective built with Objective(..., dtype={dtype})"
        ) from error
    return other
