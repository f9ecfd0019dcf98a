"""Commands that make something of a study's finished runs: its cube, figures and report."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from kdlandscape.commands.arguments import Root, Study
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.terminal import show


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
