"""Whether chains of a sampler have met: R-hat and effective sample size of any number over chains and draws."""

import numpy as np
import xarray as xr

from kdlandscape.cubes.variables import dataset, variable

CONVERGED = 1.05  # the largest R-hat at which chains count as one


def convergence(values: xr.DataArray | xr.Variable) -> xr.Dataset:
    r"""Return ``r_hat`` and ``ess`` of numbers over ``chain, draw`` and any further dims, which are kept.

    R-hat is the rank-normalized split :math:`\hat R`, the larger of bulk and folded; ``ess`` the effective number of
    independent draws for the mean. Numbers that never change have an R-hat of 1 and as many draws as there are; a NaN
    gives NaN.

    Raises
    ------
    ValueError
        Without the dims, or with fewer than 2 chains or 4 draws, which cannot be compared.

    References
    ----------
    Vehtari et al., Rank-normalization, folding, and localization, 2021; by the package arviz-stats.
    """
    from arviz_stats.base import array_stats  # seconds to import

    sizes = dict(zip(values.dims, values.shape, strict=True))
    if sizes.get("chain", 0) < 2 or sizes.get("draw", 0) < 4:
        raise ValueError(f"expected numbers of at least 2 chains and 4 draws over chain and draw, got {sizes}")
    rest = [str(dim) for dim in values.dims if dim not in ("chain", "draw")]
    rows = np.asarray(values.transpose(*rest, "chain", "draw").values, dtype=float)
    shape, flat = rows.shape[:-2], rows.reshape(-1, *rows.shape[-2:])
    known = np.isfinite(flat).all((1, 2))
    moving = known & (np.ptp(flat, axis=(1, 2)) > 0) if len(flat) else known
    r_hat = np.where(known, 1.0, np.nan)
    ess = np.where(known, float(np.prod(rows.shape[-2:])), np.nan)
    if moving.any():
        r_hat[moving] = array_stats.rhat(flat[moving], chain_axis=1, draw_axis=2)
        ess[moving] = array_stats.ess(flat[moving], chain_axis=1, draw_axis=2, method="mean")
    found = {
        "r_hat": variable(rest, r_hat.reshape(shape), "R-hat, rank-normalized and split"),
        "ess": variable(rest, ess.reshape(shape), "effective sample size of the mean"),
    }
    known_coords = values.coords if isinstance(values, xr.DataArray) else {}
    return dataset(found, {dim: known_coords[dim] for dim in rest if dim in known_coords})
