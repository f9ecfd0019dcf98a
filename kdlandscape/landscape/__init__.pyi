from .basins import aligned_paths
from .callbacks import AccelerateRecorder, lightning_recorder, trainer_recorder
from .loss import MeanLoss
from .many_networks import along
from .params import SpaceError
from .paths.interpolation import mix
from .recorded import Recorded, stability_threshold
from .recorder import Overhead
from .reduction import accuracy, calibration_error, cross_entropy, error
from .trajectory import coordinates, travel

__all__ = [
    "AccelerateRecorder",
    "MeanLoss",
    "Overhead",
    "Recorded",
    "SpaceError",
    "accuracy",
    "aligned_paths",
    "along",
    "calibration_error",
    "coordinates",
    "cross_entropy",
    "error",
    "lightning_recorder",
    "mix",
    "stability_threshold",
    "trainer_recorder",
    "travel",
]
