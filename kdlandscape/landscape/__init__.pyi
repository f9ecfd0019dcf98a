from .basins import aligned_paths
from .loss import MeanLoss
from .many_networks import along
from .params import SpaceError
from .paths.interpolation import mix
from .reduction import accuracy, calibration_error, cross_entropy, error
from .trajectory import coordinates, travel

__all__ = [
    "MeanLoss",
    "SpaceError",
    "accuracy",
    "aligned_paths",
    "along",
    "calibration_error",
    "coordinates",
    "cross_entropy",
    "error",
    "mix",
    "travel",
]
