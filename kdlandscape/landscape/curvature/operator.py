"""A curvature of the mean loss at one theta as a linear map over the whole data set."""

from typing import Any

import torch
from torch import Tensor

from kdlandscape.landscape.curvature.cut_graphs import refuse_cut_graphs
from kdlandscape.landscape.curvature.maps import Maps
from kdlandscape.landscape.curvature.plans import Plan, choose
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.measured import room
from kdlandscape.landscape.params import Params, Theta, described

NAMES = {
    "hessian": "Hessian",
    "ggn": "Gauss–Newton",
    "fisher": "Fisher",
    "empirical_fisher": "empirical Fisher",
}


class Operator:
    r"""The symmetric linear map :math:`v \mapsto Av`, for rows (b, P') or one vector (P',): ``a @ v`` or ``a(v)``.

    Sums and weights are added up apart, so that no cut of the data changes the result.

    Parameters
    ----------
    objective, theta, kind
        The loss, the point, and which curvature: a key of ``NAMES``.
    params, dtype, compile, memory, plan, num_matvecs
        As for `kdlandscape.landscape.curvature.curvatures.hessian`, which lists the errors.

    Attributes
    ----------
    theta
        The point (P',), a copy: later changes of the caller's have no effect.
    weight
        Total weight W of the examples: W times this operator is that of the summed loss. N without class weights.
    units
        The unit of the loss, and of every eigenvalue.
    facts
        How products are taken, for a result's attrs.
    num_matvecs
        Products taken so far, all questions together.
    found
        Answers from which later questions start, by what was asked.
    """

    def __init__(
        self,
        objective: MeanLoss,
        theta: Theta,
        kind: str,
        *,
        params: Params = None,
        dtype: torch.dtype | None = None,
        compile: bool = False,
        memory: int | None = None,
        plan: Plan | None = None,
        num_matvecs: int = 100,
    ) -> None:
        if kind not in NAMES:
            raise ValueError(f"expected the curvature to be one of {', '.join(NAMES)}; got {kind!r}")
        if objective.bn == "recalibrate":
            raise ValueError(
                "expected an objective with bn='frozen' or 'batch' for curvature, got 'recalibrate': statistics that "
                "are re-estimated at every point are not differentiated"
            )
        if dtype is None and objective.loss_dtype != objective.dtype:  # a network in half precision
            dtype = objective.loss_dtype
        loss, self.theta, self._block = objective.to(dtype).restricted(params, theta)
        self.kind, self.units, self.num_matvecs = kind, loss.units, 0
        self.found: dict[Any, Any] = {}
        plan = plan or choose(loss, self.theta, kind, num_matvecs)
        checked = ("derivatives", kind, plan.mode)
        if checked not in objective.cache:
            objective.cache[checked] = refuse_cut_graphs(loss, self.theta, kind, plan.mode)
        memory = room(loss.device) if memory is None else memory
        self._maps = Maps(loss, self.theta, kind, plan, memory if num_matvecs > 1 else 0)
        self.weight = self._maps.weight()
        self.facts: dict[str, Any] = {
            "curvature": kind,
            "params": described(params),
            "num_parameters": self.dim,
            "num_examples": loss.num_examples,
            "total_weight": self.weight,
            "scale": "mean",
            "dtype": str(loss.dtype).removeprefix("torch."),
            "derivatives": objective.cache[checked],
            "differentiation": plan.mode,
            "examples_a_piece": plan.examples or "all",
            "channels_last": int(plan.channels_last),
            "folded_batch_norm": int(plan.fold),
            "compiled": self._maps.compile() if compile else "none",
        }

    @property
    def dim(self) -> int:
        """P', how many parameters the operator acts on."""
        return len(self.theta)

    @property
    def places(self) -> Tensor:
        """Where the P' parameters of the block stand in the whole theta."""
        return self._block.nonzero()[:, 0]

    @property
    def name(self) -> str:
        """What the matrix is called in a label."""
        return NAMES[self.kind]

    def __call__(self, v: Tensor) -> Tensor:
        """Return A v for v (P',), or for every row of v (b, P')."""
        if v.shape[-1:] != (self.dim,) or v.ndim > 2:
            raise ValueError(f"expected v of shape ({self.dim},) or (K, {self.dim}), got {tuple(v.shape)}")
        rows = v.detach().to(self.theta)
        block = rows[None] if rows.ndim == 1 else rows
        product = self._maps(block).div_(self.weight)
        self.num_matvecs += len(block)
        return product[0] if rows.ndim == 1 else product

    def __matmul__(self, v: Tensor) -> Tensor:
        """Return A v, as a call does."""
        return self(v)
