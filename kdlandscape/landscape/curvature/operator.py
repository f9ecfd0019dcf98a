"""Curvature operators at one theta: Hessian, Gauss-Newton, Fisher; linear maps of rows over the whole data set."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kdlandscape.landscape.curvature.compilation import Compiled
from kdlandscape.landscape.curvature.folding import Folded
from kdlandscape.landscape.curvature.plans import MEMORY, Plan, choose, pieces
from kdlandscape.landscape.curvature.products import Network, Piece, Rows, graph_bytes, linearize
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Params, Theta
from kdlandscape.landscape.reduction import num_examples

CURVATURES = ("hessian", "ggn", "fisher", "empirical_fisher")


@dataclass(frozen=True)
class Operator:
    """A symmetric linear map of rows (b, P') to rows, or of one vector (P',).

    Attributes
    ----------
    apply
        The map of a block of rows.
    theta
        The point (P',), a copy: later changes of the caller's have no effect.
    places
        Where the P' parameters of the block stand in the whole theta.
    weight
        Total weight W of the examples: W times this operator is that of the summed loss. N without class weights.
    facts
        How products are taken, for a result's attrs.
    """

    apply: Rows
    theta: Tensor
    places: Tensor
    weight: float
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """P', how many parameters the operator acts on."""
        return len(self.theta)

    def __call__(self, v: Tensor) -> Tensor:
        """Return A v for v (P',), or for every row of v (b, P')."""
        if v.shape[-1:] != (self.dim,) or v.ndim > 2:
            raise ValueError(f"expected v of shape ({self.dim},) or (K, {self.dim}), got {tuple(v.shape)}")
        rows = v.detach().to(self.theta)
        return self.apply(rows[None])[0] if rows.ndim == 1 else self.apply(rows)


def operator(
    objective: MeanLoss,
    theta: Theta,
    *,
    curvature: str = "hessian",
    params: Params = None,
    dtype: torch.dtype | None = None,
    products: int = 100,
    plan: Plan | None = None,
    compile: bool = False,
    memory: int = MEMORY,
) -> Operator:
    r"""Return :math:`v \mapsto Av` with A taken from the *mean* loss at theta, over the whole data set.

    Sums and weights are added up apart, so that no cut of the data changes the result.

    Parameters
    ----------
    objective, theta
        The loss and the point.
    curvature
        ``hessian``: :math:`\nabla^2 L`; ``ggn``: :math:`\sum_i J_i^T (\nabla^2_z w_i \ell_i) J_i / W`; ``fisher``: the
        same with :math:`\mathbb{E}_{y \sim p(y|z_i)} [\nabla_z \log p\, \nabla_z \log p^T]`, exact, no sampling;
        ``empirical_fisher``: :math:`\sum_i w_i g_i g_i^T / W`, :math:`g_i` the gradient of the loss of example i.
    params
        Glob patterns of a block of parameters; the operator is then that diagonal block, (P', P').
    dtype
        Precision of theta, network and products; default: the objective's. ``torch.float64`` where small eigenvalues
        count.
    products
        How many products are expected; up to 8, nothing is measured, and with one, nothing is kept.
    plan
        How to cut the data and differentiate; default: the fastest of a short trial.
    compile
        Whether to compile Hessian products (seconds to minutes). Compiled code is kept where it reproduces the eager
        product and beats it: ``facts["compiled"]`` is ``split``, ``whole`` or ``none``, see
        `kdlandscape.landscape.curvature.compilation.Compiled`.
    memory
        Bytes of graphs that may be kept between products; pieces of the data beyond it are differentiated anew.

    Raises
    ------
    SpaceError
        A theta of another space.
    ValueError
        An unknown curvature, a block that matches nothing, a loss that is not finite at theta, a data set whose weight
        is 0, or statistics that are re-estimated at every point (then A is not the derivative of what is evaluated).
    NotImplementedError
        A layer without second derivatives, by name.

    Notes
    -----
    Construction costs one forward pass, and a gradient for what is kept. A product costs about 2 gradients a row, 1.5
    where graphs are kept (Pearlmutter, Fast exact multiplication by the Hessian, 1994; Schraudolph, Fast curvature
    matrix-vector products, 2002).
    """
    if curvature not in CURVATURES:
        raise ValueError(f"expected curvature to be one of {', '.join(CURVATURES)}; got {curvature!r}")
    if objective.bn == "recalibrate":
        raise ValueError(
            "expected an objective with bn='frozen' or 'batch' for curvature, got 'recalibrate': statistics that are "
            "re-estimated at every point are not differentiated"
        )
    objective, point, places = objective.to(dtype).restricted(params, theta)
    plan = plan or choose(objective, point, curvature, products)
    cut = list(pieces(objective, plan)) if objective.batches.held else None

    def data() -> Iterator[Piece]:
        return iter(cut) if cut is not None else pieces(objective, plan)

    weight = _weight(objective, point, data)
    maps = _Maps(objective, point, curvature, plan, memory if products > 1 and cut is not None else 0)
    if plan.fold:
        maps.network = Folded(objective, next(data()))
    facts = {"differentiation": plan.mode, "examples_a_piece": plan.examples or "all", "compiled": "none"}
    facts["channels_last"], facts["folded_batch_norm"] = plan.channels_last, plan.fold
    if compile and curvature == "hessian":
        facts["compiled"] = maps.compile(next(data()))  # split, whole or none

    def apply(rows: Tensor) -> Tensor:
        total = torch.zeros_like(rows)
        for index, piece in enumerate(data()):
            total += maps(index, piece)(rows)
        return total / weight

    return Operator(apply, point, places, weight, facts)


class _Maps:
    """The linear map of each piece: kept as long as they fit the memory, made anew beyond it."""

    def __init__(self, objective: MeanLoss, point: Tensor, curvature: str, plan: Plan, memory: int) -> None:
        self.objective, self.point, self.curvature, self.mode = objective, point, curvature, plan.mode
        self.room, self.kept = memory, dict[int, Rows]()
        self.compiled: Compiled | None = None
        self.bytes: int | None = None
        self.network: Network | None = None

    def __call__(self, index: int, piece: Piece) -> Rows:
        if index in self.kept:
            return self.kept[index]
        if self.compiled is not None and self.compiled.fits(piece) and self.compiled.keeps <= self.room:
            made = self.compiled.linearize(piece)
            if self.compiled.kind == "split":
                self.kept[index] = made
                self.room -= self.compiled.keeps
            return made
        made = linearize(self.objective, self.point, piece, self.curvature, self.mode, self.network)
        if self.mode == "reverse" and self.room > 0:
            if self.bytes is None:
                self.bytes = graph_bytes(self.objective, self.point, piece, self.curvature)
            needed = self.bytes * num_examples(piece)
            if needed <= self.room:
                self.kept[index] = made
                self.room -= needed
        return made

    def compile(self, piece: Piece) -> str:
        """Compile the Hessian product; keep the code where it is right and fast, and say which."""
        eager = linearize(self.objective, self.point, piece, self.curvature, self.mode, self.network)
        room = self.room / self.objective.num_examples
        self.compiled = Compiled(self.objective, self.network, self.point, piece, eager, room)
        return self.compiled.kind


def _weight(objective: MeanLoss, point: Tensor, data: Callable[[], Iterator[Piece]]) -> float:
    """Total weight of the examples; refuse a loss that is not finite."""
    total = weight = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        for piece in data():
            reduced = objective.reduced(point, piece)
            total = total + reduced.total.detach().cpu().double()
            weight = weight + torch.as_tensor(reduced.weight).cpu().double()
    if not bool(torch.isfinite(total)):
        raise ValueError(
            f"the loss at theta is {float(total)}: expected a finite number; check theta for NaN and the inputs for "
            "values that overflow"
        )
    if not bool(weight > 0):
        raise ValueError(f"expected examples of positive weight, got a total weight of {float(weight)}")
    return float(weight)
