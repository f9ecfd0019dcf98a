"""How long a study will take, from its first runs on the workers that will execute it; and how long it took."""

import json
import math
import time
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from kdlandscape.cubes.files import names, write
from kdlandscape.cubes.schema import RUN
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.places import studies_root
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.processes import default_workers
from kdlandscape.sweeps.snapshot import status
from kdlandscape.sweeps.spec import Spec
from kdlandscape.sweeps.study import run_study

FILE = "forecast.json"


class Forecast(NamedTuple):
    """What the runs after the trial were expected to take, and what they took.

    Attributes
    ----------
    runs, workers
        Runs that were still missing after the trial, and the processes that execute them.
    trial
        Names of the runs of the trial.
    trial_seconds, seconds
        What the trial took, and what the other runs are expected to take.
    measured
        What they took, from the start of the first to the end of the last; None while one is missing.
    """

    runs: int
    workers: int
    trial: list[str]
    trial_seconds: float
    seconds: float
    measured: float | None = None

    def said(self) -> str:
        """Return it as one line."""
        said = f"{self.runs} runs on {self.workers} workers: {words(self.seconds)} expected"
        said += f" (the first {len(self.trial)} took {words(self.trial_seconds)})"
        if self.measured is None:
            return said
        return f"{said}, {words(self.measured)} measured, {self.measured / max(self.seconds, 1e-9):.2f} of it"


def take_forecast(
    spec: Spec, *, workers: int | None = None, root: Path | str | None = None, **options: Any
) -> Forecast:
    r"""Return how long a study will take, from a trial that the first call makes of its first runs.

    The trial executes one run for each of the W workers at the same time, so that it meets what they share; its results
    count, and are not made again. The r other runs take :math:`\lceil r / W \rceil` times as long. That is kept with
    the study, in ``forecast.json``; once all is done, the same call says what the runs took.

    Parameters
    ----------
    spec
        Checked, as `kdlandscape.sweeps.load_spec` gives it.
    workers, root, options
        As for `kdlandscape.run_study`.

    Raises
    ------
    StudyError
        If a run of the trial fails, if runs were done before it, which no trial can tell from, or if there are no more
        runs than workers: the trial would be the whole study.
    """
    folder = studies_root(root) / spec.study
    if (folder / FILE).is_file():
        return _with_measured(folder, Forecast(**json.loads((folder / FILE).read_text(encoding="utf-8"))))
    if names(folder / "runs", ".nc"):
        raise StudyError(f"{folder}: expected no run before the trial of a forecast, got some that are done")
    total, workers = len(plan(spec)), workers or default_workers()
    if total <= workers:
        raise StudyError(
            f"{spec.study}: expected more runs than workers, since the first run of each is the trial; got {total} on "
            f"{workers}: 'kdlandscape run' takes no longer than the trial would"
        )
    start = time.monotonic()
    run_study(spec, workers=workers, root=root, shard=f"0/{math.ceil(total / workers)}", **options)
    taken = time.monotonic() - start
    now = status(folder)
    if now.failed:
        raise StudyError(f"{folder}: expected the trial's runs to succeed, got {len(now.failed)} that failed")
    trial = [run.id for run in now.done]
    rest = len(now.missing)
    found = Forecast(rest, workers, trial, taken, taken * math.ceil(rest / workers))
    text = json.dumps(found._asdict())
    write(folder / FILE, lambda path: path.write_text(text, encoding="utf-8"))
    return _with_measured(folder, found)


def _with_measured(folder: Path, made: Forecast) -> Forecast:
    now = status(folder)
    others = [run.id for run in now.done if run.id not in made.trial]
    if now.missing or now.failed or not others:
        return made
    ends = []
    for name in others:
        with xr.open_dataset(folder / "runs" / f"{name}.nc", engine="netcdf4", decode_times=False) as run:
            start, taken = (run[f"{RUN}{fact}"].values.item() for fact in ("started_at", "wall_time"))
        began = datetime.fromisoformat(start).timestamp()  # to a second
        ends.append((began, began + float(taken)))
    return made._replace(measured=max(end for _, end in ends) - min(began for began, _ in ends))


def words(seconds: float) -> str:
    """Return a duration as "45 s", "3.2 min" or "5.1 h"."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
