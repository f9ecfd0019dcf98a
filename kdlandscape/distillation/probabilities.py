r"""Two predictive distributions beside each other, exactly enough for the difference of two that are nearly equal.

A class is masked by the logit :math:`-\infty`: its probability is 0, and a class that both mask does not count at all.
A row that masks every class, or that holds NaN or :math:`+\infty`, has no probabilities, and all its numbers are NaN.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_TINY = 1e-300  # a probability below counts as 0, so that e^d is finite for any q


class Pair(NamedTuple):
    """Probabilities p and q (..., C) in float64, and d = log q - log p, which is 0 where both are 0."""

    p: Tensor
    q: Tensor
    d: Tensor


def centred(logits: Tensor) -> Tensor:
    """Return logits (..., C) in float64, from each row of which its largest is taken: an offset has no rounding."""
    exact = logits.double()
    return exact - exact.detach().amax(-1, keepdim=True)


def log_sum_exp(logits: Tensor) -> Tensor:
    r"""Return :math:`\log \sum_j e^{z_j}` (..., 1), along the examples where the classes come first in memory."""
    return logits.logsumexp(-1, keepdim=True)


def log_probabilities(logits: Tensor) -> Tensor:
    r"""Return :math:`z_j - \log \sum_i e^{z_i}` (..., C) of logits in float64, as `log_sum_exp` does."""
    return logits - log_sum_exp(logits)


def pair(first: Tensor, second: Tensor) -> Pair:
    """Return the probabilities of two sets of logits (..., C) that broadcast.

    Float64, because log p is as exact as the logits are large: in float32 it is off by 1e-5 at a logit of 100, and d
    would be lost where the logits are close. Takes about 6 times the memory of float64 logits.
    """
    log_p, log_q = torch.broadcast_tensors(log_probabilities(centred(first)), log_probabilities(centred(second)))
    masked = (log_p == -torch.inf) & (log_q == -torch.inf)
    return Pair(log_p.exp(), log_q.exp(), (log_q - log_p).masked_fill(masked, 0.0))


def divergence(first: Tensor, second: Tensor) -> Tensor:
    r"""Return :math:`KL(p \| q)` (...,) [nat] of two sets of logits (..., C) in float64; see `kl`."""
    log_p, log_q = log_probabilities(first), log_probabilities(second)
    return kl(Pair(log_p.exp(), log_q.exp(), log_q - log_p))


def kl(pair: Pair) -> Tensor:
    r"""Return :math:`KL(p \| q) = \sum_j p_j (e^{d_j} - 1 - d_j)` (...,) [nat].

    Both sums of probabilities are 1, so the terms add up to :math:`-\sum_j p_j d_j`; but none of them is below 0, and
    none of them cancels another. A class that p allows and q masks gives infinity; where p is 0, d does not count.
    """
    p, q, d = pair
    return torch.where(p > _TINY, p * (torch.expm1(d) - d), q).clamp_min(0.0).sum(-1)


def jensen_shannon(pair: Pair) -> Tensor:
    r"""Return :math:`(KL(p \| m) + KL(q \| m)) / 2` (...,) with m = (p + q)/2 [nat].

    The sum of :math:`\frac{a_j}{2} (r_j \log r_j - (1 + r_j) \log \frac{1 + r_j}{2})`, with a the larger of both
    probabilities and :math:`r \le 1` the smaller one over it. No term is below 0.
    """
    p, q, d = pair
    e = -d.abs()
    r = e.exp()
    terms = torch.where(r > 0, r * e, 0.0) - (1 + r) * torch.log1p(torch.expm1(e) / 2)
    return (torch.maximum(p, q) * terms).clamp_min(0.0).sum(-1) / 2


def total_variation(pair: Pair) -> Tensor:
    r"""Return :math:`\frac12 \sum_j |p_j - q_j|` (...,), as the larger probability times :math:`1 - e^{-|d|}`."""
    p, q, d = pair
    return -(torch.maximum(p, q) * torch.expm1(-d.abs())).sum(-1) / 2


def entropy(logits: Tensor) -> Tensor:
    r"""Return :math:`-\sum_j p_j \log p_j` (...,) of logits (..., C), in float64 [nat]."""
    log_p = logits.double().log_softmax(-1)
    return -torch.where(log_p > -torch.inf, log_p.exp() * log_p, 0.0).sum(-1)
