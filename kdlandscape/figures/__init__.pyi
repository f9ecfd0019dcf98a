from .basins import basins, removed_share
from .claims import agreement, claims
from .files import export, export_study, venue_style, venues
from .lines import fidelity_accuracy, heatmap, init_lambda, line
from .panels import panels
from .spectra import eigenvalues, spectral_density
from .surfaces import plane, planes, surface

__all__ = [
    "agreement",
    "basins",
    "claims",
    "eigenvalues",
    "export",
    "export_study",
    "fidelity_accuracy",
    "heatmap",
    "init_lambda",
    "line",
    "panels",
    "plane",
    "planes",
    "removed_share",
    "spectral_density",
    "surface",
    "venue_style",
    "venues",
]
