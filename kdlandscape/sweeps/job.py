"""A run on its way to a worker and back: what it takes to execute it, and how that ended."""

import glob
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdlandscape.sweeps.plan import Run
from kdlandscape.sweeps.witness import CONTEXT_VARIABLE


@dataclass(frozen=True)
class Job:
    """A run with all that a worker needs to execute it.

    Attributes
    ----------
    run
        What to execute.
    notebook
        Path of the notebook.
    study
        The study's folder.
    work
        A folder on the study's file system for unfinished files.
    sockets
        A folder with a short path on the worker's machine, for the kernel's socket files.
    vectorized
        Values along the axes inside the run.
    spec_hash, notebook_hash
        What the result was made by.
    known_error
        The run's error record when the driver began, see `stamp`; any other one is a newer one of another driver.
    cell_limit
        Seconds after which a cell is stopped and its run counts as failed; None: never.
    warm
        Fork the kernel from a process that has done the notebook's imports.
    injected
        Parameters that depend on this machine and do not count as settings, such as paths.
    along
        Axes that hold a value for each place on another axis: name -> name of the other.
    labels
        What axes are, in words: name -> attributes.
    attempt
        Tells the unfinished files of one attempt from those of another, whose kernel may outlive its worker a little.
    """

    run: Run
    notebook: Path
    study: Path
    work: Path
    sockets: Path
    vectorized: dict[str, list] = field(default_factory=dict)
    spec_hash: str = ""
    notebook_hash: str = ""
    known_error: tuple[int, ...] | None = None
    cell_limit: float | None = None
    warm: bool = False
    injected: dict[str, Any] = field(default_factory=dict)
    along: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    attempt: str = ""

    @property
    def result(self) -> Path:
        """The run's result; it exists exactly when the run has succeeded."""
        return self.study / "runs" / f"{self.run.id}.nc"

    @property
    def error_record(self) -> Path:
        """Where it is written how the run failed."""
        return self.study / "errors" / f"{self.run.id}.json"

    @property
    def claim(self) -> Path:
        """The lock file of whoever executes the run."""
        return self.work.parent / f"{self.run.id}.claim"

    def unfinished(self, suffix: str) -> Path:
        """Return the path of an unfinished file."""
        return self.work / f"{self.run.id}@{self.attempt}{suffix}"

    @property
    def unfinished_of_all(self) -> list[Path]:
        """What all attempts have left unfinished, the oldest first."""
        return sorted(self.work.glob(f"{glob.escape(self.run.id)}@*"), key=lambda path: stamp(path) or ())

    @property
    def mark(self) -> str:
        """What is in the environment of every process that an attempt has started."""
        return f"{CONTEXT_VARIABLE}={self.work / self.run.id}@"


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    ``error`` is None if its result is in place, ``lost`` says that a process died under it, ``busy`` that another
    driver is executing it.
    """

    job: Job
    error: dict[str, Any] | None = None
    lost: bool = False
    busy: bool = False


def stamp(path: Path) -> tuple[int, ...] | None:
    """Return what tells one file at a path from another, without trust in any clock; None if there is none."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
