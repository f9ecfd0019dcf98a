"""Collect the run files of a study into its cube, and say which are not part of it and why."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from kdlandscape.cubes.assembly import Cube, CubeError, Widened, read_index
from kdlandscape.cubes.files import stamps
from kdlandscape.cubes.grid import Grid
from kdlandscape.cubes.locks import lock
from kdlandscape.cubes.provenance import SAME, MixedProvenance, mixtures
from kdlandscape.cubes.runfile import RunFile, read_run
from kdlandscape.cubes.seals import DamagedFileError, unseal, write_sealed
from kdlandscape.cubes.yaml_file import read_yaml


class SkippedRunFile(UserWarning):
    """A run file is not part of the cube."""


def compact(study: Path | str) -> Path:
    """Assemble ``cube.nc`` from the run files of a study and return its path.

    Run files that are in the cube already are not read again; memory does not grow with the number of runs.

    Parameters
    ----------
    study
        The study's folder.

    Raises
    ------
    CubeError
        If no run has finished, if a run was made by another recipe than ``spec.yaml`` says, or if runs disagree on an
        inner coordinate.

    Warns
    -----
    SkippedRunFile
        Once, naming run files that are corrupt, foreign or outside the grid; they stay where they are.
    MixedProvenance
        If the runs were made by more than one commit, set of package versions, Python or device.
    """
    study = Path(study)
    spec = read_yaml(study / "spec.yaml")
    with lock(study / ".cube.lock"):
        skipped, mixed = _assemble(study, spec, Grid.of(spec), study / "cube.nc")
    if skipped:
        more = [f"... and {len(skipped) - 5} more"] if len(skipped) > 5 else []
        warnings.warn("\n".join([*skipped[:5], *more]), SkippedRunFile, stacklevel=2)
    if mixed:
        warnings.warn("the cube mixes " + "; ".join(mixed), MixedProvenance, stacklevel=2)
    return study / "cube.nc"


def _assemble(study: Path, spec: dict[str, Any], grid: Grid, path: Path) -> tuple[list[str], list[str]]:
    """Bring the cube up to date; return why files are not part of it, and in what its runs differ."""
    recipes = [spec["resolved"]["spec_hash"], *spec["resolved"].get("kept", [])]
    names = {"study": spec["study"], "description": spec.get("description", "")}
    recipe = hashlib.sha256(json.dumps([recipes, names, asdict(grid)]).encode()).hexdigest()
    files = stamps(study / "runs", ".nc")
    old = read_index(path, recipe)
    if any(files.get(name) != stamp for name, stamp in old.items()):
        old = {}  # the cube holds what is no longer there
    if old and len(old) == len(files):
        return [], []
    kinds: dict[str, np.dtype] = {}

    def build(temporary: Path) -> tuple[list[str], list[str]]:
        if old:
            shutil.copyfile(path, temporary)
            unseal(temporary)
        with closing(Cube(temporary, grid, kinds)) as cube:
            new = [study / "runs" / name for name in sorted(files.keys() - old.keys())]
            used, skipped = _fill(cube, new, recipes)
            if not used and not old:
                raise CubeError("expected at least one finished run to make a cube of, got none")
            cube.attrs |= names
            cube.complete({name: files[name] for name in [*old, *used]}, recipe)
            return skipped, mixtures(cube.counts(SAME))

    while True:
        try:
            return write_sealed(path, build)
        except Widened:
            old = {}


def _fill(cube: Cube, paths: Sequence[Path], recipes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Fill a cube from run files; return the names of those in it, and why others are not part of it."""
    used, skipped = [], []
    for path in paths:
        try:
            run = read_run(path, cube.known())
        except DamagedFileError as error:
            skipped.append(f"{error}; 'kdlandscape clean --corrupt' deletes it, and then it is run again")
            continue
        run = _in_order(run, cube.grid)
        reason, cell = _cell(run, cube.grid)
        if reason:
            skipped.append(f"{path.name}: {reason}")
            continue
        if run.attrs["spec_hash"] not in recipes:
            raise CubeError(
                f"{path.name}: expected a run of recipe {' or '.join(recipes)} (spec.yaml: notebook code and fixed "
                f"parameters), got recipe {run.attrs['spec_hash']}; "
                "one cube holds one recipe, so move this file to its own study"
            )
        if cube.done[tuple(cell[name] for name in cube.grid.outer)]:
            skipped.append(
                f"{path.name}: expected one run file for each cell, got another one for {cell}; it is left out"
            )
            continue
        cube.place(run, cell, path.name)
        used.append(path.name)
    return used, skipped


def _in_order(run: RunFile, grid: Grid) -> RunFile:
    """Return a run with the grid's order of values along the axes inside it; a spec may name them in another one."""
    variables = run.variables
    for name in [name for name in grid.vectorize if name in variables]:
        own, values = variables[name].values.tolist(), grid.values[name]
        if own != values and len(own) == len(values) and set(own) == set(values):
            order = [own.index(value) for value in values]
            variables = {
                key: replace(array, values=array.values.take(order, axis=array.dims.index(name)))
                if name in array.dims
                else array
                for key, array in variables.items()
            }
    return replace(run, variables=variables)


def _cell(run: RunFile, grid: Grid) -> tuple[str, dict[str, int]]:
    """Return a run's index along each outer axis, or the reason why it has no place in the grid."""
    if "spec_hash" not in run.attrs or not set(run.variables) - run.coords:
        return "expected a run file written by record(), got another netCDF file; it is left out", {}
    cell = {}
    for name in grid.dims:
        values = grid.values[name]
        own = run.variables[name].values.tolist() if name in run.variables else None
        fits = own is not None and (len(own) == 1 and own[0] in values if name in grid.outer else own == values)
        if not fits:
            some = "one of " if name in grid.outer else ""
            return f"expected {name} to be {some}{values}, got {own}; it is left out", {}
        if own is not None and name in grid.outer:
            cell[name] = values.index(own[0])
    for name, dim in grid.along.items():
        own, expected = run.variables[name].values.tolist(), grid.values[name][cell[dim]]
        if own != [expected]:
            return f"expected {name} to be {expected} at {dim} {grid.values[dim][cell[dim]]}, got {own}", {}
    return "", cell
