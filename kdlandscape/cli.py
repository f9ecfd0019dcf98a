"""The command line: every command is a call of the library.  Heavy imports are inside the commands."""

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from kdlandscape.reporting import collect, draw, dry_run, make_report, run_and_report
from kdlandscape.sweeps.errors import SpecError, StudyError
from kdlandscape.sweeps.terminal import show, show_some

app = typer.Typer(
    help="Optimization landscapes in Jupyter, with knowledge distillation as the first subject.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Root = Annotated[str | None, typer.Option(help="Folder of studies; default: papermill_runs.", show_default=False)]
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes; default: one a core.", show_default=False)]
TimeLimit = Annotated[float | None, typer.Option(help="Seconds after which a run is stopped.", show_default=False)]
CellLimit = Annotated[float | None, typer.Option(help="Seconds after which a cell is stopped.", show_default=False)]
Warm = Annotated[bool, typer.Option("--warm", help="Fork kernels from a process that has done the imports.")]
Shard = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Every N-th run from the I-th on, counted from 0 or from 1.", show_default=False),
]
Scheduler = Annotated[str | None, typer.Option(metavar="tls://…", help="Address of a Dask scheduler.")]
Dask = Annotated[bool, typer.Option("--dask", help="Start a Dask cluster on this machine.")]
Changed = Annotated[
    str | None,
    typer.Option(
        metavar="keep|rerun",
        help="What to do with finished runs whose code or files have changed since.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON object a line instead of text.")]
Parameter = Annotated[list[str], typer.Option("-p", metavar="NAME=VALUE", help="Override a fixed parameter.")]
Grid = Annotated[list[str], typer.Option("-g", metavar="NAME=V1,V2", help="Override or add an axis.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, list the runs, execute nothing.")]
StudyName = Annotated[str | None, typer.Option("--study", help="Another name for the study.", show_default=False)]
Study = Annotated[str, typer.Argument(help="A study's folder, or its name under the root.", metavar="STUDY")]


@app.command()
def demo(workers: Workers = None, root: Root = None) -> None:
    """Run the study that ships with the package, and draw and tabulate its result.

    Example: kdlandscape demo --workers 2
    """
    from kdlandscape.sweeps.processes import can_fork

    run("demo", workers=workers, root=root, warm=can_fork())


@app.command()
def new(
    study: Annotated[str, typer.Argument(help="Name of the new study.", metavar="STUDY")],
    template: Annotated[str, typer.Option("--from", help="A spec, or the name of a shipped one.")] = "demo",
    folder: Annotated[Path, typer.Option(help="Where to write.")] = Path(),
    problem: Annotated[
        bool, typer.Option("--problem", help="Write a problem of your own for the shipped study, not a copy of it.")
    ] = False,
) -> None:
    """Copy a shipped spec and its notebook under a new name, to start a study of your own from.

    Example: kdlandscape new mine --from spectra --folder studies
    """
    from kdlandscape.sweeps.templates import new_problem, new_study

    spec, other = (new_problem if problem else new_study)(study, template, folder)
    kind = "problem" if problem else "notebook"
    show(f"spec: {spec}\n{kind}: {other}\nrun it: kdlandscape run {spec}")


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
    changed: Changed = None,
    json: Json = False,
    only_check: DryRun = False,
) -> None:
    """Execute the runs of a study that are missing, then draw and tabulate its result.

    Example: kdlandscape run mine.yaml -g seed=0,1,2 -p width=50 --workers 2 --warm
    """
    from kdlandscape.sweeps.spec import load_spec

    checked = load_spec(spec, parameters, grid, study=study)
    options = {"time_limit": time_limit, "cell_limit": cell_limit, "changed": changed}
    options |= {"workers": workers, "shard": shard, "scheduler": _scheduler(scheduler, dask)}
    options["progress"] = "json" if json else True
    if only_check:
        dry_run(checked, root, options)
    else:
        run_and_report(checked, root=root, warm=warm, **options)


