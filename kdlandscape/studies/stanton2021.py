"""The claims of Stanton et al. 2021 (and of a few follow-ups), as this package tests them at laptop scale.

The bounds follow the paper's words and numbers. "No effect" means an interval within the stated margin of 0. Where the
paper's threshold is a number of CIFAR-100, a positive control of our own is the yardstick. A claim is tested only where
its preconditions are shown: a teacher that has learned its data, and a recipe that can match one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from kdlandscape.cubes.store import open_cube
from kdlandscape.studies.claims import (
    Claim,
    Measure,
    Number,
    Precondition,
    best_of,
    difference,
    pick,
    value,
)
from kdlandscape.studies.decisions import Bounds
from kdlandscape.studies.verdict_table import findings_on

TEST: dict[str, Any] = {"split": "test"}
TRAIN: dict[str, Any] = {"split": "train"}
SOFT: dict[str, Any] = {"temperature": 4.0}
COMBINED = "shift+jitter+noise"
MOST_FRESH, MOST_CONTROL, LONGEST = 12000, 32000, 8000


def trained(study: str, above: float = 0.95) -> Precondition:
    """Return the precondition that a study's teachers have learned their own training data."""
    statistic = "teacher's accuracy on its own training data"
    number = Number(study, statistic, _train_accuracy)
    return Precondition("the teacher is trained", number, Bounds(above=above))


def _train_accuracy(cube: xr.Dataset) -> xr.DataArray:
    if "teacher_train_accuracy" not in cube:
        raise KeyError("no variable is called 'teacher_train_accuracy'")
    values = cube["teacher_train_accuracy"]
    return values.mean([dim for dim in values.dims if dim != "seed"])


CONTROL = Number("paper_control", "the positive control's test agreement",
                 value("agreement", num_fresh=MOST_CONTROL, **TEST, **SOFT))  # fmt: skip
BARE = Number("paper_views", "train agreement, no augmentation, τ = 1",
              value("agreement", augmentation="none", temperature=1.0, ensemble_size=1, **TRAIN))  # fmt: skip
CONTROLLED = Precondition("the recipe can match its teacher", CONTROL, Bounds(above=0.98))
MATCHED = Precondition("the student matches its teacher where nothing is in the way", BARE, Bounds(above=0.98))
#: Where training is stable at initialization, sharing the start helps (Frankle et al. 2020): the claim is silent.
UNSTABLE = Precondition(
    "two runs from one start end beyond a barrier",
    Number("paper_init", "barrier between two runs from one start [nat]", value("same_start_barrier", init="teacher")),
    Bounds(above=0.5),
)
#: The demo's teacher is a small convolutional network that has not learned its data by heart.
DEMO = (trained("demo", above=0.9),)


def _worst_foreign(cube: xr.Dataset) -> xr.DataArray:
    """Return the better of both foreign sets, chosen on the other seeds, minus the training set, seed by seed."""
    foreign = best_of("agreement", "distill_on", {**TEST, **SOFT}, leave_out=["train", "fresh"])
    return foreign(cube) - pick(cube, "agreement", **TEST, **SOFT, distill_on="train")


def _union(cube: xr.Dataset) -> xr.DataArray:
    """Return the agreement on the union minus that on the better half, chosen on the other seeds."""
    half = best_of("agreement", "distill_on", {**TEST, **SOFT, "ensemble_size": 1}, leave_out=["both"])
    return pick(cube, "agreement", **TEST, **SOFT, ensemble_size=1, distill_on="both") - half(cube)


def _labels(cube: xr.Dataset) -> xr.DataArray:
    """Return the agreement at the best weight of the labels above 0, chosen on the other seeds, minus that at 0."""
    best = best_of("agreement", "hard_weight", {**TEST, **SOFT, "ensemble_size": 1}, leave_out=[0.0])
    return best(cube) - pick(cube, "agreement", **TEST, **SOFT, ensemble_size=1, hard_weight=0.0)


