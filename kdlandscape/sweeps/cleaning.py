"""Take away what a study does not need: leftovers of killed processes, outdated error records, files it cannot use."""

from pathlib import Path

from kdlandscape.cubes.files import names
from kdlandscape.cubes.runfile import read_run
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.snapshot import read_snapshot
from kdlandscape.sweeps.workspace import sweep


def clean(folder: Path, *, corrupt: bool = False) -> list[Path]:
    """Remove what a study does not need, and return it.

    Parameters
    ----------
    folder
        The study's folder.
    corrupt
        Also remove run files that cannot be read, so that their runs are missing again; reads all of them.
    """
    removed = sweep(folder)
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
        return "spec_hash" in read_run(path).attrs
    except Exception:  # whatever a damaged file makes HDF5 or netCDF4 raise
        return False
