"""Put run files side by side: full arrays over the grid, filled block by block, with explicit holes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.cubes.schema import is_text


class CubeError(ValueError):
    """Run files cannot be put into one cube."""


class SkippedRunFile(UserWarning):
    """A run file is not part of the cube."""


@dataclass
class _Cube:
    """The arrays under construction, by variable name."""

    grid: Mapping[str, list]
    outer: list[str]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    dims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    attrs: dict[str, dict] = field(default_factory=dict)
    inner: dict[str, tuple[xr.Variable, str]] = field(default_factory=dict)
    coords: set[str] = field(default_factory=set)


def assemble(
    paths: Sequence[Path], grid: Mapping[str, list], vectorize: Sequence[str], spec_hash: str
) -> tuple[xr.Dataset, list[str]]:
    """Assemble a cube over a grid, and say which files are not part of it and why.

    Numbers are NaN and texts empty where no run has filled a cell; integers and booleans become floats for this, at
    once and not only when a cell is missing, so that a type does not change while the study runs.

    Parameters
    ----------
    paths
        Run files.
    grid
        Values along each axis.
    vectorize
        The axes that every run covers as a whole; the others hold one value a run.
    spec_hash
        The recipe that every run has to be made by.
    """
    outer = [name for name in grid if name not in vectorize]
    cube = _Cube(grid, outer)
    done = np.zeros([len(grid[name]) for name in outer], bool)
    skipped, attrs = [], []
    for path in paths:
        try:
            run = xr.load_dataset(path, engine="netcdf4")
        except Exception as error:  # whatever a damaged file makes HDF5, netCDF4 or xarray raise
            skipped.append(
                f"{path.name}: expected a run file, got one that cannot be read ({error}); delete it to rerun"
            )
            continue
        reason, cell = _cell(run, grid, outer)
        if reason:
            skipped.append(f"{path.name}: {reason}")
            continue
        if run.attrs["spec_hash"] != spec_hash:
            raise CubeError(
                f"{path.name}: expected a run of recipe {spec_hash} (spec.yaml: notebook code and fixed parameters), "
                f"got recipe {run.attrs['spec_hash']}; one cube holds one recipe, so move this file to its own study"
            )
        _place(cube, run, cell, path.name)
        done[tuple(cell[name] for name in outer)] = True
        attrs.append({key: value for key, value in run.attrs.items() if key != "run"})
    if not attrs:
        raise CubeError("expected at least one finished run to make a cube of, got none")
    return _finish(cube, done, attrs), skipped


def _cell(run: xr.Dataset, grid: Mapping[str, list], outer: Sequence[str]) -> tuple[str, dict[str, int]]:
    """Return a run's index along each outer axis, or the reason why it has no place in the grid."""
    if "spec_hash" not in run.attrs or not run.data_vars:
        return "expected a run file written by record(), got another netCDF file; it is left out", {}
    cell = {}
    for name, values in grid.items():
        own = run[name].values.tolist() if name in run.dims and name in run.coords else None
        fits = own is not None and (len(own) == 1 and own[0] in values if name in outer else own == values)
        if not fits:
            return f"expected {name} to be {'one of ' if name in outer else ''}{values}, got {own}; it is left out", {}
        if own is not None and name in outer:
            cell[name] = values.index(own[0])
    return "", cell


def _place(cube: _Cube, run: xr.Dataset, cell: Mapping[str, int], file: str) -> None:
    for name, variable in run.variables.items():
        name = str(name)
        if name in cube.grid:
            cube.attrs.setdefault(name, variable.attrs)
        elif set(cube.outer) <= set(variable.dims) and (cube.outer or name not in run.coords or not variable.dims):
            if name in run.coords:
                cube.coords.add(name)
            _fill(cube, name, variable, cell, file)
        else:
            first, source = cube.inner.setdefault(name, (variable.drop_encoding(), file))
            if not first.equals(variable):
                raise CubeError(f"{name}: expected the same coordinate in every run, got others in {source} and {file}")


def _fill(cube: _Cube, name: str, variable: xr.Variable, cell: Mapping[str, int], file: str) -> None:
    rest = [str(dim) for dim in variable.dims if dim not in cube.outer]
    if name not in cube.arrays:
        cube.dims[name] = (*cube.outer, *rest)
        cube.attrs[name] = variable.attrs
    dims = cube.dims[name]
    if set(dims) != set(map(str, variable.dims)):
        raise CubeError(
            f"{name}: expected dims {', '.join(dims)} in every run, got {', '.join(map(str, variable.dims))} in {file}"
        )
    values = variable.transpose(*dims).values
    kind = _kind(values)
    shape = tuple(
        len(cube.grid[dim]) if dim in cube.grid else size for dim, size in zip(dims, values.shape, strict=True)
    )
    if name not in cube.arrays:
        cube.arrays[name] = np.full(shape, _filler(kind), kind)
    elif cube.arrays[name].shape != shape:
        raise CubeError(f"{name}: expected shape {cube.arrays[name].shape} in every run, got {shape} in {file}")
    elif cube.arrays[name].dtype != kind:
        if object in (cube.arrays[name].dtype, kind):
            raise CubeError(f"{name}: expected {cube.arrays[name].dtype} in every run, got {kind} in {file}")
        cube.arrays[name] = cube.arrays[name].astype(np.result_type(cube.arrays[name].dtype, kind))
    where = tuple(slice(cell[dim], cell[dim] + 1) if dim in cell else slice(None) for dim in dims)
    cube.arrays[name][where] = values


def _kind(values: np.ndarray) -> np.dtype:
    if is_text(values):
        return np.dtype(object)
    return np.dtype(np.float64) if values.dtype.kind in "biu" else values.dtype


def _filler(kind: np.dtype) -> Any:
    return "" if kind.kind == "O" else np.nan


def _finish(cube: _Cube, done: np.ndarray, attrs: Sequence[Mapping[str, Any]]) -> xr.Dataset:
    labels = {"long_name": "a run has filled this cell", "units": "1"}
    variables = {name: (cube.dims[name], array, cube.attrs[name]) for name, array in cube.arrays.items()}
    axes = {name: (name, np.array(values), cube.attrs.get(name, {})) for name, values in cube.grid.items()}
    dataset = xr.Dataset(
        {name: variable for name, variable in variables.items() if name not in cube.coords}
        | {"done": (tuple(cube.outer), done, labels)},
        axes
        | {name: variable for name, (variable, _) in cube.inner.items()}
        | {name: variable for name, variable in variables.items() if name in cube.coords},
    )
    dataset.attrs = _agreed(attrs)
    return dataset


def _agreed(attrs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Keep the attributes that no two runs disagree on."""
    first: dict[str, Any] = {}
    conflicts = set()
    for one in attrs:
        for key, value in one.items():
            if not np.array_equal(first.setdefault(key, value), value):
                conflicts.add(key)
    return {key: value for key, value in first.items() if key not in conflicts}
