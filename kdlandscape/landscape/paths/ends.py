"""What several networks share: a path or a plane between them needs one loss for all of them."""

from collections.abc import Collection

from torch import Tensor

from kdlandscape.landscape.batch_norm import running_statistics
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.network import differing
from kdlandscape.landscape.params import Theta


def shared_loss(loss: MeanLoss, *thetas: Theta, free: Collection[str] = ()) -> tuple[MeanLoss, list[Tensor]]:
    """Return the loss that several networks share, and their flat points (P,).

    Buffers in ``free`` may differ; the loss has those of the first network.

    Raises
    ------
    SpaceError
        A theta of another space.
    ValueError
        Networks whose buffers or frozen parameters differ, which no path joins; the message names the first. With
        ``bn="recalibrate"`` running statistics may differ, since they are re-estimated at every point.
    """
    losses, points = zip(*(loss.at(theta) for theta in thetas), strict=True)
    free = free if loss.bn != "recalibrate" else running_statistics(loss.model)
    for other in losses[1:]:
        held = {name: tensor for name, tensor in other.constants.items() if name not in free}
        name = differing(held, losses[0].constants)
        if name is not None:
            raise ValueError(
                f"{name!r} differs between the networks, and no path joins what is no trainable parameter: for the "
                "running statistics of BatchNorm give bn='recalibrate'; else give flat thetas, to take what the "
                "objective holds for all of them"
            )
    return losses[0], list(points)
