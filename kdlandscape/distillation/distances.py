"""How far from its teacher a student starts and ends."""

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, variable


def distances_to_teacher(teacher: Tensor, starts: Tensor, ends: Tensor, dim: str = "init_lambda") -> xr.Dataset:
    r"""Return Euclidean distances of weights, and the angle of the start, of K students.

    Parameters
    ----------
    teacher
        The teacher's weights (P,).
    starts, ends
        The students' weights before and after distillation, (K, P).
    dim
        Name of the axis of the students.

    Returns
    -------
    xarray.Dataset
        Over ``dim``: ``distance_start`` and ``distance_end`` :math:`\|\theta - \theta_{teacher}\|` before and after,
        ``distance_travelled`` :math:`\|\theta_{end} - \theta_{start}\|`, and ``cos_start``
        :math:`\cos(\theta_{start}, \theta_{teacher})`.
    """
    cosine = torch.cosine_similarity(starts, teacher[None]).cpu()
    return dataset(
        {
            "distance_start": _length(dim, starts - teacher, "distance to the teacher before distillation"),
            "cos_start": variable(dim, cosine, "cosine of the initial student and the teacher"),
            "distance_end": _length(dim, ends - teacher, "distance to the teacher after distillation"),
            "distance_travelled": _length(dim, ends - starts, "distance from the initial to the final student"),
        }
    )


def _length(dim: str, rows: Tensor, long_name: str) -> xr.Variable:
    return variable(dim, rows.norm(dim=1).cpu(), long_name)
