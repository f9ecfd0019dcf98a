"""Where a driver and its workers keep what is unfinished, and what removes that which a killed one has left."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kdlandscape.cubes.files import leftovers, names, remove
from kdlandscape.cubes.locks import lock
from kdlandscape.cubes.runfile import read_run
from kdlandscape.cubes.schema import RUN
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.processes import end_marked
from kdlandscape.sweeps.snapshot import read_snapshot
from kdlandscape.sweeps.witness import CONTEXT_VARIABLE

PREFIX = "kdl-"  # of folders of sockets


@dataclass(frozen=True)
class Workspace:
    """A driver's place for unfinished files, and a short path for sockets."""

    work: Path
    sockets: Path


@contextmanager
def workspace(folder: Path) -> Iterator[Workspace]:
    """Make a driver's workspace in a study's folder and remove it in the end."""
    root = folder / ".work"
    root.mkdir(exist_ok=True)
    remove_leftovers(folder)
    work = root / uuid.uuid4().hex[:12]
    lock_file = work.with_suffix(".lock")
    with (
        lock(lock_file),
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=_short(), ignore_cleanup_errors=True) as sockets,
    ):
        work.mkdir()
        (work / "sockets").write_text(sockets, encoding="utf-8")
        try:
            yield Workspace(work, Path(sockets))
        finally:
            shutil.rmtree(work, ignore_errors=True)
            remove_leftovers(folder)


def _short() -> str:
    """Return a temporary folder whose path is short enough for sockets."""
    return tempfile.gettempdir() if len(tempfile.gettempdir()) < 60 else "/tmp"


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove what drivers, workers and writers that are gone have left in a study's folder, and return it."""
    root = folder / ".work"
    removed: list[Path] = []
    for lock_file in [*root.glob("*.lock"), *root.glob("*.claim")]:
        with lock(lock_file, wait=False) as gone:
            if not gone:
                continue
            work = lock_file.with_suffix("")
            if lock_file.suffix == ".lock" and work.is_dir():
                end_marked(f"{CONTEXT_VARIABLE}={work}{os.sep}")
                removed += [*_sockets_of(work), work]
            removed.append(lock_file)
    for path in removed:
        remove(path)
    for place in (folder, *(entry for entry in folder.iterdir() if entry.is_dir())):
        removed += leftovers(place)
    return removed


def _sockets_of(work: Path) -> list[Path]:
    """Return the folder of sockets that a driver noted, if it is one: a study of someone else may note anything."""
    note = work / "sockets"
    if not note.is_file():
        return []
    place = Path(note.read_text(encoding="utf-8", errors="replace")[:4096].replace("\0", ""))
    ours = place.name.startswith(PREFIX) and place.parent == Path(_short())
    return [place] if ours and place.is_dir() and not place.is_symlink() and place.stat().st_uid == os.getuid() else []


def clean(folder: Path, *, corrupt: bool = False) -> list[Path]:
    """Remove what a study does not need, and return it.

    Parameters
    ----------
    folder
        The study's folder.
    corrupt
        Also remove run files that cannot be read, so that their runs are missing again; reads all of them.
    """
    removed = remove_leftovers(folder)
    done = names(folder / "runs", ".nc")
    planned = {run.id for run in plan(read_snapshot(folder))}
    for name in sorted(names(folder / "errors", ".json")):
        if name in done or name not in planned:
            removed.append(folder / "errors" / f"{name}.json")
    if corrupt:
        removed += [path for name in sorted(done) if not _readable(path := folder / "runs" / f"{name}.nc")]
    for path in removed:
        if path.is_file():
            path.unlink()
    return removed


def _readable(path: Path) -> bool:
    try:
        return f"{RUN}recipe" in read_run(path).attrs
    except Exception:  # whatever a damaged file makes HDF5 or netCDF4 raise
        return False
