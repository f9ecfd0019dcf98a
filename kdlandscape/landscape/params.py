"""Parameters as one flat vector theta (P,), and back to a dict of named tensors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import reduce
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Theta = Tensor | nn.Module | Mapping[str, Tensor]
Params = str | Sequence[str] | None


class SpaceError(ValueError):
    """A theta, module or state dict that does not belong to the expected parameter space."""


@dataclass(frozen=True)
class Ravel:
    """The order, names and shapes of the trainable parameters: a dict of tensors to and from theta (P,).

    Attributes
    ----------
    shapes
        Name and shape of every trainable parameter, in order.
    constants
        Names that a state dict may also hold (frozen parameters and buffers); they are no part of theta.
    dtypes
        Precision of each parameter in the network, which `unravel` gives; default: that of theta.
    aliases
        Other names of tied weights, each with the name that theta has for it.
    """

    shapes: Mapping[str, torch.Size]
    constants: frozenset[str] = frozenset()
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, module: nn.Module) -> "Ravel":
        """Take the trainable parameters of a module (tied weights once), under the names of the module itself.

        Raises
        ------
        ValueError
            If no parameter requires a gradient.
        """
        module = unwrapped(module)
        shapes = {name: p.shape for name, p in module.named_parameters() if p.requires_grad}
        if not shapes:
            raise ValueError(
                f"{type(module).__name__} has no trainable parameter: expected at least one with requires_grad=True; "
                "unfreeze a layer with .requires_grad_(True)"
            )
        parameters = dict(module.named_parameters(remove_duplicate=False))
        every = parameters | dict(module.named_buffers(remove_duplicate=False))
        first = {id(parameters[name]): name for name in shapes}
        aliases = {name: first[id(p)] for name, p in parameters.items() if id(p) in first and name not in shapes}
        dtypes = {name: parameters[name].dtype for name in shapes}
        return cls(shapes, frozenset(every) - frozenset(shapes), dtypes, aliases)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of theta: the widest of the parameters."""
        return reduce(torch.promote_types, self.dtypes.values())

    @property
    def dim(self) -> int:
        """P, the number of trainable parameters."""
        return sum(prod(shape) for shape in self.shapes.values())

    def rest(self, module: nn.Module) -> dict[str, Tensor]:
        """Return what theta does not hold of a network: its buffers and frozen parameters."""
        module = unwrapped(module)
        tensors = dict(module.named_parameters()) | dict(module.named_buffers())
        return {name: tensor.detach() for name, tensor in tensors.items() if name not in self.shapes}

    def ravel(self, theta: Theta) -> Tensor:
        """Return theta (P,) of a module, a state dict or a flat vector, after checking that it fits this space."""
        if isinstance(theta, np.ndarray):
            theta = torch.from_numpy(theta)
        if isinstance(theta, Tensor):
            if theta.ndim != 1 or theta.shape[0] != self.dim:
                raise SpaceError(f"expected theta of shape ({self.dim},), got {tuple(theta.shape)}")
            return theta
        tensors = self.named(theta)
        self._check(tensors)
        parts = [tensors[name].detach().reshape(-1) for name in self.shapes]
        return torch.cat([part.to(reduce(torch.promote_types, (p.dtype for p in parts))) for part in parts])

    def named(self, theta: nn.Module | Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the tensors of a module or state dict under the names that this space has for them.

        Wrappers are taken off: ``DataParallel``, ``torch.compile``, averaged models; the state dict inside the
        checkpoint of a trainer; a prefix that all names share (``module.``, ``_orig_mod.``, ``model.``). Weights that
        are tied may stand under either name.
        """
        if not isinstance(theta, nn.Module | Mapping):
            raise SpaceError(
                f"expected theta as a flat tensor, a module or a state dict, got {type(theta).__name__}: read "
                "a file by torch.load(path, weights_only=True), give a list of parameters with their names"
            )
        if isinstance(theta, nn.Module):
            theta = unwrapped(theta)
            tensors = {**dict(theta.named_buffers()), **dict(theta.named_parameters())}
        else:
            tensors = {name: torch.as_tensor(value) for name, value in self._state(theta).items()}
        for alias, name in self.aliases.items():
            if name not in tensors and alias in tensors:
                tensors[name] = tensors[alias]
        return tensors

    def _state(self, theta: Mapping[str, Any]) -> Mapping[str, Any]:
        for key in ("state_dict", "model_state_dict", "model"):
            if isinstance(theta.get(key), Mapping):
                theta = theta[key]
        known = self.shapes.keys() | self.constants
        while not any(name in known for name in theta):
            heads = {name.partition(".")[0] for name in theta if name != "n_averaged"}
            if len(heads) != 1 or not all("." in name for name in theta if name != "n_averaged"):
                break
            theta = {name.partition(".")[2]: value for name, value in theta.items() if name != "n_averaged"}
        return theta

    def unravel(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the named tensors (views) of theta (P,)."""
        # One split, whose backward is one concatenation; slices would each pad a zero vector of length P.
        parts = theta.split([prod(shape) for shape in self.shapes.values()])
        return {
            name: part.view(shape).to(self.dtypes.get(name, theta.dtype))
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def to(self, dtype: torch.dtype) -> "Ravel":
        """Return the same space in one precision."""
        return replace(self, dtypes=dict.fromkeys(self.shapes, dtype))

    def only(self, names: Iterable[str]) -> "Ravel":
        """Return the space of some of the parameters; a state dict may still hold the others."""
        chosen = {name: shape for name, shape in self.shapes.items() if name in set(names)}
        return replace(self, shapes=chosen, constants=self.constants | (self.shapes.keys() - chosen.keys()))

    def _check(self, tensors: Mapping[str, Tensor]) -> None:
        unknown = [name for name in tensors if name not in self.shapes and name not in self.constants]
        for name, shape in self.shapes.items():
            if name not in tensors:
                raise SpaceError(f"parameter {name!r} of shape {tuple(shape)} is missing{_nearest(name, unknown)}")
            if tensors[name].shape != shape:
                raise SpaceError(
                    f"parameter {name!r} differs: expected shape {tuple(shape)}, got {tuple(tensors[name].shape)}"
                )
            if not tensors[name].is_floating_point():
                raise SpaceError(f"parameter {name!r} differs: expected floating point, got {tensors[name].dtype}")
        if unknown:
            raise SpaceError(f"parameter {unknown[0]!r} is unknown here{_nearest(unknown[0], self.shapes)}")


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside ``DataParallel``, ``torch.compile`` or an averaged model."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
    if not isinstance(module, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {module!r}")
    while isinstance(module, wrappers) or "_orig_mod" in module._modules:
        module = module.module if isinstance(module, wrappers) else module.get_submodule("_orig_mod")
    return module


def matching(names: Iterable[str], params: Params) -> set[str]:
    """Return the names that match one of the glob patterns, such as ``"layer3.*"``; all of them for None.

    Raises
    ------
    ValueError
        A pattern that matches no name; the message has the nearest ones.
    """
    names = list(names)
    found: set[str] = set()
    for pattern in ["*"] if params is None else [params] if isinstance(params, str) else params:
        hits = {name for name in names if fnmatchcase(name, pattern)}
        if not hits:
            near = get_close_matches(pattern, names, n=3, cutoff=0.1) or names[:3]
            raise ValueError(
                f"{pattern!r} matches no parameter: expected a glob of their names; the nearest are {', '.join(near)}"
            )
        found |= hits
    return found


def single_at_least(dtype: torch.dtype) -> torch.dtype:
    """Return float32 for a half precision, in which sums are too coarse; else the precision itself."""
    return torch.float32 if dtype.itemsize < torch.float32.itemsize else dtype


def described(params: Params) -> str:
    """Return the patterns as one text for a result's attrs; "all" for None."""
    return "all" if params is None else params if isinstance(params, str) else ", ".join(params)


def _nearest(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, list(names), n=1)
    return f"; the nearest name is {close[0]!r}" if close else ""
