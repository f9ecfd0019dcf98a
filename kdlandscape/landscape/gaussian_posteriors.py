"""Gaussians over weights in place of a posterior: the Laplace approximation, and SWAG from the iterates of SGD."""

from typing import NamedTuple

import torch
from torch import Tensor

from kdlandscape.landscape.curvature.curvatures import ggn
from kdlandscape.landscape.draws import normal
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta
from kdlandscape.landscape.sampling import refuse_other_losses

LARGEST = 4000  # parameters of a matrix that is held and factorized


class GaussianPosterior(NamedTuple):
    r"""The density :math:`N(m,\; R R^T + \mathrm{diag}(v))`: ``mean`` (P,), ``root`` (P, K), ``variance`` (P,)."""

    mean: Tensor
    root: Tensor
    variance: Tensor

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw weights (count, P)."""
        shared = normal(count, self.root[0], generator) @ self.root.T
        return self.mean + shared + normal(count, self.mean, generator) * self.variance.sqrt()


def laplace(objective: MeanLoss, theta: Theta, prior_precision: float) -> GaussianPosterior:
    r"""Return the Laplace approximation :math:`N(\theta,\; (n G(\theta) + a I)^{-1})`.

    G is the generalized Gauss–Newton matrix of the mean loss over n examples, which for a log likelihood of logits is
    the Fisher matrix; a is the precision of the prior. Exact for a linear model with Gaussian noise.

    Parameters
    ----------
    objective
        Its loss is a negative log likelihood in nats.
    theta
        A maximum of the posterior: a network trained with the weight decay a / n.
    prior_precision
        a.

    Raises
    ------
    ValueError
        No positive precision, a loss that is not in nats, or more than 4000 parameters: the whole matrix is factorized,
        for P products and P³/3 operations in float64.

    References
    ----------
    MacKay, A practical Bayesian framework for backpropagation networks, 1992; Immer et al., Improving predictions of
    Bayesian neural nets via local linearization, 2021, whose prediction by draws is that of
    `kdlandscape.distillation.linearized_logits`.
    """
    if not prior_precision > 0:
        raise ValueError(
            f"expected a positive prior precision, got {prior_precision}: without a prior the matrix has no inverse"
        )
    refuse_other_losses(objective)
    loss, point = objective.at(theta)
    if loss.dim > LARGEST:
        raise ValueError(
            f"expected at most {LARGEST} parameters, got {loss.dim}: the matrix is held whole; take a smaller network"
        )
    unit = torch.eye(loss.dim, dtype=point.dtype, device=point.device)
    matrix = (ggn(loss, point, num_matvecs=loss.dim) @ unit).double()
    precision = loss.num_examples * (matrix + matrix.T) / 2 + prior_precision * unit.double()
    # precision = L L^T, so the covariance is L^-T L^-1
    root = torch.linalg.solve_triangular(torch.linalg.cholesky(precision).T, unit.double(), upper=True)
    return GaussianPosterior(point, root.to(point), torch.zeros_like(point))


def swag(iterates: Tensor, rank: int = 20) -> GaussianPosterior:
    r"""Return the Gaussian of SGD's iterates: their mean, and half their diagonal plus half a low-rank covariance.

    .. math:: \Sigma = \tfrac12 \mathrm{diag}(\overline{\theta^2} - \bar\theta^2) + \tfrac{1}{2 (K - 1)} D D^T

    Parameters
    ----------
    iterates
        Weights (S, P) of one training at a constant learning rate, after it has converged.
    rank
        K, the last iterates whose deviations from the mean are the columns of D.

    Raises
    ------
    ValueError
        Fewer than two iterates, or a rank below 2 or above their number.

    References
    ----------
    Maddox et al., A simple baseline for Bayesian uncertainty in deep learning, 2019, algorithm 1. There D holds
    deviations from the running mean; here from the mean of all iterates.
    """
    if iterates.ndim != 2 or not 2 <= rank <= len(iterates):
        raise ValueError(
            f"expected iterates (S, P) and a rank between 2 and S, got {tuple(iterates.shape)} and rank {rank}"
        )
    mean = iterates.mean(0)
    root = (iterates[-rank:] - mean).T / (2 * (rank - 1)) ** 0.5
    return GaussianPosterior(mean, root, iterates.var(0, correction=0) / 2)
