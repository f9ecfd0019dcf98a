"""Where a driver and its workers keep what is unfinished; what a killed driver leaves there is removed by the next."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kdlandscape.cubes.files import leftovers, remove
from kdlandscape.cubes.locks import lock


@dataclass(frozen=True)
class Workspace:
    """A driver's place for unfinished files, a short path for sockets, and when it began by the file system's clock."""

    work: Path
    sockets: Path
    began: float


@contextmanager
def workspace(folder: Path) -> Iterator[Workspace]:
    """Make a driver's workspace in a study's folder and remove it in the end."""
    root = folder / ".work"
    root.mkdir(exist_ok=True)
    sweep(folder)
    work = root / uuid.uuid4().hex[:12]
    short = tempfile.gettempdir() if len(tempfile.gettempdir()) < 60 else "/tmp"
    lock_file = work.with_suffix(".lock")
    with (
        lock(lock_file),
        tempfile.TemporaryDirectory(prefix="kdl-", dir=short, ignore_cleanup_errors=True) as sockets,
    ):
        work.mkdir()
        (work / "sockets").write_text(sockets, encoding="utf-8")
        try:
            yield Workspace(work, Path(sockets), lock_file.stat().st_mtime)
        finally:
            shutil.rmtree(work, ignore_errors=True)
            sweep(folder)


def sweep(folder: Path) -> list[Path]:
    """Remove what drivers, workers and writers that are gone have left in a study's folder, and return it."""
    root = folder / ".work"
    removed: list[Path] = []
    for lock_file in [*root.glob("*.lock"), *root.glob("*.claim")]:
        with lock(lock_file, wait=False) as gone:
            if not gone:
                continue
            work = lock_file.with_suffix("")
            if lock_file.suffix == ".lock" and work.is_dir():
                note = work / "sockets"
                removed += [Path(note.read_text(encoding="utf-8"))] if note.is_file() else []
                removed.append(work)
            removed.append(lock_file)
    for path in removed:
        remove(path)
    for place in (folder, *(entry for entry in folder.iterdir() if entry.is_dir())):
        removed += leftovers(place)
    return removed
