"""What a cube remembers of the run files of its study: which are in it, how each is laid out, why others are not."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import netCDF4
import numpy as np

from kdlandscape.cubes.layout import Layout
from kdlandscape.cubes.seals import DamagedFileError, check_seal

_GROUP = "files"
_CHUNK = 512  # rows; the library's own choice along an unlimited dim is a chunk a row


@dataclass
class Entry:
    """A run file: its size and time of change, its layout and its cell, whether it is in the cube, and if not why."""

    stamp: tuple[int, int]
    layout: str = ""
    cell: int = -1
    used: bool = False
    reason: str = ""


@dataclass
class Index:
    """All run files of a cube of a recipe, the layouts by name, and the attributes on which runs disagree."""

    key: str
    entries: dict[str, Entry] = field(default_factory=dict)
    layouts: dict[str, Layout] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)

    def reasons(self) -> list[str]:
        """Return why files are not in the cube, file by file."""
        return [f"{name}: {entry.reason}" for name, entry in sorted(self.entries.items()) if entry.reason]


def read_index(path: Path, key: str) -> Index:
    """Return what a cube remembers; nothing if there is no whole cube of this recipe."""
    try:
        check_seal(path)
        with netCDF4.Dataset(path) as file:
            group = file[_GROUP]
            if group.key != key:
                return Index(key)
            columns = [np.asarray(group[name][...]).tolist() for name in ("name", "stamp", "cell", "used", "reason")]
            layouts = {name: json.loads(text) for name, text in zip(*_texts(group, "layout", "content"), strict=True)}
            names = np.asarray(group["of"][...]).tolist()
            conflicts = dict(zip(*_texts(group, "conflict", "why"), strict=True))
    except (OSError, DamagedFileError, IndexError, KeyError, AttributeError):
        return Index(key)
    known = list(layouts)
    rows = zip(*columns, names, strict=True)
    entries = {
        name: Entry(tuple(stamp), known[of] if of >= 0 else "", cell, bool(used), reason)
        for name, stamp, cell, used, reason, of in rows
    }
    return Index(key, entries, layouts, conflicts)


def write_index(file: netCDF4.Dataset, index: Index) -> None:
    """Write the index into a cube, over an older one."""
    group = file.createGroup(_GROUP)
    group.setncatts({"key": index.key})
    order = sorted(index.entries)
    entries = [index.entries[name] for name in order]
    layouts = {name: i for i, name in enumerate(index.layouts)}
    places = [layouts.get(entry.layout, -1) for entry in entries]
    _write(group, "file", {"name": order, "reason": [entry.reason for entry in entries]})
    cells, used = [entry.cell for entry in entries], [entry.used for entry in entries]
    for name, values in (("cell", cells), ("used", used), ("of", places)):
        _column(group, name, "i8", ("file",))[: len(entries)] = np.array(values, "i8")
    if "part" not in group.dimensions:
        group.createDimension("part", 2)
    stamps = np.array([entry.stamp for entry in entries], "i8").reshape(-1, 2)
    _column(group, "stamp", "i8", ("file", "part"))[: len(stamps)] = stamps
    contents = [json.dumps(layout) for layout in index.layouts.values()]
    _write(group, "layouts", {"layout": layouts, "content": contents})
    _write(group, "conflicts", {"conflict": index.conflicts, "why": index.conflicts.values()})


def _write(group: netCDF4.Group, dim: str, columns: dict[str, Iterable[str]]) -> None:
    if dim not in group.dimensions:
        group.createDimension(dim, None)
    for name, texts in columns.items():
        values = np.array(list(texts), object)
        _column(group, name, str, (dim,))[: len(values)] = values


def _column(group: netCDF4.Group, name: str, kind: type | str, dims: tuple[str, ...]) -> netCDF4.Variable:
    if name in group.variables:
        return group[name]
    return group.createVariable(name, kind, dims, chunksizes=(_CHUNK, 2)[: len(dims)])


def _texts(group: netCDF4.Group, *names: str) -> list[list[str]]:
    return [np.asarray(group[name][...], object).tolist() for name in names]
