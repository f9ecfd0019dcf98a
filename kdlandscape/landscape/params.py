"""Parameters as one flat vector theta (P,), and back to a dict of named tensors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from math import prod

import torch
from torch import Tensor, nn

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
    """

    shapes: Mapping[str, torch.Size]
    constants: frozenset[str] = frozenset()

    @classmethod
    def of(cls, module: nn.Module) -> "Ravel":
        """Take the trainable parameters of a module (tied weights once).

        Raises
        ------
        ValueError
            If no parameter requires a gradient.
        """
        shapes = {name: p.shape for name, p in module.named_parameters() if p.requires_grad}
        if not shapes:
            raise ValueError(
                f"{type(module).__name__} has no trainable parameter: expected at least one with requires_grad=True; "
                "unfreeze a layer with .requires_grad_(True)"
            )
        every = dict(module.named_parameters(remove_duplicate=False)) | dict(
            module.named_buffers(remove_duplicate=False)
        )
        return cls(shapes, frozenset(every) - frozenset(shapes))

    @property
    def dim(self) -> int:
        """P, the number of trainable parameters."""
        return sum(prod(shape) for shape in self.shapes.values())

    def ravel(self, theta: Theta) -> Tensor:
        """Return theta (P,) of a module, a state dict or a flat vector, after checking that it fits this space."""
        if isinstance(theta, Tensor):
            if theta.ndim != 1 or theta.shape[0] != self.dim:
                raise SpaceError(f"expected theta of shape ({self.dim},), got {tuple(theta.shape)}")
            return theta
        tensors = dict(theta.named_parameters()) if isinstance(theta, nn.Module) else dict(theta)
        self._check(tensors)
        return torch.cat([tensors[name].detach().reshape(-1) for name in self.shapes])

    def unravel(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the named tensors (views) of theta (P,)."""
        # One split, whose backward is one concatenation; slices would each pad a zero vector of length P.
        parts = theta.split([prod(shape) for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

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


def described(params: Params) -> str:
    """Return the patterns as one text for a result's attrs; "all" for None."""
    return "all" if params is None else params if isinstance(params, str) else ", ".join(params)


def _nearest(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, list(names), n=1)
    return f"; the nearest name is {close[0]!r}" if close else ""
