# The public names of this folder: editors, type checkers and the lazy import read this one file.
from . import augment, data, losses, metrics, networks, vision
from .arms import (
    arm_fidelity,
    arm_invariance,
    distil_arm,
    epochs_for,
    initial_students,
    random_teacher,
    steps_in,
    teacher_groups,
)
from .augment import named_views, one_pass
from .auxiliary import labels_on, teacher_on, with_head
from .comparison import excess, fidelity
from .copies import Members, joined, members
from .data import Data
from .descent import Checkpoint, Trained
from .distances import distances_to_teacher
from .each_network import network_losses, network_spectra, objectives_of
from .function_priors import mutual_agreement, on_sphere, output_correlation, pairs_at, prior_weights, relu_correlation
from .inputs import distillation_set
from .loaded import Loaded, load_networks
from .losses import at_best_temperature, ensemble_logits, named_loss, tempered_kl, to_teacher
from .networks import mixed_starts, network, random_thetas
from .own_loop import shuffled
from .pairwise import pairwise_fidelity, pairwise_paths, plane_through_networks
from .partners import Partners, train_partners
from .predictions import Teacher, ensemble_of, linearized_logits, logits
from .problem_files import ProblemError
from .problems import Problem, first_examples, network_for, problem
from .recipe import Recipe
from .similarity import cka, layer_similarity
from .stability import same_start_barrier
from .start_planes import planes_through_starts
from .stopping import Stopped, first_below
from .tallies import Tally, tally
from .teachers import train_teachers
from .training import distill, train
from .weight_files import CheckpointError

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Data",
    "Loaded",
    "Members",
    "Partners",
    "Problem",
    "ProblemError",
    "Recipe",
    "Stopped",
    "Tally",
    "Teacher",
    "Trained",
    "arm_fidelity",
    "arm_invariance",
    "at_best_temperature",
    "augment",
    "cka",
    "data",
    "distances_to_teacher",
    "distil_arm",
    "distill",
    "distillation_set",
    "ensemble_logits",
    "ensemble_of",
    "epochs_for",
    "excess",
    "fidelity",
    "first_below",
    "first_examples",
    "initial_students",
    "joined",
    "labels_on",
    "layer_similarity",
    "linearized_logits",
    "load_networks",
    "logits",
    "losses",
    "members",
    "metrics",
    "mixed_starts",
    "mutual_agreement",
    "named_loss",
    "named_views",
    "network",
    "network_for",
    "network_losses",
    "network_spectra",
    "networks",
    "objectives_of",
    "on_sphere",
    "one_pass",
    "output_correlation",
    "pairs_at",
    "pairwise_fidelity",
    "pairwise_paths",
    "plane_through_networks",
    "planes_through_starts",
    "prior_weights",
    "problem",
    "random_teacher",
    "random_thetas",
    "relu_correlation",
    "same_start_barrier",
    "shuffled",
    "steps_in",
    "tally",
    "teacher_groups",
    "teacher_on",
    "tempered_kl",
    "to_teacher",
    "train",
    "train_partners",
    "train_teachers",
    "vision",
    "with_head",
]
