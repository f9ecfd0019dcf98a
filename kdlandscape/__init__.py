"""Optimization landscapes in Jupyter, with knowledge distillation as the first subject.

Every public name is imported on first use, so that opening a cube never imports torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "kdlandscape.landscape.objective": ("Objective",),
    "kdlandscape.landscape.evaluation.strategy": ("Strategy",),
    "kdlandscape.landscape.reduction": ("Pooled",),
    "kdlandscape.landscape.paths.interpolation": ("interpolate", "interpolate_blocks", "barrier"),
    "kdlandscape.landscape.paths.barriers": ("barrier_matrix",),
    "kdlandscape.landscape.paths.curves": ("bezier",),
    "kdlandscape.landscape.permutations.alignment": ("align",),
    "kdlandscape.landscape.permutations.repair": ("repair",),
    "kdlandscape.landscape.directions": ("random_directions", "plane_through"),
    "kdlandscape.landscape.trajectory": ("pca_directions", "coordinates", "travel"),
    "kdlandscape.landscape.slices": ("slice_line", "slice_plane", "slice_grid"),
    "kdlandscape.landscape.curvature.spectra": ("top_eigenpairs", "spectral_density"),
    "kdlandscape.landscape.curvature.traces": ("trace", "diagonal"),
    "kdlandscape.landscape.curvature.spectral_paths": (
        "eigenpairs_along",
        "spectrum_along",
        "eigenspace_overlap",
        "perturb",
    ),
    "kdlandscape.landscape.sharpness.measures": ("sharpness",),
    "kdlandscape.cubes.spectra": ("effective_dimension",),
    "kdlandscape.landscape.along": ("along",),
    "kdlandscape.distillation.comparison": ("fidelity",),
    "kdlandscape.distillation.training": ("train", "distill"),
    "kdlandscape.distillation.similarity": ("cka", "layer_cka"),
    "kdlandscape.sweeps.record": ("record",),
    "kdlandscape.sweeps.study": ("run_study",),
    "kdlandscape.widgets.explorer": ("explore",),
    "kdlandscape.widgets.live_explorer": ("explore_plane",),
    "kdlandscape.cubes.store": ("open_cube", "missing", "read_checkpoints"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_SUBPACKAGES = ("cubes", "distillation", "figures", "landscape", "linalg", "sweeps", "widgets")

__all__ = ["__version__", *_HOME_OF, *_SUBPACKAGES]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    if name in _SUBPACKAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
