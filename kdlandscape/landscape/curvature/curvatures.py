"""The curvature matrices of a mean loss, each as an operator: built once for a loss and a point, asked many times."""

import torch

from kdlandscape.landscape.curvature.plans import Plan
from kdlandscape.landscape.curvature.questions import Curvature
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Params, Theta


def hessian(
    objective: MeanLoss,
    theta: Theta,
    *,
    params: Params = None,
    dtype: torch.dtype | None = None,
    compile: bool = False,
    memory: int | None = None,
    plan: Plan | None = None,
    num_matvecs: int = 100,
) -> Curvature:
    r"""Return the Hessian :math:`\nabla^2 L` of the mean loss at theta, over the whole data set, ready to be asked.

    Parameters
    ----------
    objective, theta
        The loss and the point. Another network's module or state dict brings its buffers and frozen parameters.
    params
        Glob patterns of a block of parameters; the operator is then that diagonal block, (P', P').
    dtype
        Precision of theta, network and products; default: the objective's, or float32 for a network in half
        precision, whose weights it holds exactly: second derivatives in 8 bits are noise. ``torch.float64`` where small
        eigenvalues count. The result says in ``dtype`` what was taken.
    compile
        Whether to compile the products of all questions (seconds to minutes). Compiled code is kept where it reproduces
        the eager product and beats it: ``facts["compiled"]`` is ``split``, ``whole`` or ``none``, see
        `kdlandscape.landscape.curvature.compilation.Compiled`.
    memory
        Bytes of graphs that may be kept between products; pieces of the data beyond it are differentiated anew.
        Default: half a GiB, on a GPU a quarter of the memory that is free.
    plan
        How to cut the data and differentiate; default: the fastest of a short trial.
    num_matvecs
        How many products are expected; up to 8, nothing is measured, and with one, nothing is kept.

    Raises
    ------
    SpaceError
        A theta of another space.
    ValueError
        A block that matches nothing, a loss that is not finite at theta, a data set whose weight is 0, or statistics
        that are re-estimated at every point (then A is not the derivative of what is evaluated); a layer or loss whose
        derivatives are hidden from autograd, by name.
    NotImplementedError
        A layer without second derivatives, by name.

    Notes
    -----
    Construction costs one forward pass. The first one for an objective also takes a few products and gradients on 8
    examples, to refuse a network whose recorded graph is cut; `kdlandscape.landscape.curvature.cut_graphs` says how,
    and ``facts["derivatives"]`` what came of it. A product costs about 2 gradients a row, 1.5 where graphs are kept
    (Pearlmutter, Fast exact multiplication by the Hessian, 1994).
    """
    return Curvature(
        objective,
        theta,
        "hessian",
        params=params,
        dtype=dtype,
        compile=compile,
        memory=memory,
        plan=plan,
        num_matvecs=num_matvecs,
    )


def ggn(
    objective: MeanLoss,
    theta: Theta,
    *,
    params: Params = None,
    dtype: torch.dtype | None = None,
    memory: int | None = None,
    plan: Plan | None = None,
    num_matvecs: int = 100,
) -> Curvature:
    r"""Return the generalized Gauss–Newton matrix :math:`\sum_i J_i^T (\nabla^2_z w_i \ell_i) J_i / W` at theta.

    :math:`J_i` is the Jacobian of the outputs z of example i. The matrix has no negative eigenvalues where the loss is
    convex in the outputs. Parameters, errors and costs are those of `hessian` (Schraudolph, Fast curvature
    matrix-vector products, 2002).
    """
    return Curvature(
        objective, theta, "ggn", params=params, dtype=dtype, memory=memory, plan=plan, num_matvecs=num_matvecs
    )


def fisher(
    objective: MeanLoss,
    theta: Theta,
    *,
    params: Params = None,
    dtype: torch.dtype | None = None,
    memory: int | None = None,
    plan: Plan | None = None,
    num_matvecs: int = 100,
) -> Curvature:
    r"""Return the Fisher information :math:`\sum_i w_i J_i^T\, \mathbb{E}_{y \sim p(y|z_i)} [g g^T]\, J_i / W`.

    :math:`g = \nabla_z \log p(y|z_i)` at theta; the expectation over the labels is exact, nothing is sampled.
    Parameters, errors and costs are those of `hessian`; a loss that is no negative log likelihood is refused.
    """
    return Curvature(
        objective, theta, "fisher", params=params, dtype=dtype, memory=memory, plan=plan, num_matvecs=num_matvecs
    )


def empirical_fisher(
    objective: MeanLoss,
    theta: Theta,
    *,
    params: Params = None,
    dtype: torch.dtype | None = None,
    memory: int | None = None,
    plan: Plan | None = None,
    num_matvecs: int = 100,
) -> Curvature:
    r"""Return the matrix :math:`\sum_i w_i g_i g_i^T / W` at theta, :math:`g_i` the gradient of the loss of example i.

    It takes the labels of the data, not those that the network expects, so it is no Fisher information. Parameters,
    errors and costs are those of `hessian`.
    """
    return Curvature(
        objective,
        theta,
        "empirical_fisher",
        params=params,
        dtype=dtype,
        memory=memory,
        plan=plan,
        num_matvecs=num_matvecs,
    )
