from .animations import animate
from .barrier_bars import basins, removed_share
from .compared import network_plane, network_spectra, pair_fidelity, pair_paths
from .cube_overview import overview
from .exporting import export, export_study, venue_style, venues
from .function_prior_lines import function_prior
from .generalization_bars import generalization, rescaling_ratios
from .grids import panels
from .lines import fidelity_accuracy, heatmap, init_lambda, line
from .mechanics_lines import mechanics
from .posterior_bars import posterior
from .spectral import eigenvalues, spectral_density
from .starts import shared_starts, start_angles, subliminal
from .surfaces import plane, planes, surface
from .training_paths import stability, training_path
from .verdicts import agreement, claims

__all__ = [
    "agreement",
    "animate",
    "basins",
    "claims",
    "eigenvalues",
    "export",
    "export_study",
    "fidelity_accuracy",
    "function_prior",
    "generalization",
    "heatmap",
    "init_lambda",
    "line",
    "mechanics",
    "network_plane",
    "network_spectra",
    "overview",
    "pair_fidelity",
    "pair_paths",
    "panels",
    "plane",
    "planes",
    "posterior",
    "removed_share",
    "rescaling_ratios",
    "shared_starts",
    "spectral_density",
    "stability",
    "start_angles",
    "subliminal",
    "surface",
    "training_path",
    "venue_style",
    "venues",
]
