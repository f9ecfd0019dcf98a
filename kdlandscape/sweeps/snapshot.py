"""What a study's folder tells: ``spec.yaml``, what it was run with, and by the names of its files how far it is.

Nothing heavy is imported here, and nothing but names is read for each run.
"""

from dataclasses import dataclass
from pathlib import Path

from kdlandscape.cubes.files import names, read_error
from kdlandscape.cubes.grid import VERSION
from kdlandscape.cubes.yaml_file import read_yaml
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.loading import make_spec
from kdlandscape.sweeps.places import shipped
from kdlandscape.sweeps.plan import Run, plan
from kdlandscape.sweeps.spec import Spec


def read_snapshot(folder: Path) -> Spec:
    """Return the spec that a study was last run with; its notebook need not exist any more."""
    path = folder / "spec.yaml"
    try:
        content = read_yaml(path)
        version = content.get("resolved", {}).get("version", VERSION)
        if isinstance(version, int) and version > VERSION:
            raise StudyError(
                f"{path}: expected a study of version {VERSION} or older, got version {version}, which a newer "
                "kdlandscape wrote; upgrade this one to read it"
            )
        spec = Spec.model_validate(content)
        spec.facts  # noqa: B018 - raises where the file is a spec written by hand
    except StudyError:
        raise
    except (ValueError, OSError, AttributeError) as error:
        problem = " ".join(str(error).split())[:300]
        raise StudyError(f"{path}: expected the spec that a sweep wrote there, got {problem}") from error
    return spec


def reopen(folder: Path) -> Spec:
    """Return a study's spec, checked again against its notebook as it is now.

    A folder that was renamed is a study of that name. One that was moved together with its notebook finds it where it
    lies seen from here; otherwise the notebook is where it was.
    """
    stored = read_snapshot(folder)
    facts = stored.facts
    content = stored.model_dump(exclude={"resolved"}, by_alias=True)
    content["grid"] |= {name: dict(zip(stored.grid[name], facts.values[name], strict=True)) for name in facts.values}
    places = [(folder / facts.notebook_from_here).resolve(), Path(facts.notebook_path)]
    found = [place for place in places if place.is_file()]
    if not found and not (shipped("notebooks") / stored.notebook).is_file():
        raise StudyError(
            f"{folder}: expected the study's notebook at {' or '.join(map(str, dict.fromkeys(places)))}, got none; put "
            "it back, or say where it is in a spec and run that"
        )
    content["notebook"] = str(found[0]) if found else stored.notebook
    return make_spec(content).model_copy(update={"notebook": stored.notebook, "study": folder.resolve().name})


@dataclass(frozen=True)
class Status:
    """The runs of a study by what has become of them."""

    done: list[Run]
    failed: list[Run]
    missing: list[Run]


def status(folder: Path) -> Status:
    """Sort the runs of a study: a result makes it done, an error record without one failed, neither missing."""
    errors, results = names(folder / "errors", ".json"), names(folder / "runs", ".nc")
    done: list[Run] = []
    failed: list[Run] = []
    missing: list[Run] = []
    for run in plan(read_snapshot(folder)):
        (done if run.id in results else failed if run.id in errors else missing).append(run)
    return Status(done, failed, missing)


def error_line(folder: Path, run: Run) -> str:
    """Return one line that says how a run failed."""
    error = read_error(folder / "errors" / f"{run.id}.json")
    return f"{run.id}: {error.get('name')}: {' '.join(str(error.get('value')).split())[:300]}"
