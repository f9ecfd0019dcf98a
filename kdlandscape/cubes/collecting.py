"""Collect the run files of a study into a cube, and say which are not part of it and why."""

from collections.abc import Sequence
from pathlib import Path

from kdlandscape.cubes.assembly import Cube, CubeError
from kdlandscape.cubes.grid import Grid
from kdlandscape.cubes.runfile import RunFile, read_run


class SkippedRunFile(UserWarning):
    """A run file is not part of the cube."""


def fill(cube: Cube, paths: Sequence[Path], spec_hash: str) -> tuple[list[str], list[str]]:
    """Fill a cube from run files; return the names of those in it, and why others are not part of it."""
    used, skipped = [], []
    for path in paths:
        try:
            run = read_run(path, cube.known())
        except Exception as error:  # whatever a damaged file makes HDF5 or netCDF4 raise
            skipped.append(
                f"{path.name}: expected a run file as record() wrote it, got {error}; "
                "'kdlandscape clean --corrupt' deletes it, and then it is run again"
            )
            continue
        reason, cell = _cell(run, cube.grid)
        if reason:
            skipped.append(f"{path.name}: {reason}")
            continue
        if run.attrs["spec_hash"] != spec_hash:
            raise CubeError(
                f"{path.name}: expected a run of recipe {spec_hash} (spec.yaml: notebook code and fixed parameters), "
                f"got recipe {run.attrs['spec_hash']}; one cube holds one recipe, so move this file to its own study"
            )
        if cube.done[tuple(cell[name] for name in cube.grid.outer)]:
            skipped.append(
                f"{path.name}: expected one run file for each cell, got another one for {cell}; it is left out"
            )
            continue
        cube.place(run, cell, path.name)
        used.append(path.name)
    return used, skipped


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
