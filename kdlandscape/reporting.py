"""What the command line does around a study, and what it says about it.  Heavy imports are inside the functions."""

import signal
import sys
from pathlib import Path
from typing import Any

import typer

from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.terminal import show, show_some


def collect(folder: Path) -> Path:
    """Bring a study's cube up to date; one in a folder that cannot be written is taken as it is."""
    from kdlandscape.cubes.store import UnwritableError, compact
    from kdlandscape.sweeps.snapshot import read_snapshot

    read_snapshot(folder)
    try:
        return compact(folder)
    except UnwritableError as error:
        cube = folder / "cube.nc"
        if not cube.is_file():
            raise StudyError(
                f"{folder}: expected a folder that can be written, to make the cube in, got a read-only one without a "
                "cube; copy the study to a place of yours"
            ) from error
        show(f"note: {folder} cannot be written, so this is its cube as it was made", sys.stderr)
        return cube


def dry_run(spec: Any, root: str | None, options: dict[str, Any]) -> None:
    """Check all that is known before the first run, and list the runs."""
    from kdlandscape.sweeps.adoption import check_recipe
    from kdlandscape.sweeps.factory_check import check_factory
    from kdlandscape.sweeps.first_look import look_at
    from kdlandscape.sweeps.options import check_options
    from kdlandscape.sweeps.places import studies_root
    from kdlandscape.sweeps.plan import plan, shard_of
    from kdlandscape.sweeps.upstream import bind

    check_options(**options)
    folder = studies_root(root) / spec.study
    check_factory(spec)
    spec, _ = bind(spec, folder.parent)
    look_at(spec, folder)
    if options["changed"] is None:
        check_recipe(spec, folder)
    runs = shard_of(plan(spec), options["shard"])
    axes = ", ".join(f"{name}: {len(spec.grid[name])}" for name in spec.vectorize)
    show(f"{spec.study}: {len(runs)} runs of {spec.facts.notebook_path}" + (f" (in each: {axes})" * bool(axes)))
    for one in runs:
        show(f"  {one.id}")


def draw(folder: Path, to: Path | None = None) -> None:
    """Draw the figures that a study names, here or in another folder, and say its table and its findings."""
    from kdlandscape.cubes.store import open_cube
    from kdlandscape.cubes.tables import format_table
    from kdlandscape.sweeps.first_look import look_at
    from kdlandscape.sweeps.snapshot import read_snapshot

    spec = read_snapshot(folder)
    look_at(spec, folder)
    with open_cube(folder) as opened:
        if spec.figures:
            from kdlandscape.figures import export_study

            files = export_study(opened, spec.figures, to or folder / "figures")
            show("figures: " + ", ".join(map(str, files)))
        if spec.table is not None:
            table = format_table(opened, rows=spec.table.rows, over=spec.table.over, values=spec.table.values)
            show(table)
        if spec.findings:
            from kdlandscape.studies.sentences import say

            for sentence in say(opened, spec.findings):
                show(sentence)


def make_report(folder: Path, to: Path | None = None) -> Path:
    """Bring a study's cube up to date where a run is done, and write its report."""
    from kdlandscape.reports.study_report import write_report
    from kdlandscape.sweeps.snapshot import status as status_of

    if status_of(folder).done:
        collect(folder)
    return write_report(folder, to)


def _last_report(folder: Path) -> str:
    """Write the report at the end of a sweep, whose cube was just made, and return where it is.

    The runs stand, whatever keeps it from being written.
    """
    from kdlandscape.reports.study_report import write_report

    try:
        return f"report: {write_report(folder)}"
    except Exception as error:  # a label or a value of any notebook; the command "report" then tells all
        return f"report: not written, {type(error).__name__}: {error}; try kdlandscape report {folder}"


def run_and_report(study: Any, **options: Any) -> None:
    """Run a study and say where everything is; exit code 1 if a run failed."""
    from kdlandscape.sweeps.snapshot import error_line
    from kdlandscape.sweeps.snapshot import status as status_of
    from kdlandscape.sweeps.study import run_study

    # a job scheduler ends a job by SIGTERM: stop as for Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        folder = run_study(study, **options)
    except KeyboardInterrupt as stop:  # here, because typer says no more than "Aborted!"
        show("\n".join(["stopped.", *getattr(stop, "__notes__", [])]), sys.stderr)
        raise typer.Exit(130) from stop
    now = status_of(folder)
    if options["progress"] != "json":
        show(f"executed notebooks: {folder / 'runs'} ({len(now.done)} done, {len(now.failed)} failed)")
        if now.done:
            show(f"cube: {folder / 'cube.nc'}")
            draw(folder)
        show(_last_report(folder))
    more = f": kdlandscape status {folder}"
    show_some(now.failed, lambda run: f"failed {error_line(folder, run)}", more=more, stream=sys.stderr)
    if now.failed:
        raise typer.Exit(1)
