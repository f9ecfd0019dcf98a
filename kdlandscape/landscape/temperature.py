"""The loss at the temperature that makes it least: what is left of a barrier when confidence does not count."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from kdlandscape.landscape.reduction import Pooled, label_of

LOWEST, HIGHEST, STEP = -3.0, 3.0, 0.25  # powers of 2
WORDS = f"least over temperatures from {2**LOWEST:g} to {2**HIGHEST:g} of the mean loss of logits / temperature"


def calibrated_loss(loss: Callable[[Tensor, Any], Tensor]) -> Pooled:
    r"""Return the metric :math:`\min_T \frac1n \sum_i \ell(z_i / T, y_i)`, the loss at the calibrated temperature.

    Dividing the logits z by T changes the confidence of a network and none of its decisions (Guo et al. 2017, section
    4.2). The minimum is taken anew at every theta, over T from 1/8 to 8: at steps of a factor :math:`2^{1/4}`, and
    between three of them by the parabola through them in log T.

    Parameters
    ----------
    loss
        ``loss(logits, targets)`` with one value for each example. Costs 25 losses, and no forward pass more.
    """
    name, units = label_of(loss, "loss")
    each = at_temperatures(loss, _grid())
    return Pooled(each, lambda means: _vertex(means)[1], f"{name} at the calibrated temperature", units)


def best_temperature(loss: Callable[[Tensor, Any], Tensor]) -> Pooled:
    """Return the metric that gives the temperature of `calibrated_loss` itself, to about 2 % where it lies inside."""
    return Pooled(at_temperatures(loss, _grid()), lambda means: 2.0 ** _vertex(means)[0], "calibrated temperature")


def at_temperatures(
    loss: Callable[[Tensor, Any], Tensor], temperatures: Sequence[float]
) -> Callable[[Any, Any], Tensor]:
    """Return the function that gives (n, m) losses of logits (n, C) divided by each of m temperatures."""

    def each(outputs: Tensor, targets: Any) -> Tensor:
        return torch.stack([loss(outputs / one, targets) for one in temperatures], -1)

    return each


def _grid() -> list[float]:
    return [2.0**power for power in torch.arange(LOWEST, HIGHEST + STEP, STEP, dtype=torch.float64).tolist()]


def _vertex(means: Tensor) -> tuple[Tensor, Tensor]:
    """Return place (in powers of 2) and value of the least of the means (..., m); at an end, those of the end."""
    least = means.argmin(-1)
    middle = least.clamp(1, means.shape[-1] - 2)
    left, here, right = (means.gather(-1, (middle + k)[..., None])[..., 0] for k in (-1, 0, 1))
    bend = (left - 2 * here + right).clamp_min(torch.finfo(means.dtype).tiny)
    step = ((left - right) / (2 * bend)).clamp(-1, 1)
    inside = (least == middle) & torch.isfinite(step)
    value = here + (right - left) / 2 * step + (left - 2 * here + right) / 2 * step**2
    place = LOWEST + STEP * (middle + step)
    end = means.gather(-1, least[..., None])[..., 0]
    return torch.where(inside, place, LOWEST + STEP * least), torch.where(inside, value, end)
