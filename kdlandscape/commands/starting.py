"""Commands to begin with: the shipped study, and a study of the user's own from a template."""

from pathlib import Path
from typing import Annotated

import typer

from kdlandscape.commands.arguments import Execution, Overrides, Root, Workers
from kdlandscape.commands.running import execute
from kdlandscape.sweeps.terminal import show


def demo(workers: Workers = None, root: Root = None) -> None:
    """Run the study that ships with the package, and draw and tabulate its result.

    Example: kdlandscape demo --workers 2
    """
    from kdlandscape.sweeps.processes import can_fork

    execute(Overrides().load("demo"), Execution(workers=workers, root=root), warm=can_fork())


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