@app.command()
def compare(
    problem: Annotated[str, typer.Argument(help="my/problem.py:make, or a data set of ours.", metavar="PROBLEM")],
    checkpoints: Annotated[
        list[str], typer.Argument(help="Two or more, the teacher first: PATH, or NAME=PATH#WEIGHTS.", metavar="A B")
    ],
    control: Annotated[str, typer.Option(help="Checkpoint of an independent network.", show_default=False)] = "",
    networks: Annotated[
        list[str], typer.Option("--network", metavar="NAME=my/problem.py:make", help="An architecture of its own.")
    ] = [],  # noqa: B006
    parameters: Parameter = [],  # noqa: B006
    grid: Grid = [],  # noqa: B006
    study: StudyName = None,
    workers: Workers = None,
    root: Root = None,
    time_limit: TimeLimit = None,
    changed: Changed = None,
    json: Json = False,
    only_check: DryRun = False,
) -> None:
    """Compare checkpoints of one problem: fidelity, barriers, the plane through them, spectra and sharpness.

    A checkpoint is a .safetensors file, a file of torch.save (read as weights only), or a folder of transformers.
    FILE#ema chooses one of several sets of weights in a file.

    Example: kdlandscape compare my/problem.py:make teacher.pt student.pt --control independent.pt --study first
    """
    from kdlandscape.distillation.comparing import arguments, check, study_name
    from kdlandscape.sweeps.spec import load_spec

    given = arguments(problem, checkpoints, control, networks)
    name = study or study_name(given["checkpoints"])
    first = load_spec("compare", parameters, grid, study=name, given=given)
    loaded, digests = check(first.parameters)
    for one in loaded:
        show(f"{one.name}: {one.weights}" + f" (of {', '.join(one.found)})" * (len(one.found) > 1), sys.stderr)
    checked = load_spec("compare", parameters, grid, study=name, given={**given, "digests": digests})
    options = {"time_limit": time_limit, "cell_limit": None, "changed": changed, "workers": workers}
    options |= {"shard": None, "scheduler": None, "progress": "json" if json else True}
    if only_check:
        dry_run(checked, root, options)
    else:
        run_and_report(checked, root=root, warm=False, **options)


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
    changed: Changed = None,
    json: Json = False,
) -> None:
    """Go on with a study: execute what is missing, and with --failed also what failed.

    Example: kdlandscape retry mine --failed --workers 2
    """
    from kdlandscape.sweeps.places import find_study

    folder = find_study(study, root)
    limits = {"time_limit": time_limit, "cell_limit": cell_limit, "retry_failed": failed, "changed": changed}
    places = {"workers": workers, "shard": shard, "scheduler": _scheduler(scheduler, dask)}
    run_and_report(folder, warm=warm, progress="json" if json else True, **limits, **places)


@app.command()
def forecast(
    spec: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped one.")],
    parameters: Parameter = [],  # noqa: B006 - typer copies it
    grid: Grid = [],  # noqa: B006
    study: StudyName = None,
    workers: Workers = None,
    root: Root = None,
    warm: Warm = False,
) -> None:
    """Execute the first runs of a study, one for each worker, and say how long the others will take, or took.

    The results of the trial count: run goes on from them. Once all is done, the same command compares.

    Example: kdlandscape forecast demo --workers 2
    """
    from kdlandscape.sweeps.forecast import take_forecast
    from kdlandscape.sweeps.spec import load_spec

    checked = load_spec(spec, parameters, grid, study=study)
    show(f"{checked.study}: {take_forecast(checked, workers=workers, root=root, warm=warm).said()}")


@app.command()
def slurm(
    spec: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped one.")],
    jobs: Annotated[int, typer.Option(min=1, help="Jobs of the array, which share the runs.")],
    parameters: Parameter = [],  # noqa: B006 - typer copies it
    grid: Grid = [],  # noqa: B006
    study: StudyName = None,
    root: Root = None,
    cores: Annotated[int, typer.Option(min=1, help="Cores of one job.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of one job.")] = 0,
    time: Annotated[str, typer.Option(help="Limit of one job, as SLURM writes it.")] = "01:00:00",
) -> None:
    """Print a script for sbatch that runs a study as a job array.

    Example: kdlandscape slurm demo --jobs 4 --gpus 1 --time 00:30:00
    """
    from kdlandscape.sweeps.slurm import slurm_script

    options: dict[str, Any] = {"parameters": parameters, "grid": grid, "study": study, "root": root}
    show(slurm_script(spec, jobs, **options, cores=cores, gpus=gpus, time=time).rstrip())


@app.command()
def status(study: Study, root: Root = None, json: Json = False) -> None:
    """Say how many runs are done, failed and missing, and how the failed ones failed.

    Example: kdlandscape status mine --json
    """
    from json import dumps

    from kdlandscape.sweeps.places import find_study
    from kdlandscape.sweeps.snapshot import error_line
    from kdlandscape.sweeps.snapshot import status as status_of

    folder = find_study(study, root)
    now = status_of(folder)
    counts = {"done": len(now.done), "failed": len(now.failed), "missing": len(now.missing)}
    if json:
        show(dumps({"study": str(folder), **counts}))
        return
    show(f"{folder}: " + ", ".join(f"{count} {state}" for state, count in counts.items()))
    show_some(now.failed, lambda failure: f"failed {error_line(folder, failure)}", indent="  ")
    show_some(now.missing, lambda hole: f"missing {hole.id}", indent="  ")


