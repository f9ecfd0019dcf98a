"""Hutch++: the trace on a sketched range exactly, and random signs on its complement."""

import torch
from torch import Tensor

from kdlandscape.linalg.trace.estimate import Estimate, Matvec, check, is_small, mean_and_sem, multiply, signs
from kdlandscape.linalg.trace.rows import Rows
from kdlandscape.linalg.trace.sketch import Forms, extend


def hutchpp(
    matvec: Matvec,
    like: Tensor,
    max_matvecs: int,
    *,
    generator: torch.Generator,
    rtol: float = 0.0,
    atol: float = 0.0,
    offset: float = 0.0,
    block_size: int = 4,
) -> Estimate:
    """Estimate tr A by Hutch++: exactly on a sketched range Q of A, by Hutchinson on its complement.

    tr A ≈ tr Q' A Q + mean of ω' (I − Q Q') A (I − Q Q') ω, with a third of the products each for A S (Q spans it), A Q
    and A ω.  S is independent of the ω, so the standard error of the second part is that of the estimate.  Blocks
    of all three are added, until a tolerance is met; the old ω are projected anew at no product.  Two thirds as many
    vectors as products are held, Q and the ω, and five blocks more; all else is scalars, added up in float64.

    Parameters, stopping and errors are those of :func:`hutchinson`; at least 6 products.

    References
    ----------
    Meyer, Musco, Musco and Woodruff, Hutch++: optimal stochastic trace estimation, SOSA 2021, algorithm 1.
    """
    check(like, max_matvecs, 6, block_size)
    basis, samples, known, sketched = Rows(), Rows(), Forms(), 0
    while True:
        left = (max_matvecs - sketched - len(basis) - len(samples)) // 3
        more = min(block_size, left)
        fresh = extend(basis, multiply(matvec, signs(more, like, generator)))
        basis.append(fresh)
        known.add_directions(multiply(matvec, fresh), fresh, basis, samples)
        sketched += more
        draw = signs(more, like, generator)
        samples.append(draw)
        known.add_samples(draw, multiply(matvec, draw), basis)
        spent = sketched + len(basis) + len(samples)
        if len(basis) == len(like):
            exact = known.core.trace().to(like)
            return Estimate(exact, torch.zeros_like(exact), spent, len(samples), True)
        value, sem = mean_and_sem(known.core.trace() + known.energies(known.inner))
        reached = len(samples) >= 10 and is_small(sem, value + offset, rtol, atol)
        if reached or max_matvecs - spent < 3:
            return Estimate(value.to(like), sem.to(like), spent, len(samples), reached or bool(sem == 0))
