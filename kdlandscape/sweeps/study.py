"""Run a study: execute what is missing, keep every result and every error, make the cube."""

import warnings
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

from kdlandscape.cubes.files import DiskFullError, names
from kdlandscape.cubes.store import CubeError, compact
from kdlandscape.cubes.user_paths import remember_folder
from kdlandscape.sweeps.adoption import Choice, adopt
from kdlandscape.sweeps.axis_labels import axis_labels
from kdlandscape.sweeps.composition import composed
from kdlandscape.sweeps.drive import Engine, drive
from kdlandscape.sweeps.engines import local
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.factory_check import check_factory
from kdlandscape.sweeps.first_look import FirstLook, look_at
from kdlandscape.sweeps.job import Job, stamp
from kdlandscape.sweeps.loading import load_spec, make_spec
from kdlandscape.sweeps.options import check_options
from kdlandscape.sweeps.places import studies_root
from kdlandscape.sweeps.plan import Run, plan, shard_of
from kdlandscape.sweeps.processes import can_fork
from kdlandscape.sweeps.progress import Bar, Lines, Progress, Silent
from kdlandscape.sweeps.snapshot import Status, reopen, status
from kdlandscape.sweeps.spec import Spec
from kdlandscape.sweeps.upstream import bind, waiting
from kdlandscape.sweeps.workspace import Workspace, workspace


class WaitingRuns(UserWarning):
    """Runs take checkpoints from runs of another study that are not done."""


def run_study(
    spec: Spec | Mapping[str, Any] | Path | str,
    *,
    workers: int | None = None,
    root: Path | str | None = None,
    progress: bool | str = True,
    retry_failed: bool = False,
    time_limit: float | None = None,
    cell_limit: float | None = None,
    warm: bool | None = False,
    shard: str | None = None,
    scheduler: str | None = None,
    changed: Choice | None = None,
) -> Path:
    """Execute the runs of a study that are missing, and make its cube.

    A run that fails leaves an error record, and the study goes on.  Interrupted, it ends its workers, makes the cube
    of what is finished and raises KeyboardInterrupt; calling it again goes on.  Several drivers may run one study at
    once: each run is executed by one of them.

    Parameters
    ----------
    spec
        A checked spec, its content, a YAML file, or the folder of a study that was run before.
    workers
        Number of worker processes; default: one for each usable GPU, or else for each usable core.
    root
        Folder of studies; default: see ``sweeps.places.studies_root``.
    progress
        Show a progress bar on standard error; ``"json"``: print a JSON object a line on standard output.
    retry_failed
        Also execute runs that left an error record.
    time_limit, cell_limit
        Seconds after which a run, or one cell of it, is stopped and the run counts as failed; default: never.
    warm
        Fork each kernel from a process that has done the notebook's imports, instead of starting a new interpreter;
        None: where the system can (Linux).
    shard
        ``"i/n"``: only every n-th run, starting at the i-th, for job arrays that count from 0 or from 1.
    scheduler
        Address of a Dask scheduler, or ``"dask"`` to have a Dask cluster started on this machine.
    changed
        What to do with finished runs where code or files that they depend on have changed: ``"keep"`` them beside new
        ones, or ``"rerun"`` them; default: refuse.

    Returns
    -------
    pathlib.Path
        The study's folder.

    Raises
    ------
    SpecError
        If the spec or an option cannot be run with.
    StudyError
        If the folder holds runs of another recipe, the table does not fit the first result, or the results of the
        first two runs cannot go into a cube.
    DiskFullError
        If there is no room for results; what is finished stays.
    """
    check_options(
        workers=workers,
        time_limit=time_limit,
        cell_limit=cell_limit,
        shard=shard,
        progress=progress,
        scheduler=scheduler,
        changed=changed,
    )
    remember_folder()
    if not isinstance(spec, Spec | Mapping) and (Path(spec) / "spec.yaml").is_file():
        folder = studies_root(Path(spec).absolute().parent) / Path(spec).absolute().name
        spec = reopen(folder)
    else:
        if not isinstance(spec, Spec):
            spec = make_spec(spec) if isinstance(spec, Mapping) else load_spec(spec)
        folder = studies_root(root) / spec.study
        check_factory(spec)
    spec, checkpoints = bind(spec, folder.parent)
    look_at(spec, folder)
    adopt(spec, folder, changed)
    for name in ("runs", "errors"):
        (folder / name).mkdir(exist_ok=True)
    now = status(folder)
    ours = {run.id: run for run in shard_of(plan(spec), shard)}
    todo = [ours[run.id] for run in now.missing + (now.failed if retry_failed else []) if run.id in ours]
    todo = _without_waiting(todo, checkpoints, spec)
    engine = _engine(scheduler, workers, time_limit)
    try:
        with (
            composed(plan(spec), todo, folder, workers) as todo,
            workspace(folder) as place,
            closing(_reporter(progress, now, len(todo))) as reporter,
        ):
            forked = can_fork() if warm is None else warm
            options = {"warm": forked, "cell_limit": cell_limit, "labels": axis_labels(spec)}
            jobs = [_job(spec, folder, place, run, checkpoints.get(run.id), **options) for run in todo]
            drive(jobs, engine, reporter, FirstLook(spec, folder), folder)
    except (DiskFullError, StudyError, KeyboardInterrupt) as stop:
        if isinstance(stop, KeyboardInterrupt):
            stop.add_note(f"Finished runs of {spec.study!r} are kept; the same command again executes what is missing.")
        with suppress(OSError, CubeError):  # a full disk is likely to have no room for the cube either
            compact(folder)
        raise
    if names(folder / "runs", ".nc"):
        compact(folder)
    return folder


def _engine(scheduler: str | None, workers: int | None, time_limit: float | None) -> Engine:
    if scheduler is None:
        return partial(local, workers=workers, time_limit=time_limit)
    from kdlandscape.sweeps.cluster import on_dask

    address = None if scheduler == "dask" else scheduler
    return partial(on_dask, scheduler=address, workers=workers, time_limit=time_limit)


def _reporter(progress: bool | str, now: Status, todo: int) -> Progress:
    if progress == "json":
        return Lines(now, todo)
    return Bar(now, todo) if progress else Silent()


def _without_waiting(todo: list[Run], checkpoints: dict[str, Path], spec: Spec) -> list[Run]:
    """Leave out runs whose checkpoints are not there yet, and say so."""
    held = waiting(checkpoints)
    ready = [run for run in todo if run.id not in held]
    if spec.source is not None and len(ready) < len(todo):
        warnings.warn(
            f"{len(todo) - len(ready)} runs wait for runs of {spec.source.study} that are not done; run that first, "
            "then the same command goes on",
            WaitingRuns,
            stacklevel=3,
        )
    return ready


def _job(spec: Spec, folder: Path, place: Workspace, run: Run, checkpoints: Path | None, **options: Any) -> Job:
    facts = spec.facts
    injected = {spec.source.parameter: str(checkpoints)} if spec.source is not None else {}
    return Job(
        run,
        Path(facts.notebook_path),
        folder,
        place.work,
        place.sockets,
        vectorized={name: list(spec.grid[name]) for name in spec.grid if name in spec.vectorize},
        spec_hash=facts.spec_hash,
        notebook_hash=facts.notebook_hash,
        known_error=stamp(folder / "errors" / f"{run.id}.json"),
        injected=injected,
        along=spec.axes.along,
        **options,
    )
