"""The report of a study: question, answer with intervals, figures, table, board, runs, origins, how to rerun."""

import warnings
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import xarray as xr

from kdlandscape.cubes.files import write
from kdlandscape.cubes.store import open_cube
from kdlandscape.cubes.tables import mean_table
from kdlandscape.cubes.words import dim_symbol, readable, unit_of, value_words, variable_words
from kdlandscape.figures.exporting import UndrawnFigure, caption_of, drawn_figures
from kdlandscape.reports import document
from kdlandscape.reports.document import Section
from kdlandscape.reports.origins import origins, without_home
from kdlandscape.reports.report_board import board_of
from kdlandscape.reports.rerun import citation, commands, question
from kdlandscape.studies.description import describe
from kdlandscape.studies.sentences import say, with_grounds
from kdlandscape.sweeps.places import find_study
from kdlandscape.sweeps.snapshot import Status, error_line, read_snapshot, status
from kdlandscape.sweeps.spec import Spec

_MANY = 20  # runs that are listed
_DPI = 200  # of a figure: twice what a screen shows


@dataclass(frozen=True)
class Reported:
    """What a report is made from: a cube, and what the folder of its study tells.

    Attributes
    ----------
    cube
        None where no run is done.
    spec, runs, errors
        None and empty for a cube without a study.
    """

    cube: xr.Dataset | None
    folder: Path | None = None
    spec: Spec | None = None
    runs: Status | None = None
    errors: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The study's name."""
        known = self.cube.attrs.get("study") if self.cube is not None else None
        return str(self.spec.study if self.spec else known or "a cube")


def write_report(study: xr.Dataset | Path | str, path: Path | str | None = None) -> Path:
    """Write the report of a study as one HTML file that opens without a kernel and sends no request.

    It holds the question, the answer in words with intervals, figures, a table, the interactive board, failed and
    missing runs with reasons, where the numbers came from, and how to cite and to rerun them. Everything in it is
    escaped, and its content policy lets nothing but its own script run. Cost: the figures are drawn once, and the board
    reads at most 132 cells of one variable.

    Parameters
    ----------
    study
        A study's folder or its name, with its cube up to date; a cube file; or any Dataset.
    path
        The file; default: ``report.html`` in the study's folder.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    StudyError
        If there is no such study.
    ValueError
        If a Dataset or a cube file is given without a path.
    """
    reported = _read(study)
    if path is None and reported.folder is None:
        raise ValueError("path: expected a file to write the report of a cube to, got none")
    path = Path(path) if path is not None else (reported.folder or Path()) / "report.html"
    html = report_html(reported)
    write(path, lambda temporary: temporary.write_text(html, encoding="utf-8"))
    return path


def _read(study: xr.Dataset | Path | str) -> Reported:
    if isinstance(study, xr.Dataset):
        return Reported(study)
    if Path(study).is_file():
        return Reported(open_cube(study))
    folder = find_study(study)
    runs = status(folder)
    cube = open_cube(folder) if (folder / "cube.nc").is_file() else None
    errors = [without_home(error_line(folder, run)) for run in runs.failed[:_MANY]]
    return Reported(cube, folder, read_snapshot(folder), runs, errors)


def report_html(reported: Reported) -> str:
    """Return the report as HTML."""
    title, lead = question(reported.spec, reported.folder, reported.cube)
    cube = reported.cube
    board = board_of(cube) if cube is not None else None
    sections = [
        Section("Answer", _answer(reported)),
        Section("Figures", _figures(reported)),
        Section("Table", _table(reported)),
        Section("Explore", [document.interactive_board(board.picture, board.caption)] if board else []),
        Section("Runs", _runs(reported)),
        Section("Variables", _variables(cube)),
        Section("Where the numbers came from", [document.facts(origins(cube))] if cube is not None else []),
        Section("Cite and rerun", _rerun(reported)),
    ]
    head = [document.paragraph(words) for words in lead]
    return document.page(title, sections, lead=head, board=board.data if board else None)


