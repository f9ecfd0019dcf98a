"""Dataset in, matplotlib axes out: each function is named after what it draws."""

from kdlandscape.figures.basins import basins, removed_share
from kdlandscape.figures.claims import agreement, claims
from kdlandscape.figures.files import export, export_study, venue_style, venues
from kdlandscape.figures.lines import fidelity_accuracy, heatmap, init_lambda, line
from kdlandscape.figures.panels import panels
from kdlandscape.figures.spectra import eigenvalues, spectral_density
from kdlandscape.figures.surfaces import plane, planes, surface

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
