"""Collect the run files of a study into its cube, and say which are not part of it and why."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdlandscape.cubes.assembly import Cube, CubeError, Rebuild
from kdlandscape.cubes.cells import cell_of, in_order
from kdlandscape.cubes.files import READ_ONLY, odd_entries, stamps
from kdlandscape.cubes.grid import VERSION, Grid
from kdlandscape.cubes.index import Entry, Index, read_index
from kdlandscape.cubes.layout import JOINS, disagreements, joined_places, layout_of, signature
from kdlandscape.cubes.locks import lock
from kdlandscape.cubes.provenance import SAME, MixedProvenance, mixtures
from kdlandscape.cubes.runfile import NewerFileError, RunFile, read_run
from kdlandscape.cubes.schema import RUN, SCHEMA
from kdlandscape.cubes.seals import DamagedFileError, unseal, write_sealed
from kdlandscape.cubes.yaml_file import DocumentError, read_yaml


class SkippedRunFile(UserWarning):
    """A run file is not part of the cube."""


class UnwritableError(CubeError):
    """A cube is not up to date, and its folder cannot be written."""


class MixedAttributes(UserWarning):
    """Runs disagree on an attribute, which is therefore not in the cube."""


def compact(study: Path | str, join: str | None = None) -> Path:
    """Assemble ``cube.nc`` from the run files of a study and return its path.

    The cube is a pure function of the finished runs. Those whose results are laid out alike make it; a run that has
    another length, other inner coordinates, units or types costs itself: it is left out and named. Where runs that
    have the same layout are not most of all, the most frequent layout counts, and of several the one of the first file.
    Run files that are in the cube already are not read again; memory does not grow with the number of runs.

    Parameters
    ----------
    study
        The study's folder.
    join
        What is done about inner dims that are longer, or have other coordinates, in some runs than in others:
        ``"exact"``: those runs are left out; ``"outer"``: they go by the values of the coordinate, and the cube has
        all values of any run; ``"pad"``: they go by position, and the cube is as long as the longest run. Where a run
        has no place, there is a hole. Default: ``join`` in the study's ``spec.yaml``, or else ``"exact"``.

    Raises
    ------
    CubeError
        If no run has finished, or if ``spec.yaml`` cannot be read.
    UnwritableError
        If the cube is not up to date, and the study's folder cannot be written.

    Warns
    -----
    SkippedRunFile
        Once, naming run files that are damaged, foreign, outside the grid or not laid out as the others; they stay
        where they are.
    MixedAttributes
        If runs disagree on attributes: those are left out.
    MixedProvenance
        If the runs were made by more than one commit, set of package versions, Python or device.
    """
    study = Path(study)
    spec = _read_spec(study / "spec.yaml")
    task = _Task(study, spec, spec.join if join is None else join)
    made = None
    if not task.is_up_to_date():
        try:
            with lock(study / ".cube.lock"):
                made = None if task.is_up_to_date() else task.build()
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            raise UnwritableError(
                f"{task.path}: expected a cube of all {len(task.files)} finished runs, got one that is not up to date "
                f"in a folder that cannot be written; copy the study to make it"
            ) from error
    _warn(SkippedRunFile, [*task.index.reasons(), *odd_entries(study / "runs", ".nc")])
    if made is not None:
        found = task.index.conflicts.items()
        conflicts = [f"{name} ({why})" for name, why in found if not name.startswith(RUN)]
        _warn(MixedAttributes, conflicts, "attributes on which runs disagree are not in the cube: ")
        if made:
            warnings.warn("the cube mixes " + "; ".join(made), MixedProvenance, stacklevel=2)
    return task.path


def _warn(category: type[UserWarning], lines: list[str], head: str = "") -> None:
    if lines:
        more = [f"... and {len(lines) - 5} more"] if len(lines) > 5 else []
        warnings.warn(head + "\n".join([*lines[:5], *more]), category, stacklevel=3)


@dataclass(frozen=True)
class _Study:
    """What a cube needs of the spec that a sweep has written into the folder of its study."""

    names: dict[str, str]
    grid: Grid
    recipes: list[str]
    join: str


def _read_spec(path: Path) -> _Study:
    expected = f"{path}: expected the spec that a sweep wrote there, got"
    try:
        spec = read_yaml(path)
        resolved = spec["resolved"]
        version = int(resolved.get("version") or 1)
        recipes = [str(resolved["spec_hash"]), *map(str, resolved.get("kept") or [])]
        names = {"study": str(spec["study"]), "description": str(spec.get("description", ""))}
        grid = Grid.of(spec)
        grid.planned()  # fails where the axes are not what their names say
        study = _Study(names, grid, recipes, spec.get("join") or "exact")
    except (OSError, DocumentError) as error:
        raise CubeError(f"{expected} {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CubeError(f"{expected} something else ({error!r}); run the study again") from error
    if version > VERSION:
        raise NewerFileError(path.name, version, VERSION)
    return study


class _Task:
    """The making of one cube: what is known of each run file, and what is still to find out."""

    def __init__(self, folder: Path, study: _Study, join: str) -> None:
        if join not in JOINS:
            raise CubeError(f"join: expected one of {', '.join(JOINS)}, got {join!r}")
        self.runs, self.path = folder / "runs", folder / "cube.nc"
        self.grid, self.join, self.recipes, self.names = study.grid, join, study.recipes, study.names
        facts = [SCHEMA, self.recipes, self.names, asdict(self.grid), join]
        self.key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        self.files = stamps(self.runs, ".nc")
        self.index = Index(self.key)
        self._labels: dict[str, Any] = {}
        self._kinds: dict[str, np.dtype] = {}
        self._owners: dict[int, str] = {}
        self._old: set[str] = set()
        self._first: dict[str, RunFile | None] = {}  # read before the cube was begun
        self._planned = self.grid.planned()

    def is_up_to_date(self) -> bool:
        """Whether the cube is of just the files that are there; take up what it knows of them."""
        self.index = read_index(self.path, self.key)
        entries = self.index.entries
        gone = {name for name, entry in entries.items() if self.files.get(name) != entry.stamp}
        if any(entries[name].used for name in gone):  # the cube holds what is no longer there
            self.index = Index(self.key)
        for name in gone & self.index.entries.keys():
            del entries[name]
        self._owners = {entry.cell: name for name, entry in self.index.entries.items() if entry.layout}
        return not gone and len(entries) == len(self.files) and any(entry.used for entry in entries.values())

    def build(self) -> list[str]:
        """Write the cube; return in what its runs differ that should be the same."""
        self._old = {name for name, entry in self.index.entries.items() if entry.used}
        while True:
            try:
                return write_sealed(self.path, self._write)
            except Rebuild:
                self._old, self.index.conflicts = set(), {}

    def _write(self, temporary: Path) -> list[str]:
        """Add to the cube what is new, on the guess that it is laid out as what is known; Rebuild if it is not."""
        entries, new = self.index.entries, sorted(self.files.keys() - self._old)
        for name, entry in entries.items():
            entry.used = name in self._old  # an attempt before this one may have got further
        if self._old:
            shutil.copyfile(self.path, temporary)
            unseal(temporary)
        while not (guess := self._agreed()):
            unknown = next((name for name in new if name not in entries), None)
            if unknown is None:
                raise CubeError(self._none())
            self._first[unknown] = self._look(unknown)
        places = self._places(guess)
        with closing(Cube(temporary, self.grid, self._kinds, self.join, places, self.index.conflicts)) as cube:
            for name in new:
                if name not in entries or entries[name].layout in guess:
                    self._place(cube, name, guess)
            agreed = self._agreed()
            if not guess <= agreed or not _same(self._places(agreed), places):
                raise Rebuild("most runs are laid out in another way")
            for name in new:
                if entries[name].layout in agreed - guess:
                    self._place(cube, name, agreed)
            self._explain()
            for key, value in self.names.items():
                cube.attrs.setdefault(key, value)
            self.index.conflicts = cube.conflicts
            cube.complete(self.index)
            return mixtures({name: cube.counts(f"{RUN}{name}") for name in SAME})

    def _place(self, cube: Cube, name: str, layouts: set[str]) -> None:
        """Put a run file into the cube, if it has a place there and one of these layouts."""
        run = self._first.pop(name) if name in self._first else self._look(name)
        entry = self.index.entries[name]
        if run is not None and entry.layout in layouts:
            cell = np.unravel_index(entry.cell, self.grid.shape) if self.grid.shape else ()
            cube.place(run, dict(zip(self.grid.outer, map(int, cell), strict=True)), name)
            entry.used = True

    def _look(self, name: str) -> RunFile | None:
        """Read a run file and note how it is laid out and where it belongs; None if it has no place in the cube."""
        entry = self.index.entries[name] = Entry(self.files[name])
        try:
            run = read_run(self.runs / name, self._labels)
        except DamagedFileError as error:
            advice = "'kdlandscape clean --corrupt' deletes it, and then it is run again"
            entry.reason = f"{error}; {advice}".removeprefix(f"{name}: ")
            return None
        except NewerFileError as error:
            entry.reason = str(error).removeprefix(f"{name}: ")
            return None
        run = in_order(run, self.grid)
        entry.reason, cell = cell_of(run, self.grid, self.recipes)
        if entry.reason or not self._planned[tuple(cell)]:  # the spec leaves a cell out on purpose
            return None
        entry.cell = int(np.ravel_multi_index(cell, self.grid.shape)) if cell else 0
        owner = self._owners.setdefault(entry.cell, name)
        if owner > name:  # the first by name has the cell, whichever was finished first
            self.index.entries[owner] = Entry(self.files[owner], reason=self._twice(name))
            self._owners[entry.cell] = name
            raise Rebuild(name)
        if owner != name:
            entry.reason = self._twice(owner)
            return None
        layout = layout_of(run, self.grid, self.join)
        entry.layout = signature(layout)
        self.index.layouts.setdefault(entry.layout, layout)
        return run

    def _twice(self, owner: str) -> str:
        return f"expected one run file for each cell, got another one beside {owner}; it is left out"

    def _agreed(self) -> set[str]:
        """Return the layouts that go into the cube."""
        return {entry.layout for entry in self.index.entries.values() if entry.layout} - self._odd().keys()

    def _odd(self) -> dict[str, str]:
        runs = {name: entry.layout for name, entry in self.index.entries.items() if entry.layout}
        return disagreements(self.index.layouts, runs)

    def _explain(self) -> None:
        odd = self._odd()
        for entry in self.index.entries.values():
            if entry.layout:
                entry.reason = odd.get(entry.layout, "")

    def _places(self, layouts: set[str]) -> dict[str, np.ndarray]:
        if self.join == "exact":
            return {}
        return joined_places([layout for name, layout in self.index.layouts.items() if name in layouts], self.join)

    def _none(self) -> str:
        reasons = "".join(f"\n{reason}" for reason in self.index.reasons()[:5])
        return f"expected at least one finished run to make a cube of, got none{reasons}"


def _same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