@app.command()
def cube(study: Study, root: Root = None) -> None:
    """Assemble a study's cube from its finished runs, and describe it.

    Example: kdlandscape cube mine
    """
    from kdlandscape.cubes.store import missing, open_cube
    from kdlandscape.sweeps.places import find_study

    path = collect(find_study(study, root))
    with open_cube(path) as opened:
        show(f"cube: {path}")
        show("  " + ", ".join(f"{dim}: {size}" for dim, size in opened.sizes.items()))
        show(f"  {len(missing(opened))} cells missing")


@app.command()
def missing(study: Study, root: Root = None, json: Json = False) -> None:
    """List the runs that have no result, also those that failed: their coordinates, one run a line.

    Example: kdlandscape missing mine --json
    """
    from json import dumps

    from kdlandscape.sweeps.places import find_study
    from kdlandscape.sweeps.snapshot import status as status_of

    now = status_of(find_study(study, root))
    for hole in [*now.failed, *now.missing]:
        show(dumps(hole.coords) if json else hole.id)


@app.command()
def clean(
    study: Study,
    corrupt: Annotated[bool, typer.Option("--corrupt", help="Also remove run files that cannot be read.")] = False,
    root: Root = None,
) -> None:
    """Remove what killed processes have left, and error records of runs that are done or no longer planned.

    Example: kdlandscape clean mine --corrupt
    """
    from kdlandscape.sweeps.places import find_study
    from kdlandscape.sweeps.workspace import clean as clean_up

    folder = find_study(study, root)
    removed = clean_up(folder, corrupt=corrupt)
    for path in removed:
        show(f"  removed {path}")
    show(f"{folder}: {len(removed)} removed")


@app.command()
def export(
    study: Study,
    path: Annotated[Path, typer.Argument(help="A new folder, such as cube.zarr.")],
    root: Root = None,
) -> None:
    """Write a study's cube as a zarr store; needs the extra 'zarr'.

    Example: kdlandscape export mine cube.zarr
    """
    from kdlandscape.cubes.store import export_zarr
    from kdlandscape.sweeps.places import find_study

    folder = find_study(study, root)
    collect(folder)
    show(f"zarr: {export_zarr(folder, path)}")


@app.command()
def figures(
    study: Study,
    root: Root = None,
    to: Annotated[Path | None, typer.Option(help="Where to draw; default: in the study.", show_default=False)] = None,
) -> None:
    """Draw a study's figures again.

    Example: kdlandscape figures mine --to paper
    """
    from kdlandscape.sweeps.places import find_study

    folder = find_study(study, root)
    collect(folder)
    draw(folder, to)


@app.command()
def report(
    study: Study,
    root: Root = None,
    to: Annotated[Path | None, typer.Option(help="The HTML file; default: in the study.", show_default=False)] = None,
) -> None:
    """Write a study's report: one HTML file that answers its question, safe to mail.

    Example: kdlandscape report mine --to answer.html
    """
    from kdlandscape.sweeps.places import find_study

    show(f"report: {make_report(find_study(study, root), to)}")


def main() -> None:
    """Run the command line; a mistake in a spec, a study or an option is one message, not a traceback."""
    warnings.showwarning = _show_warning
    try:
        app()
    except (SpecError, StudyError) as error:
        _fail(error)
    except OSError as error:
        if error.filename is None or error.strerror is None:
            _fail(error)
        _fail(f"{error.filename}: expected a file or folder that can be read and written, got: {error.strerror}")
    except ValueError as error:
        from kdlandscape.cubes.seals import DamagedFileError
        from kdlandscape.cubes.store import CubeError
        from kdlandscape.distillation.problem_files import ProblemError
        from kdlandscape.registry import RegistryError

        if not isinstance(error, CubeError | DamagedFileError | ProblemError | RegistryError):
            raise
        _fail(error)


def _fail(message: object) -> NoReturn:
    show(f"error: {message}", sys.stderr)
    sys.exit(2)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    show(f"warning: {message}", sys.stderr)


def _scheduler(address: str | None, dask: bool) -> str | None:
    if dask and address is not None:
        raise SpecError(f"scheduler: expected --dask or the address of a scheduler, got both ({address})")
    return "dask" if dask else address


if __name__ == "__main__":
    main()
