"""Is it another basin, or a permuted copy? Paths from many networks to one, before and after alignment."""

from collections.abc import Sequence

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import variable
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.many_networks import along
from kdlandscape.landscape.params import Theta
from kdlandscape.landscape.paths.interpolation import interpolate
from kdlandscape.landscape.permutations.alignment import METHODS, align
from kdlandscape.landscape.permutations.by_loss import RELAXATIONS, align_by_loss
from kdlandscape.landscape.permutations.repair import repair

CORRECTIONS = ("none", "repair")


def aligned_paths(
    objective: MeanLoss,
    thetas: Tensor,
    reference: Tensor,
    *,
    names: Sequence[str],
    generator: torch.Generator | None = None,
    t: int | Sequence[float] = 21,
    methods: Sequence[str] = METHODS,
    corrections: Sequence[str] = CORRECTIONS,
    restarts: int = 1,
) -> xr.Dataset:
    """Return the straight paths from K networks to a reference, as they are and after alignment and rescaling.

    Parameters
    ----------
    objective
        The loss and its metrics. Units are compared, and rescaled, on its first batch.
    thetas, reference
        (K, P) and (P,): the paths run from thetas (t = 0) to the reference (t = 1).
    names
        K names, the coordinate ``partner``.
    generator
        Draws the order of the visits in weight matching; default: seeded with 0.
    t
        As for `interpolate`.
    methods
        How units are matched: ``weights`` and ``activations`` as in `align`; ``straight_through`` and ``sinkhorn``
        as in `align_by_loss`, each of which costs 50 gradients a network more.
    corrections
        ``none``, ``repair`` or both.
    restarts
        Orders of visits that weight matching tries; see `align`.

    Returns
    -------
    xarray.Dataset
        The loss and every metric over ``partner, alignment, correction, t``, and ``cosine`` with the reference over
        ``partner, alignment``.

    Raises
    ------
    ValueError
        For an unknown method or correction, and as `align` and `repair` do.
    """
    given = {"methods": (methods, (*METHODS, *RELAXATIONS)), "corrections": (corrections, CORRECTIONS)}
    for what, (names_given, known) in given.items():
        unknown = sorted(set(names_given) - set(known))
        if unknown:
            raise ValueError(f"expected {what} of {', '.join(known)}; got {unknown[0]!r}")

    def corrected(start: Theta) -> xr.Dataset:
        fix = {"none": None, "repair": repair(objective, start, reference) if "repair" in corrections else None}
        paths = [interpolate(objective, start, reference, t=t, correct=fix[name]) for name in corrections]
        dim = xr.DataArray(list(corrections), dims="correction", name="correction")
        cosine = float(torch.nn.functional.cosine_similarity(objective.ravel(start), reference, dim=0))
        label = "cosine with the reference's parameters"
        return xr.concat(paths, dim, combine_attrs="drop_conflicts").assign(cosine=variable((), cosine, label))

    def matched(theta: Tensor, method: str) -> Theta:
        if method in RELAXATIONS:
            return align_by_loss(objective, reference, theta, method=method, generator=generator)
        return align(objective, reference, theta, generator=generator, method=method, restarts=restarts)

    def one(theta: Tensor) -> xr.Dataset:
        moved = [matched(theta, method) for method in methods]
        return along("alignment", ["none", *methods], corrected, [theta, *moved])

    return along("partner", names, one, thetas)
