"""How many eigenpairs to know before drawing, so that an effective dimension takes the fewest products."""

import math
from typing import NamedTuple

import numpy as np
import xarray as xr

PRODUCTS_A_PAIR = 2.5  # that block Lanczos takes for many pairs
FEWEST_DRAWS = 5  # below, a standard error from the spread over draws says little


class Plan(NamedTuple):
    """Eigenpairs to know, draws to take in their complement, and the products that both are expected to cost."""

    pairs: int
    draws: int
    products: float


def plan(rules: xr.Dataset, z: float, rtol: float, *, steps: int, most: int) -> Plan:
    r"""Return the plan of least products to a standard error of ``rtol`` times N_eff, from rules of a few draws.

    A draw u on the sphere of the complement of the k largest pairs has the variance
    :math:`2 \sum_{i>k} f_i^2` at most, :math:`f_i = \lambda_i / (\lambda_i + z)`, so that n draws and k pairs cost
    :math:`c k + m n` products with :math:`n = 2 \sum_{i>k} f_i^2 / (\mathrm{rtol}\, N_\mathrm{eff})^2`.
    The sums come from the rules: a node stands for P times its weight eigenvalues.

    Parameters
    ----------
    rules
        ``nodes`` and ``weights`` over ``draw, node``, and ``num_parameters`` in the attrs.
    z
        In units of the mean loss.
    rtol
        Standard error wanted, relative to N_eff.
    steps
        Lanczos steps m a draw.
    most
        Pairs that may be known at most.
    """
    nodes, weights = (rules[name].values for name in ("nodes", "weights"))
    known = (weights > 0) & (nodes > 0)
    order = np.argsort(nodes[known])[::-1]
    values = nodes[known][order]
    counts = rules.attrs["num_parameters"] * weights[known][order] / rules.sizes["draw"]
    filtered = values / (values + z)
    wanted = (rtol * float(counts @ filtered)) ** 2
    left = np.concatenate([[float(counts @ filtered**2)], counts @ filtered**2 - np.cumsum(counts * filtered**2)])
    pairs = np.concatenate([[0.0], np.cumsum(counts)])
    have = int(rules["exact"].sum())
    best = Plan(have, FEWEST_DRAWS, math.inf)
    for k in sorted({have, *(math.ceil(one) for one in pairs if have < one <= most)}):
        variance = 2 * max(float(np.interp(k, pairs, left)), 0.0)
        draws = max(math.ceil(variance / wanted), FEWEST_DRAWS) if wanted > 0 else FEWEST_DRAWS
        products = PRODUCTS_A_PAIR * (k - have) + steps * draws
        if products < best.products:
            best = Plan(k, draws, products)
    return best
