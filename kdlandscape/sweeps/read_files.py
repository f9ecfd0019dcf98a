"""What the runs of a study have read: one note a file or package, compared before a run is added.

A note in the folder ``inputs`` says which content of a file, or which version, the study stands for, and which earlier
ones were kept.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kdlandscape.cubes.files import names, write
from kdlandscape.cubes.locks import lock
from kdlandscape.cubes.runfile import read_run
from kdlandscape.cubes.seals import DamagedFileError
from kdlandscape.sweeps.dependencies import PACKAGE, content_of
from kdlandscape.sweeps.errors import StudyError

_FOLDER = "inputs"


@dataclass(frozen=True)
class Note:
    """What a study knows of a local file or a package.

    Attributes
    ----------
    path
        From the notebook's folder on; ``//name`` of a package.
    content
        Hash of the content that the study's runs read, or the version; None: there is no such file any more.
    kept
        Earlier ones, whose runs stay all the same.
    """

    path: str
    content: str | None
    kept: list[str] = field(default_factory=list)


def add(read: Mapping[str, str], study: Path) -> str:
    """Note what a run has read; return why its result must not be added to the others, or an empty text."""
    if not read:
        return ""
    (study / _FOLDER).mkdir(exist_ok=True)
    with lock(study / _FOLDER / ".lock"):
        for path, content in read.items():
            known = _find(path, study)
            if known is not None and known.content != content:
                return (
                    f"{_difference(path, known.content, content)}; the same command again says which runs are "
                    "concerned, and what can be done"
                )
            if known is None:
                _write(Note(path, content), study)
    return ""


def _difference(path: str, known: str | None, now: str) -> str:
    if path.startswith(PACKAGE):
        return f"{path.removeprefix(PACKAGE)}: expected version {known}, as of this study's other runs, got {now}"
    return (
        f"{path}: expected the content that other runs of this study have read, got another one: it has changed since"
    )


def explain(note: Note, beside: Path) -> str:
    """Say what has become of a file or package since runs have read it."""
    now = content_of(note.path, beside)
    if note.path.startswith(PACKAGE):
        name = note.path.removeprefix(PACKAGE)
        return f"{name}: version {note.content} then, {now or 'none'} now; used by"
    return f"{note.path}: {'is gone' if now is None else 'has changed since'}; read by"


def changed(study: Path, beside: Path) -> list[Note]:
    """Return a note for each file and package that is not what finished runs have read.

    Parameters
    ----------
    study
        The study's folder.
    beside
        The notebook's folder now.
    """
    notes = [_read(study / _FOLDER / f"{name}.json") for name in sorted(names(study / _FOLDER, ".json"))]
    return [note for note in notes if note.content != content_of(note.path, beside)]


def runs_of(study: Path, notes: list[Note]) -> dict[str, list[str]]:
    """Return the finished runs that have read the noted content of each file: path -> ids; reads all run files."""
    found: dict[str, list[str]] = {note.path: [] for note in notes}
    for name in sorted(names(study / "runs", ".nc")) if notes else []:
        try:
            facts = read_run(study / "runs" / f"{name}.nc").variables["run.inputs"]
            read = json.loads(str(facts.values.ravel()[0]))
        except (DamagedFileError, KeyError, ValueError):  # what is no run file is not of the cube either
            continue
        for note in notes:
            if note.path in read and read[note.path] not in note.kept:
                found[note.path].append(name)
    return found


def keep(study: Path, beside: Path, notes: list[Note]) -> None:
    """Let runs stay that have read what is not there any more, and let the next ones read what is there now."""
    for note in notes:
        earlier = note.kept + ([note.content] if note.content is not None else [])
        _write(Note(note.path, content_of(note.path, beside), earlier), study)


def forget(study: Path, notes: list[Note]) -> None:
    """Remove notes, whose runs are removed too."""
    for note in notes:
        _place(note.path, study).unlink(missing_ok=True)


def _place(path: str, study: Path) -> Path:
    return study / _FOLDER / f"{hashlib.sha256(path.encode()).hexdigest()[:16]}.json"


def _find(path: str, study: Path) -> Note | None:
    place = _place(path, study)
    return _read(place) if place.exists() else None


def _read(place: Path) -> Note:
    try:
        return Note(**json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StudyError(
            f"{place}: expected a note of what runs have read, got {error}; remove it to trust that the files beside "
            "the notebook have not changed"
        ) from error


def _write(note: Note, study: Path) -> None:
    text = json.dumps(asdict(note), indent=1)
    write(_place(note.path, study), lambda temporary: temporary.write_text(text, encoding="utf-8"))
