"""Put run files side by side in a file: arrays over the grid, filled block by block, with explicit holes.

What is small is collected in memory and written once, because a write of one number takes as long as one of a block;
what is large goes into the file run by run, so memory does not grow with the number of runs.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from kdlandscape.cubes.grid import Grid
from kdlandscape.cubes.runfile import Array, RunFile
from kdlandscape.cubes.schema import is_text
from kdlandscape.cubes.seals import DamagedFileError, check_seal

_MEMORY = 1 << 27  # bytes of all variables that are collected in memory
INDEX = "files"  # group of the cube that names the run files in it


class CubeError(ValueError):
    """Run files cannot be put into one cube."""


class Widened(Exception):  # noqa: N818 - no error: the cube has to be made anew with another type
    """A run has a variable of a wider type than the runs before it."""


class Cube:
    """A cube under construction, in a netCDF4 file.

    Parameters
    ----------
    path
        The file: absent, or an older cube of the same grid and recipe, to which runs are added.
    grid
        The axes.
    kinds
        The type of variables that are known to become wider than the first run has them; Widened adds to it.
    """

    def __init__(self, path: Path, grid: Grid, kinds: dict[str, np.dtype]):
        self.grid, self._kinds = grid, kinds
        self._old = path.exists()
        self._file = netCDF4.Dataset(path, "a" if self._old else "w")
        self._file.set_auto_maskandscale(False)
        self._small: dict[str, np.ndarray] = {}
        self._inner: dict[str, tuple[Array, str]] = {}
        self._texts: dict[str, str] = {}
        self._coords: set[str] = set(grid.along)
        self.attrs: dict[str, Any] = {}
        self._conflicts: set[str] = set()
        self.done = np.zeros(grid.shape, bool)
        if self._old:
            self._reopen()
        else:
            for name in grid.dims:
                self._file.createDimension(name, len(grid.values[name]))

    def _reopen(self) -> None:
        """Take up what an older cube holds."""
        self._coords |= set(str(getattr(self._file, "coordinates", "")).split())
        self.attrs = {key: value for key, value in self._file.__dict__.items() if key != "coordinates"}
        self._conflicts = set(json.loads(self._file[INDEX].conflicts))
        self.done = self._file["done"][...].astype(bool)
        for name, variable in self._file.variables.items():
            if name in self.grid.values or name in ("done", "planned"):
                continue
            if set(self.grid.outer) <= set(variable.dimensions) and name not in self._loose(variable.dimensions, name):
                if self._fits_in_memory(variable.shape, variable.dtype):
                    self._small[name] = self._read(variable)
            else:
                values = np.asarray(variable[...], object if variable.dtype is str else None)
                self._inner[name] = (Array(variable.dimensions, values, {}), "earlier runs")

    def _read(self, variable: netCDF4.Variable) -> np.ndarray:
        """Read a variable whole; equal texts, such as package versions, are kept once."""
        if variable.dtype is not str:
            return np.asarray(variable[...])
        values = np.empty(variable.shape, object)
        for rows in _slices(variable.shape):
            part = np.asarray(variable[rows], object)
            values[rows] = self._shared(part)
        return values

    def _shared(self, values: np.ndarray) -> np.ndarray:
        same = [self._texts.setdefault(text, text) for text in values.ravel()]
        return np.array(same, object).reshape(values.shape)

    def _loose(self, dims: Sequence[str], name: str) -> set[str]:
        """Where all axes are inside the one run, coordinates with dims do not belong to a cell."""
        return {name} if not self.grid.outer and name in self._coords and dims else set()

    def known(self) -> set[str]:
        """Return the variables that need no attributes any more."""
        return set(self._file.variables)

    def place(self, run: RunFile, cell: Mapping[str, int], file: str) -> None:
        """Fill the cell of a run."""
        for name, array in run.variables.items():
            if name in self.grid.along:
                continue
            if name in run.coords and name not in self.grid.values:
                self._coords.add(name)
            if name in self.grid.values:
                self._axis(name, array.attrs)
            elif set(self.grid.outer) <= set(array.dims) and name not in self._loose(array.dims, name):
                self._fill(name, array, cell, file)
            else:
                self._agree(name, array, file)
        self.done[tuple(cell[name] for name in self.grid.outer)] = True
        for key, value in run.attrs.items():
            if key == "run" or key in self._conflicts or np.array_equal(self.attrs.setdefault(key, value), value):
                continue
            self._conflicts.add(key)
            del self.attrs[key]

    def _axis(self, name: str, attrs: Mapping[str, Any]) -> None:
        if name not in self._file.variables:
            self._write(name, (name,), np.array(self.grid.values[name]), attrs)

    def _agree(self, name: str, array: Array, file: str) -> None:
        if name not in self._inner:
            self._inner[name] = (array, file)
            for dim, size in zip(array.dims, array.values.shape, strict=True):
                self._dim(dim, size, name, file)
            self._write(name, array.dims, array.values, array.attrs)
        first, source = self._inner[name]
        if not first.equals(array):
            raise CubeError(f"{name}: expected the same coordinate in every run, got others in {source} and {file}")

    def _dim(self, dim: str, size: int, name: str, file: str) -> None:
        if dim not in self._file.dimensions:
            self._file.createDimension(dim, size)
        elif self._file.dimensions[dim].size != size:
            before = self._file.dimensions[dim].size
            raise CubeError(f"{name}: expected shape {before} along {dim} in every run, got {size} in {file}")

    def _fill(self, name: str, array: Array, cell: Mapping[str, int], file: str) -> None:
        kind = _kind(array.values)
        if name not in self._file.variables:
            self._create(name, array, kind, file)
        variable = self._file.variables[name]
        dims = variable.dimensions
        if set(dims) != set(array.dims):
            listed = ", ".join(dims), ", ".join(array.dims)
            raise CubeError(f"{name}: expected dims {listed[0]} in every run, got {listed[1]} in {file}")
        for dim, size in zip(array.dims, array.values.shape, strict=True):
            if dim not in self.grid.outer:
                self._dim(dim, size, name, file)
        before = np.dtype(object if variable.dtype is str else variable.dtype)
        if (before.kind == "O") != (kind.kind == "O"):
            raise CubeError(f"{name}: expected {before} in every run, got {kind} in {file}")
        if kind.kind != "O" and np.result_type(before, kind) != before:
            self._kinds[name] = np.result_type(before, kind)
            raise Widened(name)
        values = array.values.transpose([array.dims.index(dim) for dim in dims])
        where = tuple(slice(cell[dim], cell[dim] + 1) if dim in cell else slice(None) for dim in dims)
        if name not in self._small:
            variable[where] = values
        elif kind.kind == "O":
            self._small[name][where] = self._shared(values)
        else:
            self._small[name][where] = values

    def _create(self, name: str, array: Array, kind: np.dtype, file: str) -> None:
        inner = [dim for dim in array.dims if dim not in self.grid.outer]
        dims = (*self.grid.outer, *inner)
        for dim in inner:
            self._dim(dim, array.values.shape[array.dims.index(dim)], name, file)
        kind = self._kinds.get(name, kind)
        text = kind.kind == "O"
        variable = self._file.createVariable(name, str if text else kind, dims, fill_value=None if text else np.nan)
        variable.set_auto_maskandscale(False)
        variable.setncatts(array.attrs)
        if self._fits_in_memory(variable.shape, variable.dtype):
            self._small[name] = np.full(variable.shape, "" if text else np.nan, kind)

    def _fits_in_memory(self, shape: tuple[int, ...], kind: Any) -> bool:
        size = np.dtype(object if kind is str else kind).itemsize * int(np.prod(shape))
        return sum(array.nbytes for array in self._small.values()) + size <= _MEMORY

    def _write(self, name: str, dims: Sequence[str], values: np.ndarray, attrs: Mapping[str, Any]) -> None:
        text, flag = is_text(values), values.dtype.kind == "b"
        if name not in self._file.variables:
            self._file.createVariable(name, str if text else "i1" if flag else values.dtype, dims)
        variable = self._file.variables[name]
        variable.setncatts(dict(attrs) | ({"dtype": "bool"} if flag else {}))
        values = values.astype(object if text else "i1" if flag else values.dtype)
        variable[...] = values if values.ndim else values.item()  # netCDF4 takes no text as an array without dims

    def counts(self, names: Sequence[str]) -> dict[str, Counter]:
        """Return how many runs have each value of variables that hold one text or number a run."""
        return {name: Counter(map(str, self._small[name][self.done].ravel())) for name in names if name in self._small}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def complete(self, files: Mapping[str, tuple[int, int]], recipe: str) -> None:
        """Write what was collected, and which run files (name -> size and time) of which recipe are in the cube."""
        for name, values in self._small.items():
            for rows in _slices(values.shape):  # netCDF4 copies texts to write them
                self._file.variables[name][rows] = values[rows] if values.ndim else values.item()
        for name in self.grid.dims:
            self._axis(name, {})
        for name, dim in self.grid.along.items():
            self._write(name, (dim,), np.array(self.grid.values[name]), {})
        unit = {"units": "1"}
        self._write("done", self.grid.outer, self.done, {"long_name": "a run has filled this cell", **unit})
        if self.grid.exclude:
            planned = {"long_name": "a run is meant to fill this cell", **unit}
            self._write("planned", self.grid.outer, self.grid.planned(), planned)
        for key in set(self._file.ncattrs()) - set(self.attrs):
            self._file.delncattr(key)
        self._file.setncatts(self.attrs)
        if self._coords:
            self._file.coordinates = " ".join(sorted(self._coords))
        self._index(files, recipe)

    def _index(self, files: Mapping[str, tuple[int, int]], recipe: str) -> None:
        group = self._file.createGroup(INDEX)
        group.setncatts({"conflicts": json.dumps(sorted(self._conflicts)), "recipe": recipe})
        if "file" not in group.dimensions:
            group.createDimension("file", None)
            group.createDimension("part", 2)
            # the library's own choice along an unlimited dim is a chunk a row
            group.createVariable("name", str, ("file",), chunksizes=(4096,))
            group.createVariable("stamp", "i8", ("file", "part"), chunksizes=(4096, 2))
        names = sorted(files)
        group["name"][: len(names)] = np.array(names, object)
        group["stamp"][: len(names)] = np.array([files[name] for name in names], "i8").reshape(-1, 2)


def _slices(shape: tuple[int, ...]) -> list[Any]:
    """Return indices that cut an array along its first dim into parts of about ten thousand values."""
    if not shape:
        return [...]
    step = max(1, 10_000 // max(1, int(np.prod(shape[1:]))))
    return [slice(start, start + step) for start in range(0, shape[0], step)]


def read_index(path: Path, recipe: str) -> dict[str, tuple[int, int]]:
    """Return the run files in a cube of a recipe: name -> size and time; empty if there is no such cube."""
    try:
        check_seal(path)
        with netCDF4.Dataset(path) as file:
            group = file[INDEX]
            if group.recipe != recipe:
                return {}
            stamps = np.asarray(group["stamp"][...]).tolist()
            return {name: (size, time) for name, (size, time) in zip(group["name"][...], stamps, strict=True)}
    except (OSError, DamagedFileError, IndexError, AttributeError):
        return {}


def _kind(values: np.ndarray) -> np.dtype:
    """Return the type in the cube: integers and booleans become floats at once, so that holes do not change it."""
    if is_text(values):
        return np.dtype(object)
    return np.dtype(np.float64) if values.dtype.kind in "biu" else values.dtype
