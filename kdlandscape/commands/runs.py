"""Commands on the runs of a study: which there are, which are missing, and what killed processes left of them."""

from typing import Annotated

import typer

from kdlandscape.commands.arguments import Json, Root, Study
from kdlandscape.sweeps.terminal import show, show_some


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
