"""How the loss rises with the distance from theta: in most directions, and in the worst one."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.draws import normal, seeded
from kdlandscape.landscape.evaluation.points import evaluate
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.params import Theta
from kdlandscape.landscape.sharpness.flatness import Climb, ascent


def profile(
    objective: MeanLoss,
    theta: Theta,
    radii: Sequence[float],
    *,
    num_directions: int = 16,
    steps: int = 20,
    generator: torch.Generator | None = None,
) -> xr.Dataset:
    r"""Evaluate the loss and the metrics over the radius: most-case, along random directions, and worst-case.

    Most-case: at :math:`\theta + r\,u` with u uniform on the unit sphere, the same u at all radii. Near a minimum the
    mean rise is :math:`r^2\,\mathrm{tr}(H) / 2P`. Worst-case: where the loss is largest within the ball of radius r, by
    projected ascent; near a minimum the rise is :math:`r^2 \lambda_{\max} / 2`. In many dimensions the two differ by
    far, and a network that is flat in most directions need not be in the worst one.

    Parameters
    ----------
    objective, theta
        The loss and its metrics; agreement with other predictions is a metric.
    radii
        R distances in weight space, increasing. Networks of different norm compare at shares of their norms.
    num_directions
        Random directions.
    steps
        Of ascent a start and radius. Three starts are tried: theta, the worst point of the radius before, and the worst
        random one.
    generator
        Draws the directions; default: seed 0.

    Returns
    -------
    xarray.Dataset
        ``loss`` and every metric over ``direction, radius``; ``worst_loss`` and so on over ``radius`` at the worst
        point, and its distance from theta, ``worst_distance``. Costs about R (num_directions + 6 steps) forward passes.

    Raises
    ------
    ValueError
        Radii that are not positive and increasing, or no direction.

    References
    ----------
    Chen et al., Unveiling the basin-like loss landscape in large language models, 2025 (arXiv 2505.17646), section 3.
    """
    radii = [float(radius) for radius in radii]
    if not radii or radii[0] <= 0 or any(b <= a for a, b in pairwise(radii)) or num_directions < 1:
        raise ValueError(f"expected positive, increasing radii and at least 1 direction, got {radii}, {num_directions}")
    loss, point = objective.at(theta)
    directions = normal(num_directions, point, seeded(generator, loss.device))
    directions = directions / directions.norm(dim=1, keepdim=True)
    around: dict[str, list[Tensor]] = {name: [] for name in loss.metric_names}
    worst = [Climb(0.0, torch.zeros_like(point))]
    for radius in radii:
        found = evaluate(loss, point + radius * directions)
        for name, values in found.items():
            around[name].append(values)
        highest = int(found["loss"].nan_to_num(-torch.inf).argmax())
        starts = [None, worst[-1].offset, radius * directions[highest]]
        climbs = [ascent(loss, point, radius, steps=max(steps, 2), start=start) for start in starts]
        worst.append(max([worst[-1], *climbs], key=lambda climb: climb.rise))
    offsets = torch.stack([climb.offset for climb in worst[1:]])
    at_worst = evaluate(loss, point + offsets)
    labelled: dict[str, xr.Variable | xr.DataArray] = {}
    for name in loss.metric_names:
        words, units = loss.labels[name]
        rows = torch.stack(around[name], 1).cpu()
        labelled[name] = variable(("direction", "radius"), rows, f"{words} along random directions", units)
        labelled[f"worst_{name}"] = variable(
            "radius", at_worst[name].cpu(), f"{words} at the largest loss found within the radius", units
        )
    labelled["worst_distance"] = variable("radius", offsets.norm(dim=1).cpu(), "distance of the largest loss found")
    coords = {
        "direction": range(num_directions),
        "radius": variable("radius", radii, "distance from theta", symbol="r"),
    }
    return dataset(labelled, coords, num_examples=loss.num_examples, norm=float(point.norm()), steps=steps)
