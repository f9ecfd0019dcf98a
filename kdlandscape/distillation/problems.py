"""What a study is about: labelled data and a network that fits them, made by one call."""

from typing import NamedTuple

import torch
from torch import nn

from kdlandscape.distillation import data
from kdlandscape.distillation.data import Data
from kdlandscape.distillation.networks import network as build


class Problem(NamedTuple):
    """Labelled data, and the architecture of the teachers; its own weights are not used."""

    data: Data
    network: nn.Module


def problem(
    data_set: str,
    network: str = "mlp",
    *,
    num_train: int | None = None,
    num_fresh: int = 0,
    label_noise: float = 0.0,
    seed: int = 0,
    width: int | None = None,
    depth: int | None = None,
    norm: str | None = None,
    device: torch.device | str = "cpu",
) -> Problem:
    """Load a data set by name and build a network by name for it.

    Parameters
    ----------
    data_set, num_train, num_fresh, label_noise, seed
        The data; see `kdlandscape.distillation.data.load`.
    network, width, depth, norm
        The architecture; see `network_for`.
    device
        The device of the data.
    """
    loaded = data.load(data_set, num_train=num_train, num_fresh=num_fresh, label_noise=label_noise, seed=seed)
    return Problem(loaded.to(device), network_for(loaded, network, width=width, depth=depth, norm=norm))


def network_for(
    of: Data, name: str, *, width: int | None = None, depth: int | None = None, norm: str | None = None
) -> nn.Module:
    """Build a network by name for the inputs and classes of a data set; None leaves a setting to the network."""
    return build(
        name, of.num_features, of.num_classes, width=width, depth=depth, norm=norm, channels=of.channels, dims=of.dims
    )
