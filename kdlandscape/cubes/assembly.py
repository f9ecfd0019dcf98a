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
from kdlandscape.cubes.index import Index, write_index
from kdlandscape.cubes.layout import at_places, is_cell
from kdlandscape.cubes.runfile import TIMES, Array, RunFile
from kdlandscape.cubes.schema import DONE, PLANNED, RUN, SCHEMA, is_large, is_text

_MEMORY = 1 << 27  # bytes of all variables that are collected in memory
_HOLE = np.iinfo(np.int64).min  # in integers; dates and durations read it as NaT
_NOT_MERGED = (f"{RUN}id", f"{RUN}labels", f"{RUN}schema")


class CubeError(ValueError):
    """A study has no cube, or a file is none."""


class Rebuild(Exception):  # noqa: N818 - no error: the cube has to be made anew with what is known now
    """A run does not go into the cube as it was begun."""


class Cube:
    """A cube under construction, in a netCDF4 file.

    Parameters
    ----------
    path
        The file: absent, or an older cube of the same grid and recipe, to which runs are added.
    grid
        The axes.
    kinds
        The type of variables that are known to become wider than the first run has them; a Rebuild adds to it.
    join
        What is done about inner dims along which runs have other places; see `kdlandscape.cubes.compaction.compact`.
    places
        The coordinates of such dims.
    conflicts
        Attributes on which earlier runs disagree: name -> what they were; those of a variable as "variable.name".
    """

    def __init__(
        self,
        path: Path,
        grid: Grid,
        kinds: dict[str, np.dtype],
        join: str = "exact",
        places: Mapping[str, np.ndarray] | None = None,
        conflicts: Mapping[str, str] | None = None,
    ) -> None:
        self.grid, self._kinds, self._join = grid, kinds, join
        self._places = dict(places or {})
        old = path.exists()
        self._file = netCDF4.Dataset(path, "a" if old else "w")
        self._file.set_auto_maskandscale(False)
        self._small: dict[str, np.ndarray] = {}
        self._texts: dict[str, str] = {}
        self._coords: set[str] = set(grid.along)
        self._seen: set[str] = set()  # labels that have been compared
        self._source: dict[str, str] = {}  # attribute -> the run file it is from
        self.attrs: dict[str, Any] = {}
        self.labels: dict[str, dict[str, Any]] = {}
        self.conflicts = dict(conflicts or {})
        self.done = np.zeros(grid.shape, bool)
        if old:
            self._reopen()
        else:
            for name in grid.dims:
                self._file.createDimension(name, len(grid.values[name]))
            for name, values in self._places.items():
                self._file.createDimension(name, len(values))

    def _reopen(self) -> None:
        """Take up what an older cube holds."""
        self._coords |= set(str(getattr(self._file, "coordinates", "")).split())
        self.attrs = {key: value for key, value in self._file.__dict__.items() if key != "coordinates"}
        self.done = self._file[DONE][...].astype(bool)
        for name, variable in self._file.variables.items():
            self.labels[name] = {key: value for key, value in variable.__dict__.items() if key != "_FillValue"}
            shared = name in (*self.grid.values, DONE, PLANNED) or name in variable.dimensions
            cell = set(self.grid.outer) <= set(variable.dimensions) and not shared
            if cell and self._fits_in_memory(variable.shape, variable.dtype):
                self._small[name] = self._read(variable)

    def _read(self, variable: netCDF4.Variable) -> np.ndarray:
        """Read a variable whole; equal texts, such as package versions, are kept once."""
        if variable.dtype is not str:
            return np.asarray(variable[...])
        values = np.empty(variable.shape, object)
        for rows in _slices(variable.shape):
            values[rows] = self._shared(np.asarray(variable[rows], object))
        return values

    def _shared(self, values: np.ndarray) -> np.ndarray:
        same = [self._texts.setdefault(text, text) for text in values.ravel()]
        return np.array(same, object).reshape(values.shape)

    def place(self, run: RunFile, cell: Mapping[str, int], file: str) -> None:
        """Fill the cell of a run whose layout agrees with that of the cube."""
        if not run.labels or run.labels not in self._seen:
            self._seen.add(run.labels)
            for name, array in run.variables.items():
                self._merge(self.labels.setdefault(name, {}), array.attrs, file, f"{name}.")
        for name, array in run.variables.items():
            if name in run.coords and name not in self.grid.values:
                self._coords.add(name)
            if name in self.grid.values:
                continue
            if is_cell(name, array, run, self.grid, self._join):
                self._fill(name, array, run, cell)
            elif name in self._places and name in array.dims:
                self._follow(name, array, run, cell)
            elif name not in self._file.variables:
                for dim, size in zip(array.dims, array.values.shape, strict=True):
                    self._dim(dim, size)
                self._write(name, array.dims, array.values)
        self.done[tuple(cell[name] for name in self.grid.outer)] = True
        self._merge(self.attrs, {key: run.attrs[key] for key in run.attrs if key not in _NOT_MERGED}, file)

    def _merge(self, attrs: dict[str, Any], own: Mapping[str, Any], file: str, prefix: str = "") -> None:
        """Keep the attributes on which all runs agree, and what became of the others."""
        for key, value in own.items():
            name = f"{prefix}{key}"
            if name in self.conflicts:
                continue
            if key not in attrs:
                attrs[key] = value
                self._source[name] = file
            elif not np.array_equal(attrs[key], value):
                first = self._source.get(name, "earlier runs")
                self.conflicts[name] = f"{_short(attrs.pop(key))} in {first}, {_short(value)} in {file}"

    def _follow(self, name: str, array: Array, run: RunFile, cell: Mapping[str, int]) -> None:
        """Keep a run's own coordinate of a dim along which the cube has positions."""
        size = len(array.values)
        if not np.array_equal(self._places[name][:size], array.values) and self._join == "pad":
            dims = (*self.grid.outer, name)
            values = array.values.reshape((1,) * len(self.grid.outer) + (size,))
            self._coords.add(f"{RUN}{name}")
            self.labels.setdefault(f"{RUN}{name}", self.labels.get(name, {}))
            self._fill(f"{RUN}{name}", Array(dims, values, {}), run, cell)

    def _dim(self, dim: str, size: int) -> None:
        if dim not in self._file.dimensions:
            self._file.createDimension(dim, size)

    def _fill(self, name: str, array: Array, run: RunFile, cell: Mapping[str, int]) -> None:
        array = _spread(array, self.grid.outer)
        kind = self._kind(array.values)
        if name not in self._file.variables:
            self._create(name, array, self._kinds.get(name, kind))
        variable = self._file.variables[name]
        before = np.dtype(object if variable.dtype is str else variable.dtype)
        if before != kind and before.kind != "O":
            wider = kind if kind.kind == "i" else np.result_type(before, kind)
            if wider != before and before.kind != "i":
                self._kinds[name] = wider
                raise Rebuild(name)
        dims = variable.dimensions
        values = array.values.transpose([array.dims.index(dim) for dim in dims])
        values = values.view("i8") if values.dtype.kind in TIMES else values
        if set(dims) & set(self._places):
            full = [1 if dim in self.grid.outer else size for dim, size in zip(dims, variable.shape, strict=True)]
            values = at_places(values, dims, run, self._places, self._join, np.full(full, _hole(before), before))
        where = tuple(slice(cell[dim], cell[dim] + 1) if dim in cell else slice(None) for dim in dims)
        if name in self._small:
            self._small[name][where] = self._shared(values) if before.kind == "O" else values
        else:
            variable[where] = values

    def _kind(self, values: np.ndarray) -> np.dtype:
        """Return the type in the cube: integers and booleans become floats at once, so that holes do not change it.

        Integers that floats cannot tell apart stay integers, with the smallest one for a hole.
        """
        if is_text(values):
            return np.dtype(object)
        if values.dtype.kind in TIMES or is_large(values):
            return np.dtype(np.int64)
        return np.dtype(np.float64) if values.dtype.kind in "biu" else values.dtype

    def _create(self, name: str, array: Array, kind: np.dtype) -> None:
        inner = [dim for dim in array.dims if dim not in self.grid.outer]
        for dim in inner:
            self._dim(dim, array.values.shape[array.dims.index(dim)])
        dims = (*self.grid.outer, *inner)
        shape = tuple(self._file.dimensions[dim].size for dim in dims)
        small = self._fits_in_memory(shape, kind)
        variable = self._file.createVariable(
            name,
            str if kind.kind == "O" else kind,
            dims,
            fill_value=np.nan if kind.kind == "f" else None,
            fletcher32=not small and kind.kind != "O",
        )
        variable.set_auto_maskandscale(False)
        if small:
            self._small[name] = np.full(shape, _hole(kind), kind)
        elif kind.kind == "i":
            for rows in _slices(shape):
                variable[rows] = _HOLE
        if array.values.dtype.kind in TIMES:
            self.labels[name] |= _time_attrs(array.values)

    def _fits_in_memory(self, shape: tuple[int, ...], kind: Any) -> bool:
        size = np.dtype(object if kind is str else kind).itemsize * int(np.prod(shape))
        return sum(array.nbytes for array in self._small.values()) + size <= _MEMORY

    def _write(self, name: str, dims: Sequence[str], values: np.ndarray) -> None:
        text, kind = is_text(values), values.dtype.kind
        if kind in TIMES:
            self.labels.setdefault(name, {}).update(_time_attrs(values))
        elif kind == "b":
            self.labels.setdefault(name, {})["dtype"] = "bool"
        values = values.astype(object if text else "i1" if kind == "b" else "i8" if kind in TIMES else values.dtype)
        if name not in self._file.variables:
            self._file.createVariable(name, str if text else values.dtype, dims)
        variable = self._file.variables[name]
        variable[...] = values if values.ndim else values.item()  # netCDF4 takes no text as an array without dims

    def counts(self, name: str) -> Counter:
        """Return how many runs have each value of a variable that holds one text or number a run."""
        return Counter(map(str, self._small[name][self.done].ravel())) if name in self._small else Counter()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def complete(self, index: Index) -> None:
        """Write what was collected: small variables, axes, which cells are done, attributes, and an index."""
        for name, values in self._small.items():
            for rows in _slices(values.shape):  # netCDF4 copies texts to write them
                self._file.variables[name][rows] = values[rows] if values.ndim else values.item()
        for name in self.grid.dims:
            self._write(name, (name,), np.array(self.grid.values[name]))
        for name, dim in self.grid.along.items():
            self._write(name, (dim,), np.array(self.grid.values[name]))
        for name, values in self._places.items():
            self._write(name, (name,), values)
        unit = {"units": "1"}
        self.labels[DONE] = {"long_name": "a run has filled this cell", **unit}
        self._write(DONE, self.grid.outer, self.done)
        if self.grid.exclude:
            self.labels[PLANNED] = {"long_name": "a run is meant to fill this cell", **unit}
            self._write(PLANNED, self.grid.outer, self.grid.planned())
        for name, variable in self._file.variables.items():
            _set_attrs(variable, self.labels.get(name, {}))
        _set_attrs(self._file, {**self.attrs, f"{RUN}schema": SCHEMA})
        if self._coords:
            self._file.coordinates = " ".join(sorted(self._coords))
        write_index(self._file, index)


