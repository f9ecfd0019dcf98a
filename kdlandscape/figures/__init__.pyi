from .barriers import basins, removed_share
from .files import export, export_study, venue_style, venues
from .layout import panels
from .lines import fidelity_accuracy, heatmap, init_lambda, line
from .spectra import eigenvalues, spectral_density
from .surfaces import plane, planes, surface
from .verdicts import agreement, claims

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
