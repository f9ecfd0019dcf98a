from .basins import aligned_paths
from .callbacks import AccelerateRecorder, lightning_recorder, trainer_recorder
from .gaussian_posteriors import GaussianPosterior, laplace, swag
from .local_learning import learning_coefficient
from .loss import MeanLoss
from .many_networks import along
from .params import SpaceError
from .paths.interpolation import mix
from .permutations.by_loss import align_by_loss
from .permutations.rescaling import rescaled
from .profiles import profile
from .recorded import Recorded, stability_threshold
from .recorder import Overhead
from .reduction import accuracy, calibration_error, cross_entropy, error
from .sampling import Chains, gaussian_prior, hmc, posterior_energy
from .sharpness.capacity import CAPACITY, capacity
from .trajectory import coordinates, travel

__all__ = [
    "CAPACITY",
    "AccelerateRecorder",
    "Chains",
    "GaussianPosterior",
    "MeanLoss",
    "Overhead",
    "Recorded",
    "SpaceError",
    "accuracy",
    "align_by_loss",
    "aligned_paths",
    "along",
    "calibration_error",
    "capacity",
    "coordinates",
    "cross_entropy",
    "error",
    "gaussian_prior",
    "hmc",
    "laplace",
    "learning_coefficient",
    "lightning_recorder",
    "mix",
    "posterior_energy",
    "profile",
    "rescaled",
    "stability_threshold",
    "swag",
    "trainer_recorder",
    "travel",
]
