"""Run a study: execute what is missing, keep every result and every error, make the cube."""

import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from kdlandscape.cubes.store import compact, read_error, write_error
from kdlandscape.sweeps.engines import local
from kdlandscape.sweeps.execute import Job
from kdlandscape.sweeps.places import studies_root
from kdlandscape.sweeps.plan import Run, plan
from kdlandscape.sweeps.snapshot import adopt, read_snapshot, reopen
from kdlandscape.sweeps.spec import Spec, load_spec, make_spec


def run_study(
    spec: Spec | Mapping[str, Any] | Path | str,
    *,
    workers: int | None = None,
    root: Path | str | None = None,
    progress: bool = True,
    retry_failed: bool = False,
    time_limit: float | None = None,
) -> Path:
    """Execute the runs of a study that are missing, and make its cube.

    A run that fails leaves an error record, and the study goes on.  Interrupted, it ends its workers, makes the cube
    of what is finished and raises KeyboardInterrupt; calling it again goes on.

    Parameters
    ----------
    spec
        A checked spec, its content, a YAML file, or the folder of a study that was run before.
    workers
        Number of worker processes; default: one for each usable core.
    root
        Folder of studies; default: see ``sweeps.places.studies_root``.
    progress
        Show a progress bar on standard error.
    retry_failed
        Also execute runs that left an error record.
    time_limit
        Seconds after which a run is stopped and counts as failed; default: never.

    Returns
    -------
    pathlib.Path
        The study's folder.

    Raises
    ------
    SpecError
        If the spec cannot be run.
    StudyError
        If the folder holds runs of another recipe.
    """
    if not isinstance(spec, Spec | Mapping) and (Path(spec) / "spec.yaml").is_file():
        root = Path(spec).absolute().parent if root is None else root
        spec = reopen(Path(spec))
    elif not isinstance(spec, Spec):
        spec = make_spec(spec) if isinstance(spec, Mapping) else load_spec(spec)
    folder = studies_root(root) / spec.study
    adopt(spec, folder)
    for name in ("runs", "errors"):
        (folder / name).mkdir(exist_ok=True)
    now = status(folder)
    todo = now.missing + (now.failed if retry_failed else [])
    try:
        _execute(spec, folder, todo, workers, time_limit, _bar(now, todo, progress))
    except KeyboardInterrupt as stop:
        stop.add_note(f"Finished runs of {spec.study!r} are kept; the same command again executes what is missing.")
        raise
    finally:
        if status(folder).done:
            compact(folder)
    return folder


@dataclass(frozen=True)
class Status:
    """The runs of a study by what has become of them."""

    done: list[Run]
    failed: list[Run]
    missing: list[Run]


def status(folder: Path) -> Status:
    """Sort the runs of a study: a result makes it done, an error record without one failed, neither missing."""
    errors = {path.stem for path in (folder / "errors").glob("[!.]*.json")}
    results = {path.stem for path in (folder / "runs").glob("[!.]*.nc")}
    done: list[Run] = []
    failed: list[Run] = []
    missing: list[Run] = []
    for run in plan(read_snapshot(folder)):
        (done if run.id in results else failed if run.id in errors else missing).append(run)
    return Status(done, failed, missing)


def error_line(folder: Path, run: Run) -> str:
    """Return one line that says how a run failed."""
    error = read_error(folder / "errors" / f"{run.id}.json")
    return f"{run.id}: {error.get('name')}: {' '.join(str(error.get('value')).split())[:300]}"


def _bar(now: Status, todo: list[Run], progress: bool) -> tqdm:
    total = sum(map(len, (now.done, now.failed, now.missing)))
    # a log file gets a line now and then, a terminal a moving bar
    pace = 0.2 if sys.stderr.isatty() else 15.0
    return tqdm(total=total, initial=total - len(todo), unit="run", disable=not progress, mininterval=pace, smoothing=0)


def _execute(
    spec: Spec, folder: Path, todo: list[Run], workers: int | None, time_limit: float | None, bar: tqdm
) -> None:
    failed = 0
    shown = time.monotonic()
    with bar, _workspace(folder) as (work, sockets):
        facts = spec.facts
        vectorized = {name: list(spec.grid[name]) for name in spec.grid if name in spec.vectorize}
        notebook = Path(facts.notebook_path)
        jobs = [
            Job(run, notebook, folder, work, sockets, vectorized, facts.spec_hash, facts.notebook_hash) for run in todo
        ]
        with closing(local(jobs, workers=workers, time_limit=time_limit)) as outcomes:
            for outcome in outcomes:
                if outcome is not None:
                    record_file = folder / "errors" / f"{outcome.job.run.id}.json"
                    if outcome.error is None:
                        record_file.unlink(missing_ok=True)
                    else:
                        failed += 1
                        write_error(outcome.error, record_file)
                    bar.set_postfix(failed=failed, refresh=False)
                    bar.update()
                elif not bar.disable and time.monotonic() - shown > bar.mininterval:
                    bar.refresh()  # the clock goes on while no run ends
                    shown = time.monotonic()


@contextmanager
def _workspace(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a folder for unfinished files and a short path for sockets; remove them, and those of dead drivers."""
    root = folder / ".work"
    root.mkdir(exist_ok=True)
    for lock_file in root.glob("*.lock"):
        try:
            with FileLock(lock_file).acquire(blocking=False):  # its driver is gone
                note = lock_file.with_suffix("") / "sockets"
                sockets_left = Path(note.read_text(encoding="utf-8")) if note.exists() else note
                for left in (sockets_left, note.parent):
                    shutil.rmtree(left, ignore_errors=True)
                lock_file.unlink(missing_ok=True)
        except Timeout:
            continue
    work = root / uuid.uuid4().hex[:12]
    short = tempfile.gettempdir() if len(tempfile.gettempdir()) < 60 else "/tmp"
    lock_file = work.with_suffix(".lock")
    with (
        FileLock(lock_file),
        tempfile.TemporaryDirectory(prefix="kdl-", dir=short, ignore_cleanup_errors=True) as sockets,
    ):
        work.mkdir()
        (work / "sockets").write_text(sockets, encoding="utf-8")
        try:
            yield work, Path(sockets)
        finally:
            shutil.rmtree(work, ignore_errors=True)
            lock_file.unlink(missing_ok=True)
