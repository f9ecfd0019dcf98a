"""Studies that take checkpoints from another study, run by run: which file belongs to which run."""

import hashlib
import json
from pathlib import Path

from kdlandscape.cubes.files import names
from kdlandscape.nearest import listed
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.places import find_study
from kdlandscape.sweeps.plan import Run, plan
from kdlandscape.sweeps.snapshot import read_snapshot
from kdlandscape.sweeps.spec import Source, Spec


def bind(spec: Spec, root: Path) -> tuple[Spec, dict[str, Path]]:
    """Find the checkpoints that the runs of a study take.

    Parameters
    ----------
    spec
        The study; without ``from`` it comes back as it is, with no files.
    root
        Folder of studies.

    Returns
    -------
    Spec
        The study with the recipe of the other one in its own: checkpoints of another recipe give other results.
    dict
        Run id -> run file, for every run; a file that does not exist yet belongs to a run that is not done.
    """
    source = spec.source
    if source is None:
        return spec, {}
    folder = find_study(source.study, root)
    other = read_snapshot(folder)
    recipe = json.dumps([spec.facts.spec_hash, source.model_dump(), other.facts.spec_hash])
    facts = spec.facts.model_copy(
        update={
            "spec_hash": hashlib.sha256(recipe.encode()).hexdigest()[:16],
            "source_hash": other.facts.spec_hash,
        }
    )
    return spec.model_copy(update={"resolved": facts}), _match(spec, source, other, folder)


def waiting(files: dict[str, Path]) -> set[str]:
    """Return the runs whose checkpoints are not there yet."""
    done = {folder: names(folder, "") for folder in {path.parent for path in files.values()}}
    return {run for run, path in files.items() if path.name not in done[path.parent]}


def _match(spec: Spec, source: Source, other: Spec, folder: Path) -> dict[str, Path]:
    theirs = [name for name in other.grid if name not in other.vectorize]
    ours = [name for name in spec.grid if name not in spec.vectorize]
    share = [name for name in theirs if name not in source.at] if source.share is None else source.share
    for name in [*share, *source.at]:
        if name not in theirs:
            raise SpecError(f"from: expected axes between the runs of {source.study} ({listed(theirs)}), got {name!r}")
    for name in share:
        if name not in ours:
            raise SpecError(
                f"from: expected the shared axis {name} in this study's grid too, between its runs ({listed(ours)}); "
                f"add it, or choose one of its values by at: {{{name}: ...}}"
            )
    found: dict[tuple, list[Run]] = {}
    for run in plan(other):
        if all(run.coords[name] == value for name, value in source.at.items()):
            found.setdefault(tuple(run.coords[name] for name in share), []).append(run)
    files = {}
    for run in plan(spec):
        candidates = found.get(tuple(run.coords[name] for name in share), [])
        if len(candidates) != 1:
            where = ", ".join(f"{name}={run.coords[name]!r}" for name in share) or "all runs"
            rest = [name for name in theirs if name not in share and name not in source.at]
            more = f"; add {listed(rest)} to share, or choose a value under at" if candidates else ""
            raise SpecError(
                f"from: expected one run of {source.study} for {where}, got {len(candidates)} in its grid{more}"
            )
        files[run.id] = folder / "runs" / f"{candidates[0].id}.nc"
    return files
