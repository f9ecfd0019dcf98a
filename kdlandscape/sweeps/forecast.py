"""How long a study will take, from a trial in which long training stops after its first steps; and what it took."""

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from kdlandscape.cubes.clock_ahead import notes, trial
from kdlandscape.cubes.files import names, write
from kdlandscape.cubes.schema import RUN
from kdlandscape.sweeps.adoption import check_recipe
from kdlandscape.sweeps.composition import STUDIES
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.places import studies_root
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.spec import Spec
from kdlandscape.sweeps.study import run_study

FILE = "forecast.json"


class Forecast(NamedTuple):
    """What runs are expected to take, and what they took.

    Attributes
    ----------
    runs, workers
        Ids of the runs that were missing, and the number of processes that execute them.
    executed
        How many of them the trial has executed.
    trial_seconds, seconds
        What the trial took, and what the runs are expected to take from the start of the first to the end of the last.
    studies
        What the trial has found of each study that the runs execute, with ``study``, ``runs``, ``executed``,
        ``workers`` and ``seconds``; the study itself comes last.
    failed
        Runs that ended in an error after their work was done, which a trial of hardly trained networks excuses.
    measured
        What the runs took, in the same sense as ``seconds``; None while one is missing.
    """

    runs: list[str]
    workers: int
    executed: int
    trial_seconds: float
    seconds: float
    studies: list[dict[str, Any]]
    failed: list[str]
    measured: float | None = None

    def said(self) -> str:
        """Return it in words, a line for each thing to say."""
        said = f"{len(self.runs)} runs on {self.workers} workers: {words(self.seconds)} expected, from a trial of "
        said += f"{words(self.trial_seconds)} ({self.executed} runs, with the first steps of each training)"
        if self.measured is not None:
            said += f"; {words(self.measured)} measured, {self.measured / max(self.seconds, 1e-9):.2f} of it"
        lines = [
            f"  {one['study']}: {words(one['seconds'])}, {one['runs']} runs on {one['workers']} workers"
            for one in self.studies[:-1]
        ]
        lines += [f"  only its time up to there counts: {one}" for one in self.failed]
        if self.failed:
            lines.append("  A check may fail for want of training; if it is not that, it fails in the study too.")
        return "\n".join([said, *lines])


def take_forecast(
    spec: Spec, *, workers: int | None = None, root: Path | str | None = None, **options: Any
) -> Forecast:
    """Return how long the missing runs of a study will take; once all are done, also what they took.

    The first call makes a trial, and keeps what it finds with the study, in ``forecast.json``. The trial executes the
    notebooks in a folder of its own: all runs, or two for each worker if there are more. Training by
    `kdlandscape.train` and `kdlandscape.distill` stops after about half a second of steps, and what the other steps
    would take is added; everything else is executed as it is, a training loop of the user's own too. A study that a
    notebook executes is treated alike. Nothing that the trial makes stays, but for files that a notebook writes by
    itself.

    Parameters
    ----------
    spec
        Checked, as `kdlandscape.sweeps.load_spec` gives it.
    workers, root, options
        As for `kdlandscape.run_study`.

    Raises
    ------
    StudyError
        If no run is missing, if a run of the trial fails in its work, or as `kdlandscape.run_study` does.
    """
    folder = studies_root(root) / spec.study
    ids, done = [run.id for run in plan(spec)], _done(folder)
    made = _kept(folder)
    if made is not None and workers in (None, made.workers) and set(made.runs) <= set(ids) <= {*made.runs, *done}:
        return _with_measured(folder, made)
    check_recipe(spec, folder)
    missing = [name for name in ids if name not in done]
    if not missing:
        raise StudyError(f"{folder}: expected runs that are missing, to say what they will take; got none")
    with trial() as place:
        began = time.monotonic()
        run_study(spec, workers=workers, root=root, **options)
        taken = time.monotonic() - began
        studies = notes(place / STUDIES)
    found = _forecast(spec, missing, taken, studies)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / FILE, lambda path: path.write_text(json.dumps(found._asdict(), indent=1), encoding="utf-8"))
    return found


def _forecast(spec: Spec, missing: list[str], taken: float, studies: list[dict[str, Any]]) -> Forecast:
    if not studies:
        raise StudyError(f"{spec.study}: expected runs that can be executed now, got none")
    failed = [(one["study"], *failure.values()) for one in studies for failure in one["failed"]]
    for study, run, error, excused in failed:
        if not excused:
            raise StudyError(
                f"{study}: expected the runs of the trial to succeed, got {run}, which failed: {error}\nNetworks of a "
                "trial are hardly trained; 'kdlandscape run' executes the run as it is, and keeps its notebook and its "
                "error"
            )
    whole = studies[-1]
    kept = [{key: one[key] for key in ("study", "runs", "executed", "workers", "seconds", "taken")} for one in studies]
    told = [f"{study}/{run}: {error}" for study, run, error, _ in failed]
    return Forecast(missing, whole["workers"], whole["executed"], taken, whole["seconds"], kept, told)


def _kept(folder: Path) -> Forecast | None:
    path = folder / FILE
    return Forecast(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _done(folder: Path) -> set[str]:
    return names(folder / "runs", ".nc")


def _with_measured(folder: Path, made: Forecast) -> Forecast:
    if not set(made.runs) <= _done(folder):
        return made
    spans = []
    for name in made.runs:
        with xr.open_dataset(folder / "runs" / f"{name}.nc", engine="netcdf4", decode_times=False) as run:
            start, taken = (run[f"{RUN}{fact}"].values.item() for fact in ("started_at", "wall_time"))
        began = datetime.fromisoformat(start).timestamp()  # to a second
        spans.append((began, began + float(taken)))
    return made._replace(measured=max(end for _, end in spans) - min(began for began, _ in spans))


def words(seconds: float) -> str:
    """Return a duration as "45 s", "3.2 min" or "5.1 h"."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
