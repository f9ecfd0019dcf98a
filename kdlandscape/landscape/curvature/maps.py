"""The curvature of the summed loss as one linear map over all pieces of the data, whose graphs are prepared once."""

from collections.abc import Iterator

import torch
from torch import Tensor

from kdlandscape.landscape.cuda_graphs import beside, captured
from kdlandscape.landscape.curvature.compilation import Compiled
from kdlandscape.landscape.curvature.folding import Folded
from kdlandscape.landscape.curvature.plans import Plan, pieces
from kdlandscape.landscape.curvature.products import Network, Piece, Rows, graph_bytes, linearize
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.reduction import num_examples


class Maps:
    """The linear map of each piece: kept as long as the graphs fit the memory, made anew beyond it.

    Parameters
    ----------
    objective, point, kind, plan
        The loss, theta (P,), which curvature, and how to take products.
    memory
        Bytes of graphs that may be kept; 0 keeps none.
    """

    def __init__(self, objective: MeanLoss, point: Tensor, kind: str, plan: Plan, memory: int) -> None:
        self.objective, self.point, self.kind, self.plan = objective, point, kind, plan
        held = objective.batches.held
        self._held = list(pieces(objective, plan)) if held else None
        self._room, self._kept = memory if held else 0, dict[int, Rows]()
        self._bytes: int | None = None
        self._compiled: Compiled | None = None
        self._network: Network | None = Folded(objective, next(self.pieces())) if plan.fold else None

    def pieces(self) -> Iterator[Piece]:
        """Yield the data in the micro-batches of the plan."""
        return pieces(self.objective, self.plan) if self._held is None else iter(self._held)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return rows (b, P) times the curvature of the summed loss."""
        total = torch.zeros_like(rows)
        for index, piece in enumerate(self.pieces()):
            product = self._map(index, piece)
            for row, sums in zip(rows, total, strict=True):  # one vector beside the sums, not one a row
                sums += product(row[None])[0]
        return total

    def weight(self) -> float:
        """Return the total weight of the examples; refuse a loss that is not finite.

        Raises
        ------
        ValueError
            A loss that is not finite, or a total weight of 0.
        """
        total = weight = torch.zeros((), dtype=torch.float64)
        with torch.no_grad():
            for piece in self.pieces():
                reduced = self.objective.reduced(self.point, piece)
                total = total + reduced.total.detach().cpu().double()
                weight = weight + torch.as_tensor(reduced.weight).cpu().double()
        if not bool(torch.isfinite(total)):
            raise ValueError(
                f"the loss at theta is {float(total)}: expected a finite number; check theta for NaN and the inputs "
                "for values that overflow"
            )
        if not bool(weight > 0):
            raise ValueError(f"expected examples of positive weight, got a total weight of {float(weight)}")
        return float(weight)

    def compile(self) -> str:
        """Compile the Hessian product; keep the code where it is right and fast, and say which."""
        piece = next(self.pieces())
        room = self._room / self.objective.num_examples
        self._compiled = Compiled(self.objective, self._network, self.point, piece, self._linearize(piece), room)
        return self._compiled.kind

    def _map(self, index: int, piece: Piece) -> Rows:
        if index in self._kept:
            return self._kept[index]
        if self._compiled is not None and self._compiled.fits(piece) and self._compiled.keeps <= self._room:
            made = self._compiled.linearize(piece)
            if self._compiled.kind == "split":
                self._keep(index, made, self._compiled.keeps)
            return self._kept.get(index, made)
        made = self._linearize(piece)
        if self.plan.mode == "reverse" and self._room > 0:
            if self._bytes is None:
                self._bytes = graph_bytes(self.objective, self.point, piece, self.kind)
            self._keep(index, made, self._bytes * num_examples(piece))
        return self._kept.get(index, made)

    def _linearize(self, piece: Piece) -> Rows:
        with beside(self.point.device):
            return linearize(self.objective, self.point, piece, self.kind, self.plan.mode, self._network)

    def _keep(self, index: int, made: Rows, needed: int) -> None:
        if needed <= self._room:
            self._kept[index] = captured(made)
            self._room -= needed