def _answer(reported: Reported) -> list[str]:
    if reported.cube is None:
        return [document.paragraph("There is no answer yet: no run is done.", "failed")]
    findings = reported.spec.findings if reported.spec else []
    said = with_grounds(say(reported.cube, findings))
    elements = [document.statements(said, "answer")] if findings else []
    described = document.items(describe(reported.cube))
    if not findings:
        return [described]
    return [*elements, document.folded("Where each number is least and greatest", [described])]


def _figures(reported: Reported) -> list[str]:
    cube = reported.cube
    if cube is None:
        return []
    names = (reported.spec.figures if reported.spec else []) or ["overview"]
    elements = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UndrawnFigure)
        for name, figure in drawn_figures(cube, names):
            file = BytesIO()
            figure.savefig(file, format="png", dpi=_DPI)
            elements.append(document.picture(file.getvalue(), caption_of(name, cube)))
    undrawn = [str(one.message) for one in caught if issubclass(one.category, UndrawnFigure)]
    return [*elements, *[document.paragraph(f"{words}.", "note") for words in undrawn]]


def _table(reported: Reported) -> list[str]:
    wanted = reported.spec.table if reported.spec else None
    if wanted is None or reported.cube is None:
        return []
    try:
        return [document.table(*mean_table(reported.cube, wanted.rows, wanted.over, wanted.values))]
    except (ValueError, KeyError) as error:
        return [document.paragraph(f"The table cannot be made from this cube: {error}", "failed")]


def _runs(reported: Reported) -> list[str]:
    runs = reported.runs
    if runs is None:
        return []
    total = len(runs.done) + len(runs.failed) + len(runs.missing)
    elements = [document.paragraph(f"{len(runs.done)} of {total} runs are done.")]
    if runs.failed:
        more = _beyond(len(runs.failed))
        elements.append(document.paragraph(f"{len(runs.failed)} failed:"))
        elements.append(document.items([*reported.errors, *more], "failed"))
    if runs.missing:
        names = [run.id for run in runs.missing[:_MANY]]
        elements.append(
            document.paragraph(f"{len(runs.missing)} have no result yet: they were not executed, or stopped.")
        )
        elements.append(document.folded("Which", [document.items([*names, *_beyond(len(runs.missing))])]))
    return elements


def _beyond(count: int) -> list[str]:
    return [f"and {count - _MANY} more"] if count > _MANY else []


def _variables(cube: xr.Dataset | None) -> list[str]:
    if cube is None:
        return []
    axes = [_axis(cube, str(dim)) for dim in cube.dims]
    rows = [
        (variable_words(array), unit_of(array), ", ".join(map(str, array.dims)), name)
        for name, array in cube.data_vars.items()
        if not str(name).startswith("run.")
    ]
    tables = [
        document.table(["dim", "what it is", "places"], axes),
        document.table(["variable", "unit", "over", "name in the cube"], rows),
    ]
    return [document.folded(f"{len(rows)} variables over {len(axes)} dims", tables)]


def _axis(cube: xr.Dataset, dim: str) -> tuple[str, str, str]:
    if dim not in cube.coords:
        return dim, readable(dim), str(cube.sizes[dim])
    values = cube[dim].values
    texts = [value_words(one) for one in (values.astype(str) if values.dtype.kind in "mM" else values).tolist()]
    places = ", ".join(texts) if len(texts) <= 8 else f"{len(texts)} from {texts[0]} to {texts[-1]}"
    name = cube[dim].attrs.get("long_name") or readable(dim)
    return (
        dim,
        f"{name} ({dim_symbol(cube, dim)})" if dim_symbol(cube, dim) not in (name, readable(dim)) else name,
        places,
    )


def _rerun(reported: Reported) -> list[str]:
    elements: list[Any] = [
        document.paragraph("To cite this report:"),
        document.code(citation(reported.cube, reported.name)),
    ]
    if reported.spec is not None:
        words, lines, spec = commands(reported.spec)
        elements += [document.paragraph(words), document.code(lines)]
        elements.append(document.folded(f"{reported.spec.study}.yaml", [document.code(spec)]))
    return elements
