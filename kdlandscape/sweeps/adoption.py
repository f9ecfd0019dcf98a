"""A spec becomes that of a study's folder: only if nothing is mixed, or as the user has chosen.

What has changed since the finished runs were made is explained: which part of the recipe, which files, which runs.
"""

import os
from pathlib import Path
from typing import Literal

from kdlandscape.cubes.files import names, remove, write
from kdlandscape.cubes.yaml_file import write_yaml
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.read_files import Note, changed, explain, forget, keep, runs_of
from kdlandscape.sweeps.snapshot import read_snapshot
from kdlandscape.sweeps.spec import Spec
from kdlandscape.sweeps.values import canonical

Choice = Literal["keep", "rerun"]


def adopt(spec: Spec, folder: Path, choice: Choice | None = None) -> None:
    """Write a spec into its study's folder.

    Parameters
    ----------
    spec
        The checked spec. Other values along an axis, figures or a table are no change.
    folder
        The study's folder; made if there is none.
    choice
        What to do where finished runs were made by another recipe: ``"keep"`` them beside new ones, as far as only
        code or files have changed, or ``"rerun"`` them, for which they are removed.

    Raises
    ------
    StudyError
        If the notebook's code, a fixed parameter, the set of axes, a file that runs have read or the version of a
        package differs, and nothing was chosen.
    """
    kept: list[str] = []
    if (folder / "spec.yaml").exists():
        old = read_snapshot(folder)
        kept = old.facts.kept
        if _has_runs(folder):
            kept = _settle(old, spec, folder, choice)
    facts = {"notebook_from_here": os.path.relpath(spec.facts.notebook_path, folder), "kept": kept}
    spec = spec.model_copy(update={"resolved": spec.facts.model_copy(update=facts)})
    write(folder / "spec.yaml", lambda temporary: write_yaml(spec.model_dump(by_alias=True), temporary))


def check_recipe(spec: Spec, folder: Path) -> None:
    """Raise StudyError if `adopt` would ask what to do with finished runs; writes nothing."""
    if (folder / "spec.yaml").exists() and _has_runs(folder):
        _settle(read_snapshot(folder), spec, folder, None)


def _has_runs(folder: Path) -> bool:
    """Whether runs of a folder have finished, or a driver may be about to finish some."""
    return bool(names(folder / "runs", ".nc")) or any((folder / ".work").glob("*.lock"))


def _settle(old: Spec, new: Spec, folder: Path, choice: Choice | None) -> list[str]:
    """Do what was chosen about differences; return the recipes of earlier runs that stay."""
    settings, code = _differences(old, new)
    beside = Path(new.facts.notebook_path).parent
    files = changed(folder, beside)
    if not (settings or code or files):
        return old.facts.kept
    if choice is None or (choice == "keep" and settings):
        raise StudyError(_explain(new, folder, [*settings, *code], files, settings))
    if choice == "rerun":
        runs = names(folder / "runs", ".nc") if settings or code else set().union(*runs_of(folder, files).values())
        for path in (folder / "runs" / f"{run}{suffix}" for run in runs for suffix in (".nc", ".ipynb")):
            remove(path)
        forget(folder, files)
        return [] if settings or code else old.facts.kept
    keep(folder, beside, files)
    return [*old.facts.kept, old.facts.spec_hash] if code else old.facts.kept


def _differences(old: Spec, new: Spec) -> tuple[list[str], list[str]]:
    """Say in which settings two specs differ, and in which code."""
    found = []
    for name in sorted(old.parameters.keys() | new.parameters.keys()):
        before, now = (spec.parameters.get(name, "the notebook's default") for spec in (old, new))
        if canonical(before) != canonical(now) or (name in old.parameters) != (name in new.parameters):
            found.append(f"parameters.{name}: {before!r} then, {now!r} now")
    for name in sorted(old.grid.keys() ^ new.grid.keys()):
        then, now = ("then", "now") if name in old.grid else ("now", "then")
        found.append(f"grid.{name}: an axis {then}, not {now}")
    for key in ("vectorize", "zip"):
        before, now = getattr(old, key), getattr(new, key)
        if sorted(before) != sorted(now):
            found.append(f"{key}: {before!r} then, {now!r} now")
    sources = [spec.source and spec.source.model_dump() for spec in (old, new)]
    code = []
    if sources[0] != sources[1]:
        found.append(f"from: {sources[0]!r} then, {sources[1]!r} now")
    elif new.source and old.facts.source_hash != new.facts.source_hash:
        code.append(f"from: the study {new.source.study} has been run with another recipe since")
    if old.facts.notebook_hash != new.facts.notebook_hash:
        code.append(f"notebook: the code of {Path(new.notebook).name} has changed since")
    return found, code


def _explain(spec: Spec, folder: Path, differences: list[str], files: list[Note], settings: list[str]) -> str:
    runs = runs_of(folder, files)
    count = len(names(folder / "runs", ".nc"))
    lines = [f"{difference}: {count} runs" for difference in differences]
    beside = Path(spec.facts.notebook_path).parent
    lines += [f"{explain(note, beside)} {_some(runs[note.path])}" for note in files]
    to_keep = "" if settings else "; or keep them as they are beside new ones (--changed keep)"
    return (
        f"study {spec.study!r} was run with another recipe:\n  "
        + "\n  ".join(lines)
        + f"\nExpected the same recipe for all runs in {folder}. Choose another name (study: in the spec, or --study "
        "NAME); or execute again the finished runs that it concerns, which removes their results "
        f"(--changed rerun){to_keep}."
    )


def _some(runs: list[str]) -> str:
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    return f"{len(runs)} finished runs ({', '.join(runs[:3])}{more})" if runs else "no finished run"
