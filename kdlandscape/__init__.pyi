# The public face: editors, type checkers and the lazy import read this one file.
from . import cubes, distillation, figures, landscape, linalg, studies, sweeps, widgets
from .cubes.spectra import effective_dimension
from .cubes.store import missing, open_cube, read_checkpoints
from .cubes.variables import dataset, variable
from .distillation.comparison import fidelity
from .distillation.problems import Problem, problem
from .distillation.recipe import Recipe
from .distillation.similarity import cka, layer_similarity, procrustes
from .distillation.training import distill, train
from .landscape.curvature.curvatures import empirical_fisher, fisher, ggn, hessian
from .landscape.curvature.questions import Curvature
from .landscape.curvature.spectral_paths import eigenspace_overlap, perturb, spectrum_along
from .landscape.directions import plane_through, random_directions
from .landscape.evaluation.strategy import Strategy
from .landscape.local_learning import learning_coefficient
from .landscape.objective import Objective
from .landscape.paths.barriers import barrier_matrix
from .landscape.paths.curves import bezier
from .landscape.paths.interpolation import barrier, interpolate, interpolate_blocks
from .landscape.permutations.alignment import align
from .landscape.permutations.repair import repair
from .landscape.permutations.rescaling import rescaling
from .landscape.profiles import profile
from .landscape.recorded import open_trajectory
from .landscape.recorder import Recorder
from .landscape.reduction import Pooled, labelled
from .landscape.sharpness.measures import sharpness
from .landscape.slices import slice_grid, slice_line, slice_plane
from .landscape.training_probe import training_path
from .landscape.trajectory import pca_directions
from .reports.study_report import write_report
from .sweeps.record import record
from .sweeps.study import run_study
from .widgets.explorer import explore
from .widgets.live_explorer import explore_plane

__version__: str

__all__ = [
    "Curvature",
    "Objective",
    "Pooled",
    "Problem",
    "Recipe",
    "Recorder",
    "Strategy",
    "__version__",
    "align",
    "barrier",
    "barrier_matrix",
    "bezier",
    "cka",
    "cubes",
    "dataset",
    "distill",
    "distillation",
    "effective_dimension",
    "eigenspace_overlap",
    "empirical_fisher",
    "explore",
    "explore_plane",
    "fidelity",
    "figures",
    "fisher",
    "ggn",
    "hessian",
    "interpolate",
    "interpolate_blocks",
    "labelled",
    "landscape",
    "layer_similarity",
    "learning_coefficient",
    "linalg",
    "missing",
    "open_cube",
    "open_trajectory",
    "pca_directions",
    "perturb",
    "plane_through",
    "problem",
    "procrustes",
    "profile",
    "random_directions",
    "read_checkpoints",
    "record",
    "repair",
    "rescaling",
    "run_study",
    "sharpness",
    "slice_grid",
    "slice_line",
    "slice_plane",
    "spectrum_along",
    "studies",
    "sweeps",
    "train",
    "training_path",
    "variable",
    "widgets",
    "write_report",
]
