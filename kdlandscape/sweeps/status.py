"""What has become of the runs of a study, told from the names of its files; imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from kdlandscape.cubes.files import names, read_error
from kdlandscape.sweeps.plan import Run, plan
from kdlandscape.sweeps.snapshot import read_snapshot


@dataclass(frozen=True)
class Status:
    """The runs of a study by what has become of them."""

    done: list[Run]
    failed: list[Run]
    missing: list[Run]


def status(folder: Path) -> Status:
    """Sort the runs of a study: a result makes it done, an error record without one failed, neither missing."""
    errors, results = names(folder / "errors", ".json"), names(folder / "runs", ".nc")
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