def _spread(array: Array, outer: Sequence[str]) -> Array:
    """Give a fact of a run the dims of its place."""
    missing = [dim for dim in outer if dim not in array.dims]
    shape = (1,) * len(missing) + array.values.shape
    return Array((*missing, *array.dims), array.values.reshape(shape), array.attrs)


def _hole(kind: np.dtype) -> Any:
    return {"O": "", "i": _HOLE}.get(kind.kind, np.nan)


def _time_attrs(values: np.ndarray) -> dict[str, str]:
    return {"units": TIMES[values.dtype.kind], "dtype": values.dtype.name}


def _set_attrs(holder: Any, attrs: Mapping[str, Any]) -> None:
    for key in set(holder.ncattrs()) - set(attrs) - {"_FillValue"}:
        holder.delncattr(key)
    holder.setncatts(dict(attrs))


def _slices(shape: Sequence[int]) -> list[Any]:
    """Return indices that cut an array along its first dim into parts of about ten thousand values."""
    if not shape:
        return [...]
    step = max(1, 10_000 // max(1, int(np.prod(shape[1:]))))
    return [slice(start, start + step) for start in range(0, shape[0], step)]


def _short(value: Any) -> str:
    text = json.dumps(value.tolist() if hasattr(value, "tolist") else value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."