def _growth(cube: xr.Dataset) -> xr.DataArray:
    ratio = cube["distance_end"] / cube["distance_start"]
    kept = ratio.sel(lr_policy="constant")
    return kept.sel(init_lambda=0.0) - kept.sel(init_lambda=0.5)


def _agreement(these: dict, those: dict, **both: object) -> Measure:
    return difference("agreement", these, those, **TEST, **both)


def _claim(
    name: str,
    source: str,
    statement: str,
    study: str,
    statistic: str,
    measure: Measure,
    *,
    needs: tuple[Precondition, ...] = (),
    **bounds: Any,
) -> Claim:
    """Return a claim about a study whose teachers have to be trained; the demo says so by its own precondition."""
    own = DEMO if study == "demo" else (trained(study),)
    return Claim(name, source, statement, Number(study, statistic, measure), needs=own + needs, **bounds)


CLAIMS = [
    _claim("1a-agreement", "Fig. 1a", "more distillation data raise test agreement", "paper_data",
          f"test agreement, {MOST_FRESH} fresh examples more minus none",
          _agreement({"num_fresh": MOST_FRESH}, {"num_fresh": 0}, ensemble_size=1, **SOFT), above=0),
    _claim("1a-accuracy", "Fig. 1a", "while the student's accuracy falls", "paper_data",
          "student test accuracy, the same difference",
          difference("student_accuracy", {"num_fresh": MOST_FRESH}, {"num_fresh": 0}, ensemble_size=1, **TEST, **SOFT),
          below=0),
    _claim("1b-agreement", "Fig. 1b", "with an ensemble of 3 more data raise agreement", "paper_data",
          "test agreement, the same difference",
          _agreement({"num_fresh": MOST_FRESH}, {"num_fresh": 0}, ensemble_size=3, **SOFT), above=0),
    _claim("1b-accuracy", "Fig. 1b", "and accuracy: fidelity and generalization go together", "paper_data",
          "student test accuracy, the same difference",
          difference("student_accuracy", {"num_fresh": MOST_FRESH}, {"num_fresh": 0}, ensemble_size=3, **TEST, **SOFT),
          above=0),
    _claim("2-99", "Fig. 2", "with enough data a student, here four times as wide, agrees over 99 %", "paper_control",
          f"test agreement, {MOST_CONTROL} fresh examples", value("agreement", num_fresh=MOST_CONTROL, **TEST, **SOFT),
          above=0.99),
    _claim("2-grows", "Fig. 2", "agreement grows with the data", "paper_control",
          f"test agreement, {MOST_CONTROL} fresh examples minus 2000",
          _agreement({"num_fresh": MOST_CONTROL}, {"num_fresh": 2000}, **SOFT), above=0),
    _claim("3-mixup", "Fig. 3", "MixUp with τ = 4 beats the baseline in agreement", "paper_views",
          "test agreement, MixUp τ = 4 minus none τ = 1",
          _agreement({"augmentation": "mixup", "temperature": 4.0}, {"augmentation": "none", "temperature": 1.0},
                     ensemble_size=1), above=0),
    _claim("3-best", "Fig. 3", "no augmentation comes within 2 points of the positive control", "paper_views",
          "test agreement of the best augmentation (chosen on the other seeds), τ = 4",
          best_of("agreement", "augmentation", {**TEST, **SOFT, "ensemble_size": 1}), below=-0.02, yardstick=CONTROL,
          needs=(CONTROLLED,)),
    _claim("3-control", "Fig. 3", "an independent student agrees nearly as much (within 5 points)", "paper_views",
          "excess over the independent student, no augmentation, τ = 1",
          value("excess_agreement", augmentation="none", temperature=1.0, ensemble_size=1, **TEST), below=0.05),
    _claim("11-foreign", "Fig. 11", "foreign inputs and noise fail", "paper_inputs",
          "test agreement, better of both minus the training inputs", _worst_foreign, below=0),
    _claim("4-fidelity", "Fig. 4", "held-out data give more fidelity than the teacher's own", "paper_halves",
          "test agreement, held-out minus own",
          _agreement({"distill_on": "held_out"}, {"distill_on": "train"}, ensemble_size=1, **SOFT), above=0),
    _claim("4-accuracy", "Fig. 4", "the teacher's own data give more accuracy", "paper_halves",
          "student test accuracy, own minus held-out",
          difference("student_accuracy", {"distill_on": "train"}, {"distill_on": "held_out"}, ensemble_size=1,
                     **TEST, **SOFT), above=0),
    _claim("4-union", "Fig. 4", "the union is best", "paper_halves",
          "test agreement, both minus the better half", _union, above=0),
    _claim("5-baseline", "Fig. 5", "without augmentation the student matches its teacher on the distillation data",
          "paper_views", BARE.statistic, BARE.measure, above=0.98),
    _claim("5-train", "Fig. 5", "on combined augmentation it does not even match there", "paper_views",
          "train agreement, combined minus none, τ = 4",
          difference("agreement", {"augmentation": COMBINED}, {"augmentation": "none"}, ensemble_size=1,
                     **TRAIN, **SOFT), below=0, needs=(MATCHED,)),
    _claim("5-test", "Fig. 5", "yet the combined augmentation has the better test agreement", "paper_views",
          "test agreement, combined minus none, τ = 4",
          _agreement({"augmentation": COMBINED}, {"augmentation": "none"}, ensemble_size=1, **SOFT), above=0),
    _claim("6a-longer", "Fig. 6a", "longer training raises train agreement", "paper_training",
          "train agreement, 16 times the steps, SGD",
          difference("agreement", {"student_steps": LONGEST}, {"student_steps": 500}, optimizer="sgd", **TRAIN),
          above=0),
    _claim("6a-short", "Fig. 6a", "but not to within 2 points of the match without augmentation", "paper_training",
          "train agreement at the longest, SGD",
          value("agreement", student_steps=LONGEST, optimizer="sgd", **TRAIN), below=-0.02, yardstick=BARE,
          needs=(MATCHED,)),
    _claim("6a-adam", "Fig. 6a", "and Adam does no better (within 3 points)", "paper_training",
          "train agreement at the longest, Adam minus SGD",
          difference("agreement", {"optimizer": "adam"}, {"optimizer": "sgd"}, student_steps=LONGEST, **TRAIN),
          below=0.03),
    _claim("6b-lambda", "Fig. 6b", "a student that starts near its teacher matches it better", "demo",
          "train agreement, λ = 0.5 minus λ = 0",
          difference("agreement", {"init_lambda": 0.5}, {"init_lambda": 0.0}, lr_policy="constant", **TRAIN), above=0),
    _claim("6b-fixed", "Fig. 6b", "at λ = 1 it stays", "demo", "train agreement at λ = 1",
          value("agreement", init_lambda=1.0, lr_policy="constant", **TRAIN), above=0.999),
    _claim("6c-barrier", "Fig. 6c", "at λ = 0 the student ends beyond a barrier, at λ = 0.5 not", "demo",
          "linear barrier to the teacher, λ = 0 minus λ = 0.5 [nat]",
          difference("barrier", {"init_lambda": 0.0}, {"init_lambda": 0.5}, lr_policy="constant"), above=0),
    _claim("6c-distance", "Fig. 6c", "at λ = 0 training leads away from the teacher, at λ = 0.5 towards it", "demo",
          "distance to the teacher, end over start, λ = 0 minus λ = 0.5", _growth, above=0),
    _claim("t1-init", "Tab. 1", "the teacher's initial weights do not help (within 2 points)", "paper_init",
          "test agreement, teacher's start minus random",
          _agreement({"init": "teacher"}, {"init": "random"}, **SOFT), above=-0.02, below=0.02, needs=(UNSTABLE,)),
    _claim("9-warm", "Fig. 9", "a temperature of 4 raises agreement over 1", "paper_temperature",
          "test agreement, τ = 4 minus τ = 1, m = 1",
          _agreement({"temperature": 4.0}, {"temperature": 1.0}, ensemble_size=1), above=0),
    _claim("9-flat", "Fig. 9", "and more adds nothing (within 2 points)", "paper_temperature",
          "test agreement, τ = 16 minus τ = 4, m = 1",
          _agreement({"temperature": 16.0}, {"temperature": 4.0}, ensemble_size=1), above=-0.02, below=0.02),
    _claim("10-size", "Fig. 10", "larger ensembles are matched better", "paper_ensemble",
          "test agreement, m = 8 minus m = 1",
          _agreement({"ensemble_size": 8}, {"ensemble_size": 1}, **SOFT), above=0),
    _claim("10-flat", "Fig. 10", "student accuracy saturates past m = 4 (within 1 point)", "paper_ensemble",
          "student test accuracy, m = 8 minus m = 4",
          difference("student_accuracy", {"ensemble_size": 8}, {"ensemble_size": 4}, **TEST, **SOFT),
          above=-0.01, below=0.01),
    _claim("12-capacity", "Fig. 12", "a larger student agrees a little more", "paper_capacity",
          "test agreement, 4 times the teacher's width minus the teacher's",
          _agreement({"student_width": 128}, {"student_width": 32}, **SOFT), above=0),
    _claim("13-network", "Fig. 13", "another architecture does not get there either (within 2 points)", "paper_network",
          "test agreement of the best augmentation (chosen on the other seeds), τ = 4, CNN",
          best_of("agreement", "augmentation", {**TEST, **SOFT}), below=-0.02, yardstick=CONTROL, needs=(CONTROLLED,)),
    _claim("14-hard", "Fig. 14", "labels do not help fidelity (by less than 1 point)", "paper_hard",
          "test agreement, best hard weight above 0 (chosen on the other seeds) minus 0, m = 1", _labels, below=0.01),
    _claim("t2-domain", "Tab. 2", "ensembles are matched better in another domain too", "paper_domain",
          "test agreement on digits, m = 5 minus m = 1",
          _agreement({"ensemble_size": 5}, {"ensemble_size": 1}, **SOFT), above=0),
    _claim("random", "Mason-Williams 2025", "a student of random labels does not agree (below 20 %)", "paper_random",
          "test agreement with the trained teacher, student of noise",
          value("agreement", teacher="random", **TEST, **SOFT), below=0.2),
    _claim("errors", "Mason-Williams 2025", "students copy their teacher's errors", "paper_views",
          "agreement where the teacher errs, in excess of the independent student, no augmentation, τ = 4",
          value("excess_teacher_wrong", augmentation="none", ensemble_size=1, **TEST, **SOFT), above=0),
    _claim("confidence", "Nagarajan 2023", "students exaggerate their teacher's confidence", "paper_views",
          "slope of student on teacher logits, training data, no augmentation, τ = 1",
          value("confidence_slope", augmentation="none", temperature=1.0, ensemble_size=1, **TRAIN), above=1),
]  # fmt: skip

#: The studies that the claims need, by spec; each is also the study's name.
STUDIES = tuple(dict.fromkeys(claim.number.study for claim in CLAIMS))


def open_studies(root: Path, names: Sequence[str]) -> dict[str, xr.Dataset]:
    """Return the cubes of those studies under a folder that have one."""
    return {name: open_cube(root / name) for name in names if (root / name / "cube.nc").is_file()}


def findings(cube: xr.Dataset) -> list[str]:
    """Return the verdicts on those claims of the paper that one study decides.

    Raises
    ------
    ValueError
        If no claim is about a study of the cube's name.
    """
    return findings_on(CLAIMS, cube)
