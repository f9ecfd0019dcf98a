"""What a study's folder tells: ``spec.yaml``, what it was run with, and by the names of its files how far it is.

Nothing heavy is imported here, and nothing but names is read for each run.
"""

from dataclasses import dataclass
from pathlib import Path

from kdlandscape.cubes.files import names, read_error, write
from kdlandscape.cubes.yaml_file import read_yaml, write_yaml
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.plan import Run, plan
from kdlandscape.sweeps.spec import Spec, make_spec


def read_snapshot(folder: Path) -> Spec:
    """Return the spec that a study was last run with; its notebook need not exist any more."""
    path = folder / "spec.yaml"
    try:
        spec = Spec.model_validate(read_yaml(path))
        spec.facts  # noqa: B018 - raises where the file is a spec written by hand
    except ValueError as error:
        raise StudyError(f"{path}: expected the spec that a sweep wrote there, got {error}") from error
    return spec


def reopen(folder: Path) -> Spec:
    """Return a study's spec, checked again against its notebook as it is now."""
    stored = read_snapshot(folder)
    content = stored.model_dump(exclude={"resolved"}, by_alias=True)
    path = Path(stored.facts.notebook_path)
    if path.is_file():
        content["notebook"] = str(path)
    return make_spec(content).model_copy(update={"notebook": stored.notebook})


def adopt(spec: Spec, folder: Path) -> None:
    """Write a spec into its study's folder, unless finished runs there were made by another recipe.

    Raises
    ------
    StudyError
        If the notebook's code, a fixed parameter or the set of axes differs.  Other values along an axis are fine.
    """
    path = folder / "spec.yaml"
    if path.exists():
        differences = _differences(read_snapshot(folder), spec)
        if differences:
            raise StudyError(
                f"study {spec.study!r} was run with another recipe:\n  "
                + "\n  ".join(differences)
                + f"\nExpected the same recipe for all runs of a study. Choose another name (study: in the spec, or "
                f"--study NAME), or delete {folder}."
            )
    write(path, lambda temporary: write_yaml(spec.model_dump(by_alias=True), temporary))


def _differences(old: Spec, new: Spec) -> list[str]:
    found = []
    if old.facts.notebook_hash != new.facts.notebook_hash:
        found.append(f"notebook: the code of {new.notebook} has changed since ({old.notebook} then)")
    for name in sorted(old.parameters.keys() | new.parameters.keys()):
        before, now = (spec.parameters.get(name, "the notebook's default") for spec in (old, new))
        if before != now or (name in old.parameters) != (name in new.parameters):
            found.append(f"parameters.{name}: {before!r} then, {now!r} now")
    for name in sorted(old.grid.keys() ^ new.grid.keys()):
        found.append(
            f"grid.{name}: an axis {'then' if name in old.grid else 'now'}, not {'now' if name in old.grid else 'then'}"
        )
    for key in ("vectorize", "zip"):
        before, now = getattr(old, key), getattr(new, key)
        if sorted(before) != sorted(now):
            found.append(f"{key}: {before!r} then, {now!r} now")
    sources = [spec.source and spec.source.model_dump() for spec in (old, new)]
    if sources[0] != sources[1]:
        found.append(f"from: {sources[0]!r} then, {sources[1]!r} now")
    elif new.source and old.facts.source_hash != new.facts.source_hash:
        found.append(f"from: the study {new.source.study} has been run with another recipe since")
    return found


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
