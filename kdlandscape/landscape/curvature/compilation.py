"""Compiled Hessian products: a plain function of theta, v and tensors, compiled once, checked against the eager one."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp
from torch.utils._pytree import tree_flatten, tree_unflatten

from kdlandscape.landscape.curvature.convolutions import twice_differentiable
from kdlandscape.landscape.curvature.products import Network, Piece, Rows
from kdlandscape.landscape.evaluation.graph import FIXED, constants, split, trace
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.measured import fastest

Make = Callable[[Piece], Rows]


class Compiled:
    """Hessian products of the summed loss on pieces of one shape; other shapes are left to eager code.

    Two ways are compiled in turn. *Split*: the reverse product is recorded and cut by what depends on v; the part that
    does not is evaluated once a piece and kept, the rest is compiled. *Whole*: the tangent of the gradient, of which
    nothing is kept.

    Parameters
    ----------
    objective, network, point, piece
        The loss, the outputs if other than its own, theta and a first piece of the data, whose shapes the code is for.
    eager
        The product on that piece that the compiled one must reproduce, and beat.
    room
        Bytes that the split may keep for each example.

    Attributes
    ----------
    kind
        ``split`` or ``whole``, or ``none`` where no compiled product was right and faster.
    keeps
        Bytes that the split keeps for a piece.
    problems
        Why a way was dropped.
    """

    def __init__(
        self, objective: MeanLoss, network: Network | None, point: Tensor, piece: Piece, eager: Rows, room: float
    ) -> None:
        self.key, self.point = _shapes(piece), point
        self.kind, self.keeps, self.problems = "none", 0, dict[str, str]()
        self._structure, self._outputs, self._objective = (
            tree_flatten(piece)[1],
            network or objective.outputs,
            objective,
        )
        v = torch.randn(point.shape, generator=torch.Generator().manual_seed(0), dtype=point.dtype).to(point)
        expected = eager(v[None])
        leader: Callable[[], Tensor] = partial(eager, v[None])
        for kind, make in (("split", self._split), ("whole", self._whole)):
            try:
                maker, keeps = make(piece, room)
                run = partial(maker(piece), v[None])
                error = float((run() - expected).norm() / expected.norm().clamp_min(torch.finfo(point.dtype).tiny))
                seconds, best = fastest([run, leader], seconds=0.5)
            except Exception as problem:  # the compiler's errors have no common class; the eager product is at hand
                self.problems[kind] = f"{type(problem).__name__}: {problem}"
                continue
            if error <= torch.finfo(point.dtype).eps ** 0.5 and seconds < best:
                leader, self.kind, self.keeps, self._make = run, kind, keeps, maker
            else:
                self.problems[kind] = f"relative error {error:.1e}, {seconds:.3g} s against {best:.3g} s"

    def linearize(self, piece: Piece) -> Rows:
        """Return the map of rows to products on a piece of the known shapes."""
        return self._make(piece)

    def fits(self, piece: Piece) -> bool:
        """Whether the piece has the shapes that the code was made for."""
        return self.kind != "none" and _shapes(piece) == self.key

    def _total(self, theta: Tensor, *leaves: Tensor) -> Tensor:
        inputs, targets = tree_unflatten(list(leaves), self._structure)
        return self._objective.criteria.reduce(self._outputs(theta, inputs), targets).total

    def _split(self, piece: Piece, room: float) -> tuple[Make, int]:
        def product(v: Tensor, batch: list[Tensor]) -> list[Tensor]:
            slope = grad(lambda theta: self._total(theta, *batch[1:]))
            with twice_differentiable():
                return [vjp(slope, batch[0])[1](v)[0]]

        def arguments(piece: Piece) -> list[Tensor]:
            return [torch.zeros_like(self.point), self.point, *tree_flatten(piece)[0]]

        given = arguments(piece)
        whole = trace(product, given[0], given[1:])
        ends = constants(whole)
        keeps = sum(node.meta["val"].nbytes for node in ends)
        if keeps > room * len(given[2]):
            raise MemoryError(f"the split keeps {keeps / 2**20:.0f} MiB a piece: expected it to fit the memory")
        first, rest = split(whole, ends, FIXED)
        with torch.no_grad():
            compiled = torch._inductor.compile(rest, [*given, *first(*given)])

        def make(piece: Piece) -> Rows:
            zero, *others = arguments(piece)
            with torch.no_grad():
                others += first(zero, *others)

            def apply(rows: Tensor) -> Tensor:
                with torch.no_grad():
                    return torch.stack([compiled(row, *others)[0] for row in rows])

            return apply

        return make, keeps

    def _whole(self, piece: Piece, room: float) -> tuple[Make, int]:
        def product(theta: Tensor, v: Tensor, *leaves: Tensor) -> Tensor:
            def total(at: Tensor) -> Tensor:
                return self._total(at, *leaves)

            return jvp(grad(total), (theta,), (v,))[1]

        compiled = torch.compile(product, dynamic=False)

        def make(piece: Piece) -> Rows:
            leaves = tree_flatten(piece)[0]
            return lambda rows: torch.stack([compiled(self.point, row, *leaves).detach() for row in rows])

        return make, 0


def _shapes(piece: Piece) -> list[Any]:
    return [(leaf.shape, leaf.stride(), leaf.dtype) for leaf in tree_flatten(piece)[0]]
