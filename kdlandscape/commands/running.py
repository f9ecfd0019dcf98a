"""Commands that execute the runs of a study, and what they say about it."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdlandscape.commands.arguments import DryRun, Execution, GridExecution, Overrides, SpecName, Study, grouped
from kdlandscape.commands.results import draw
from kdlandscape.sweeps.terminal import show, show_some

if TYPE_CHECKING:
    from kdlandscape.sweeps.spec import Spec


@grouped
def run(spec: SpecName, overrides: Overrides, execution: GridExecution, only_check: DryRun = False) -> None:
    """Execute the runs of a study that are missing, then draw and tabulate its result.

    Example: kdlandscape run mine.yaml -g seed=0,1,2 -p width=50 --workers 2 --warm
    """
    execute(overrides.load(spec), execution, only_check=only_check, warm=execution.warm)


@grouped
def compare(
    problem: Annotated[str, typer.Argument(help="my/problem.py:make, or a data set of ours.", metavar="PROBLEM")],
    checkpoints: Annotated[
        list[str], typer.Argument(help="Two or more, the teacher first: PATH, or NAME=PATH#WEIGHTS.", metavar="A B")
    ],
    overrides: Overrides,
    execution: Execution,
    control: Annotated[str, typer.Option(help="Checkpoint of an independent network.", show_default=False)] = "",
    networks: Annotated[
        list[str], typer.Option("--network", metavar="NAME=my/problem.py:make", help="An architecture of its own.")
    ] = [],  # noqa: B006 - typer copies it
    only_check: DryRun = False,
) -> None:
    """Compare checkpoints of one problem: fidelity, barriers, the plane through them, spectra and sharpness.

    A checkpoint is a .safetensors file, a file of torch.save (read as weights only), or a folder of transformers.
    FILE#ema chooses one of several sets of weights in a file.

    Example: kdlandscape compare my/problem.py:make teacher.pt student.pt --control independent.pt --study first
    """
    from kdlandscape.distillation.comparing import arguments, check, study_name

    given = arguments(problem, checkpoints, control, networks)
    name = study_name(given["checkpoints"])
    loaded, digests = check(overrides.load("compare", study=name, given=given).parameters)
    for one in loaded:
        show(f"{one.name}: {one.weights}" + f" (of {', '.join(one.found)})" * (len(one.found) > 1), sys.stderr)
    checked = overrides.load("compare", study=name, given={**given, "digests": digests})
    execute(checked, execution, only_check=only_check)


@grouped
def retry(
    study: Study,
    execution: GridExecution,
    failed: Annotated[bool, typer.Option("--failed", help="Also execute the runs that failed.")] = False,
) -> None:
    """Go on with a study: execute what is missing, and with --failed also what failed.

    Example: kdlandscape retry mine --failed --workers 2
    """
    from kdlandscape.sweeps.places import find_study

    folder = find_study(study, execution.root)
    _run_and_report(folder, **execution.options(), warm=execution.warm, retry_failed=failed)


def execute(spec: "Spec", execution: Execution, *, only_check: bool = False, warm: bool = False) -> None:
    """Execute what is missing of a study, or only check it."""
    options = execution.options()
    if only_check:
        _dry_run(spec, execution.root, options)
    else:
        _run_and_report(spec, root=execution.root, warm=warm, **options)


def _dry_run(spec: "Spec", root: str | None, options: dict[str, Any]) -> None:
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


def _run_and_report(study: "Spec | Path", **options: Any) -> None:
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


def _last_report(folder: Path) -> str:
    """Write the report at the end of a sweep, whose cube was just made, and return where it is.

    The runs stand, whatever keeps it from being written.
    """
    from kdlandscape.reports.study_report import write_report

    try:
        return f"report: {write_report(folder)}"
    except Exception as error:  # a label or a value of any notebook; the command "report" then tells all
        return f"report: not written, {type(error).__name__}: {error}; try kdlandscape report {folder}"
