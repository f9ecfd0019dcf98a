"""Compiled Hessian products: one plain function of theta, v and tensors, compiled once, checked against eager."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp
from torch.utils._pytree import tree_flatten, tree_unflatten

from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.products import Network, Piece, Rows


class Compiled:
    """The tangent of the gradient of the summed loss on pieces of one shape; other shapes are left to eager code.

    Parameters
    ----------
    objective, network, point, piece
        The loss, the outputs if other than its own, theta and a first piece of the data, whose shapes the code is for.
    eager
        The product on that piece that the compiled one must reproduce, and beat.

    Attributes
    ----------
    seconds
        What compiling took.
    faster
        Whether the compiled product is right and faster; if not, it is not used.
    """

    def __init__(self, objective: Objective, network: Network | None, point: Tensor, piece: Piece, eager: Rows) -> None:
        structure, outputs = tree_flatten(piece)[1], network or objective.outputs
        self.key = _shapes(piece)

        def product(theta: Tensor, v: Tensor, *leaves: Tensor) -> Tensor:
            inputs, targets = tree_unflatten(list(leaves), structure)

            def total(at: Tensor) -> Tensor:
                return objective.reduce(outputs(at, inputs), targets).total

            return jvp(grad(total), (theta,), (v,))[1]

        self._product = torch.compile(product, dynamic=False)
        start = time.perf_counter()
        v = torch.randn(point.shape, generator=torch.Generator().manual_seed(0), dtype=point.dtype).to(point)
        self.seconds, self.faster = 0.0, False
        try:
            value = self._run(point, v, piece)
            self.seconds = time.perf_counter() - start
            expected = eager(v[None])[0]
            close = (value - expected).norm() <= torch.finfo(point.dtype).eps ** 0.5 * expected.norm()
            ours, others = _time(partial(self._run, point, v, piece)), _time(partial(eager, v[None]))
            self.faster = bool(close) and ours < others
        except Exception as error:  # the compiler's errors have no common class; the eager product is at hand
            self.problem = f"{type(error).__name__}: {error}"

    def linearize(self, point: Tensor, piece: Piece) -> Rows:
        """Return the map of rows to products on a piece of the known shapes."""
        return lambda rows: torch.stack([self._run(point, row, piece) for row in rows])

    def fits(self, piece: Piece) -> bool:
        """Whether the piece has the shapes that the code was made for."""
        return self.faster and _shapes(piece) == self.key

    def _run(self, point: Tensor, v: Tensor, piece: Piece) -> Tensor:
        return self._product(point, v, *tree_flatten(piece)[0]).detach()


def _shapes(piece: Piece) -> list[Any]:
    return [(leaf.shape, leaf.stride(), leaf.dtype) for leaf in tree_flatten(piece)[0]]


def _time(function: Callable[[], Any]) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
