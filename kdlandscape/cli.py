"""The command line: every command is a call of the library.  Heavy imports are inside the commands."""

import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from kdlandscape.sweeps.errors import SpecError, StudyError

app = typer.Typer(
    help="Optimization landscapes in Jupyter, with knowledge distillation as the first subject.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Root = Annotated[Path | None, typer.Option(help="Folder of studies; default: papermill_runs.", show_default=False)]
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes; default: one a core.", show_default=False)]
TimeLimit = Annotated[float | None, typer.Option(help="Seconds after which a run is stopped.", show_default=False)]
CellLimit = Annotated[float | None, typer.Option(help="Seconds after which a cell is stopped.", show_default=False)]
Warm = Annotated[bool, typer.Option("--warm", help="Fork kernels from a process that has done the imports.")]
Shard = Annotated[str | None, typer.Option(metavar="I/N", help="Every N-th run from the I-th on.", show_default=False)]
Scheduler = Annotated[str | None, typer.Option(metavar="tcp://…", help="Address of a Dask scheduler.")]
Dask = Annotated[bool, typer.Option("--dask", help="Start a Dask cluster on this machine.")]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON object a line instead of text.")]
Parameter = Annotated[list[str], typer.Option("-p", metavar="NAME=VALUE", help="Override a fixed parameter.")]
Grid = Annotated[list[str], typer.Option("-g", metavar="NAME=V1,V2", help="Override or add an axis.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, list the runs, execute nothing.")]
StudyName = Annotated[str | None, typer.Option("--study", help="Another name for the study.", show_default=False)]
Study = Annotated[str, typer.Argument(help="A study's folder, or its name under the root.", metavar="STUDY")]


@app.command()
def demo(workers: Workers = None, root: Root = None) -> None:
    """Run the study that ships with the package, and draw and tabulate its result."""
    run("demo", workers=workers, root=root)


@app.command()
def new(
    study: Annotated[str, typer.Argument(help="Name of the new study.", metavar="STUDY")],
    template: Annotated[str, typer.Option("--from", help="A spec, or the name of a shipped one.")] = "demo",
    folder: Annotated[Path, typer.Option(help="Where to write.")] = Path(),
) -> None:
    """Copy a shipped spec and its notebook under a new name, to start a study of your own from."""
    from kdlandscape.sweeps.templates import new_study

    spec, notebook = new_study(study, template, folder)
    typer.echo(f"spec: {spec}\nnotebook: {notebook}\nrun it: kdlandscape run {spec}")


@app.command()
def run(
    spec: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped one.")],
    parameters: Parameter = [],  # noqa: B006 - typer copies it
    grid: Grid = [],  # noqa: B006
    study: StudyName = None,
    workers: Workers = None,
    root: Root = None,
    time_limit: TimeLimit = None,
    cell_limit: CellLimit = None,
    warm: Warm = False,
    shard: Shard = None,
    scheduler: Scheduler = None,
    dask: Dask = False,
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Execute the runs of a study that are missing, then draw and tabulate its result."""
    from kdlandscape.sweeps.spec import load_spec

    checked = load_spec(spec, parameters, grid, study=study)
    if dry_run:
        _list_runs(checked)
        return
    limits = {"time_limit": time_limit, "cell_limit": cell_limit}
    places = {"workers": workers, "shard": shard, "scheduler": "dask" if dask else scheduler}
    _run_and_report(checked, root=root, warm=warm, progress="json" if json else True, **limits, **places)


@app.command()
def retry(
    study: Study,
    failed: Annotated[bool, typer.Option("--failed", help="Also execute the runs that failed.")] = False,
    workers: Workers = None,
    root: Root = None,
    time_limit: TimeLimit = None,
    cell_limit: CellLimit = None,
    warm: Warm = False,
    shard: Shard = None,
    scheduler: Scheduler = None,
    dask: Dask = False,
    json: Json = False,
) -> None:
    """Go on with a study: execute what is missing, and with --failed also what failed."""
    from kdlandscape.sweeps.places import find_study

    folder = find_study(study, root)
    limits = {"time_limit": time_limit, "cell_limit": cell_limit, "retry_failed": failed}
    places = {"workers": workers, "shard": shard, "scheduler": "dask" if dask else scheduler}
    _run_and_report(folder, warm=warm, progress="json" if json else True, **limits, **places)


@app.command()
def status(study: Study, root: Root = None, json: Json = False) -> None:
    """Say how many runs are done, failed and missing, and how the failed ones failed."""
    from json import dumps

    from kdlandscape.sweeps.places import find_study
    from kdlandscape.sweeps.snapshot import error_line
    from kdlandscape.sweeps.snapshot import status as status_of

    folder = find_study(study, root)
    now = status_of(folder)
    counts = {"done": len(now.done), "failed": len(now.failed), "missing": len(now.missing)}
    if json:
        typer.echo(dumps({"study": str(folder), **counts}))
        return
    typer.echo(f"{folder}: " + ", ".join(f"{count} {state}" for state, count in counts.items()))
    for failure in now.failed[:20]:
        typer.echo(f"  failed {error_line(folder, failure)}")
    if len(now.failed) > 20:
        typer.echo(f"  ... and {len(now.failed) - 20} more")
    for hole in now.missing[:20]:
        typer.echo(f"  missing {hole.id}")
    if len(now.missing) > 20:
        typer.echo(f"  ... and {len(now.missing) - 20} more")


@app.command()
def cube(study: Study, root: Root = None) -> None:
    """Assemble a study's cube from its finished runs, and describe it."""
    from kdlandscape.cubes.store import compact, missing, open_cube
    from kdlandscape.sweeps.places import find_study

    path = compact(find_study(study, root))
    with open_cube(path) as opened:
        typer.echo(f"cube: {path}")
        typer.echo("  " + ", ".join(f"{dim}: {size}" for dim, size in opened.sizes.items()))
        typer.echo(f"  {len(missing(opened))} cells missing")


@app.command()
def missing(study: Study, root: Root = None, json: Json = False) -> None:
    """List the runs that have no result, also those that failed: their coordinates, one run a line."""
    from json import dumps

    from kdlandscape.sweeps.places import find_study
    from kdlandscape.sweeps.snapshot import status as status_of

    now = status_of(find_study(study, root))
    for hole in [*now.failed, *now.missing]:
        typer.echo(dumps(hole.coords) if json else hole.id)


@app.command()
def clean(
    study: Study,
    corrupt: Annotated[bool, typer.Option("--corrupt", help="Also remove run files that cannot be read.")] = False,
    root: Root = None,
) -> None:
    """Remove what killed processes have left, and error records of runs that are done or no longer planned."""
    from kdlandscape.sweeps.places import find_study
    from kdlandscape.sweeps.workspace import clean as clean_up

    folder = find_study(study, root)
    removed = clean_up(folder, corrupt=corrupt)
    for path in removed:
        typer.echo(f"  removed {path}")
    typer.echo(f"{folder}: {len(removed)} removed")


@app.command()
def export(
    study: Study,
    path: Annotated[Path, typer.Argument(help="A new folder, such as cube.zarr.")],
    root: Root = None,
) -> None:
    """Write a study's cube as a zarr store; needs the extra 'zarr'."""
    from kdlandscape.cubes.store import compact, export_zarr
    from kdlandscape.sweeps.places import find_study

    folder = find_study(study, root)
    compact(folder)
    typer.echo(f"zarr: {export_zarr(folder, path)}")


@app.command()
def figures(study: Study, root: Root = None) -> None:
    """Draw a study's figures again."""
    from kdlandscape.cubes.store import compact
    from kdlandscape.sweeps.places import find_study

    folder = find_study(study, root)
    compact(folder)
    _draw(folder)


def main() -> None:
    """Run the command line; a mistake in a spec or a study is one message, not a traceback."""
    warnings.showwarning = _show_warning
    try:
        app()
    except (SpecError, StudyError) as error:
        _fail(f"error: {error}", 2)
    except (ValueError, OSError) as error:
        from kdlandscape.cubes.files import DiskFullError
        from kdlandscape.cubes.store import CubeError
        from kdlandscape.registry import RegistryError

        if not isinstance(error, CubeError | DiskFullError | RegistryError):
            raise
        _fail(f"error: {error}", 2)


def _fail(message: str, code: int) -> None:
    typer.echo(message, err=True)
    sys.exit(code)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    typer.echo(f"warning: {message}", err=True)


def _list_runs(spec: Any) -> None:
    from kdlandscape.sweeps.plan import plan

    runs = plan(spec)
    axes = ", ".join(f"{name}: {len(spec.grid[name])}" for name in spec.vectorize)
    typer.echo(f"{spec.study}: {len(runs)} runs of {spec.facts.notebook_path}" + (f" (in each: {axes})" * bool(axes)))
    for one in runs:
        typer.echo(f"  {one.id}")


def _draw(folder: Path) -> None:
    from kdlandscape.cubes.store import open_cube
    from kdlandscape.cubes.tables import format_table
    from kdlandscape.sweeps.snapshot import read_snapshot

    spec = read_snapshot(folder)
    with open_cube(folder) as opened:
        if spec.figures:
            from kdlandscape.figures import export_study

            files = export_study(opened, spec.figures, folder / "figures")
            typer.echo("figures: " + ", ".join(map(str, files)))
        if spec.table is not None:
            table = format_table(opened, rows=spec.table.rows, over=spec.table.over, values=spec.table.values)
            typer.echo(table)
        if spec.findings:
            from kdlandscape.studies.sentences import say

            for sentence in say(opened, spec.findings):
                typer.echo(sentence)


def _run_and_report(study: Any, **options: Any) -> None:
    """Run a study and say where everything is; exit code 1 if a run failed."""
    from kdlandscape.sweeps.snapshot import error_line
    from kdlandscape.sweeps.snapshot import status as status_of
    from kdlandscape.sweeps.study import run_study

    # a job scheduler ends a job by SIGTERM: stop as for Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        folder = run_study(study, **options)
    except KeyboardInterrupt as stop:  # here, because typer says no more than "Aborted!"
        typer.echo("\n".join(["stopped.", *getattr(stop, "__notes__", [])]), err=True)
        raise typer.Exit(130) from stop
    now = status_of(folder)
    if options["progress"] != "json":
        typer.echo(f"executed notebooks: {folder / 'runs'} ({len(now.done)} done, {len(now.failed)} failed)")
        if now.done:
            typer.echo(f"cube: {folder / 'cube.nc'}")
            _draw(folder)
    for failure in now.failed[:20]:
        typer.echo(f"failed {error_line(folder, failure)}", err=True)
    if len(now.failed) > 20:
        typer.echo(f"... and {len(now.failed) - 20} more: kdlandscape status {folder}", err=True)
    if now.failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
