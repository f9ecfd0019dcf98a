"""An effective dimension to a tolerance, in the fewest products: the pairs that pay, and as many draws as it takes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr

from kdlandscape.cubes import spectra
from kdlandscape.landscape.curvature import densities
from kdlandscape.landscape.curvature.deflation_plan import plan
from kdlandscape.landscape.curvature.operator import Operator
from kdlandscape.landscape.draws import seeded
from kdlandscape.linalg.lanczos.thick_restart import BASIS_BYTES


def dimension_to(
    a: Operator,
    know: Callable[..., Any],
    rtol: float,
    z: Any,
    scale: Any,
    *,
    steps: int,
    most: int,
    generator: torch.Generator | None,
) -> xr.Dataset:
    """Know the pairs that pay, then draw until the standard error at every z is ``rtol`` of the value.

    Parameters
    ----------
    a, know
        The operator, and its question for the largest eigenpairs, ``know(k, tol=...)``.
    rtol, z, scale, generator
        As for `kdlandscape.landscape.curvature.questions.Curvature.effective_dimension`.
    steps, most
        Lanczos steps a draw, and the products after which the tolerance is given up.

    Raises
    ------
    ValueError
        A tolerance that is not positive.
    """
    if not rtol > 0:
        raise ValueError(f"expected a positive rtol, got {rtol}")
    before = a.num_matvecs
    generator = seeded(generator, a.theta.device)
    rules = densities.Rules(a, steps, generator)
    first = rules.take(2)
    smallest = float(np.min(z)) / (a.weight if scale == "sum" else 1.0)
    room = min((a.dim - 8) // 2, max(BASIS_BYTES // (4 * a.theta.nbytes), 8))
    wanted = plan(first, smallest, rtol, steps=steps, most=room)
    if wanted.pairs > rules.num_pairs:
        tol = min(max(0.03 * smallest / float(first["nodes"].max()), 1e-6), 1e-2)
        know(wanted.pairs, tol=tol)
        rules = densities.Rules(a, steps, generator)
    draws = wanted.draws
    while True:
        affordable = rules.num_draws + max(most - a.num_matvecs + before, 0) // steps
        now = densities.last_rules(a, rules, max(min(draws, affordable), 2))
        found = spectra.effective_dimension(now, z, scale=scale)
        value, sem = (found[f"effective_dimension{end}"].values for end in ("", "_sem"))
        short = float(np.max(sem / np.maximum(rtol * value, np.finfo(float).tiny)))
        if short <= 1 or draws >= affordable:
            return found.assign_attrs({**now.attrs, **found.attrs})
        draws = max(math.ceil(draws * min(short**2, 2.0)), draws + 1)
