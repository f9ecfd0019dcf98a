"""Products of the peers, each made as its users make it, and what to type where one is missing.

The peers change the network that they get (modes, ``.grad``): give each one of its own. No bench stops for a
peer: `missing` says which ones do not import, why, and the line that installs them.
"""

import contextlib
import importlib
import io
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from tests.bench.problems import Problem

Product = Callable[[Tensor], Tensor]

INSTALL = {  # module: what to type; --no-deps where the declared needs would pull another torch
    "pyhessian": "pip install pyhessian",
    "hessian_eigenthings": "pip install hessian-eigenthings",
    "curvlinops": "pip install --no-deps curvlinops-for-pytorch backpack-for-pytorch einops einconv",
    "loss_landscapes": "pip install loss-landscapes",
    "landscaper": "pip install --no-deps landscaper coloredlogs humanfriendly einops pyhessian",
    "papermill": "pip install papermill",
    "transformers": "pip install transformers",
    "datasets": "pip install datasets",
    "plotly": "pip install plotly",
    "pytest": "pip install pytest",
}


def missing(modules: Iterable[str]) -> dict[str, str]:
    """Return what does not import: module -> the reason and the line that installs it."""
    lines = {}
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # a peer may fail in any way while it is imported
            lines[name] = f"{name} left out ({type(error).__name__}: {error}); install it by `{INSTALL[name]}`"
    return lines


def pyhessian_cached(problem: Problem) -> Product:
    """PyHessian with the graph of the gradient kept: one batch."""
    from pyhessian import hessian
    from pyhessian.utils import hessian_vector_product

    with contextlib.redirect_stdout(io.StringIO()):
        it = hessian(problem.module, problem.loss, data=problem.batches()[0], cuda=problem.inputs.is_cuda)

    def product(v: Tensor) -> Tensor:
        return flat(hessian_vector_product(it.gradsH, it.params, split(v, it.params)))

    product.hessian = it  # type: ignore[attr-defined]
    return product


def pyhessian_loader(problem: Problem, size: int | None = None) -> Product:
    """PyHessian over a list of batches: nothing is kept."""
    from pyhessian import hessian

    it = hessian(problem.module, problem.loss, dataloader=problem.batches(size), cuda=problem.inputs.is_cuda)
    return lambda v: flat(it.dataloader_hv_product(split(v, it.params))[1])


def curvlinops(problem: Problem, size: int | None = None, kind: str = "Hessian") -> Product:
    """Return the product of curvlinops' Hessian, or of its ``GGN``."""
    import curvlinops as package

    make = getattr(package, f"{kind}LinearOperator")
    named, data = dict(problem.module.named_parameters()), problem.batches(size)
    try:
        linear = make(problem.module, problem.loss, named, data, check_deterministic=False)
    except (TypeError, AttributeError):  # older releases take a list
        linear = make(problem.module, problem.loss, list(named.values()), data, check_deterministic=False)
    return lambda v: linear @ v


def eigenthings(problem: Problem, size: int | None = None) -> Product:
    """Return the product of hessian-eigenthings' Hessian."""
    from hessian_eigenthings.loss_fns import supervised_loss
    from hessian_eigenthings.operators import HessianOperator

    return HessianOperator(problem.module, problem.batches(size), supervised_loss(problem.loss)).matvec


def split(v: Tensor, like: list[Tensor]) -> list[Tensor]:
    """Cut a vector into the shapes of a network's parameters."""
    return [part.view_as(p) for part, p in zip(v.split([p.numel() for p in like]), like, strict=True)]


def flat(parts: Any) -> Tensor:
    """Join tensors to one vector."""
    return torch.cat([part.detach().reshape(-1) for part in parts])
