"""A study as a job array of SLURM: one script, whose jobs share the runs as shards."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.places import find_spec, studies_root
from kdlandscape.sweeps.plan import plan

_TIME = re.compile(r"(\d+-)?\d{1,3}(:\d{2}){0,2}")


def slurm_script(
    spec: Path | str,
    jobs: int,
    *,
    parameters: Sequence[str] = (),
    grid: Sequence[str] = (),
    study: str | None = None,
    root: Path | str | None = None,
    cores: int = 1,
    gpus: int = 0,
    time: str = "01:00:00",
) -> str:
    """Return the text of a script for ``sbatch``, after the spec has been checked as a run would check it.

    Each job of the array executes every n-th run (``--shard``); the jobs write into one study's folder, on a file
    system that all of them see. A job that SLURM ends keeps what is finished, and the same script submitted again
    executes what is missing.

    Parameters
    ----------
    spec, parameters, grid, study, root
        As for ``kdlandscape run``.
    jobs
        Size n of the array; at most one job a run is asked for.
    cores, gpus
        Of one job. It has one worker a GPU, or else one a core.
    time
        Limit of one job, as SLURM writes it: minutes, ``hours:minutes:seconds`` or ``days-hours``.

    Raises
    ------
    SpecError
        If the spec cannot be run, or a number or the time is none that SLURM takes.
    """
    for name, value, least in (("jobs", jobs, 1), ("cores", cores, 1), ("gpus", gpus, 0)):
        if type(value) is not int or value < least:
            raise SpecError(f"{name}: expected a number from {least} on, got {value!r}")
    if not _TIME.fullmatch(time):
        raise SpecError(f"time: expected SLURM's minutes, hours:minutes:seconds or days-hours, got {time!r}")
    checked = load_spec(spec, parameters, grid, study=study)
    count = min(jobs, len(plan(checked)))
    folder = studies_root(root)
    command = [sys.executable, "-m", "kdlandscape.cli", "run", str(find_spec(spec)), "--study", checked.study]
    for option, values in (("-p", parameters), ("-g", grid)):
        command += [word for value in values for word in (option, value)]
    command += ["--root", str(folder), "--workers", str(gpus or cores)]
    wanted = {"job-name": checked.study, "array": f"0-{count - 1}", "ntasks": 1, "cpus-per-task": cores, "time": time}
    if gpus:
        wanted["gpus-per-task"] = gpus
    wanted |= {"output": f"slurm-{checked.study}-%A_%a.log", "signal": "B:TERM@60"}
    lines = ["#!/bin/bash", *(f"#SBATCH --{name}={value}" for name, value in wanted.items()), "set -euo pipefail"]
    threads = max(cores // gpus, 1) if gpus else 1
    lines += [f"cd {shlex.quote(str(Path.cwd()))}", f"export OMP_NUM_THREADS={threads}"]
    lines += [
        "# exec, so that the signal of SLURM a minute before the end reaches the study, which then makes its cube"
    ]
    lines += [f'exec {shlex.join(command)} --shard "${{SLURM_ARRAY_TASK_ID}}/{count}"']
    return "\n".join(lines) + "\n"
