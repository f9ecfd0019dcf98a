"""Files of a study: one immutable netCDF4 file a run, error records, and the cube that is assembled from the runs.

A study's folder holds ``spec.yaml``, ``runs/<id>.nc`` and ``.ipynb``, ``errors/<id>.json``, ``cube.nc``, ``figures/``.
Every file is written under a temporary name in the same folder, flushed to disk and renamed, so a reader and a killed
writer see either the old file or the new one.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr

from kdlandscape.cubes.assembly import CubeError
from kdlandscape.cubes.compaction import MixedAttributes, SkippedRunFile, UnwritableError, compact
from kdlandscape.cubes.files import scratch
from kdlandscape.cubes.provenance import FACTS, MixedProvenance
from kdlandscape.cubes.runfile import NewerFileError, check_schema, encode
from kdlandscape.cubes.schema import DONE, PLANNED, RUN
from kdlandscape.cubes.seals import DamagedFileError, check_seal, has_seal, write_sealed
from kdlandscape.nearest import listed

__all__ = [
    "CubeError",
    "DamagedFileError",
    "MixedAttributes",
    "MixedProvenance",
    "NewerFileError",
    "SkippedRunFile",
    "UnwritableError",
    "compact",
    "export_zarr",
    "first_done",
    "missing",
    "open_cube",
    "read_checkpoints",
    "write_run",
]
_OURS = "kdlandscape"  # where an opened dataset remembers that this package wrote its file
_WHOLE = 1 << 30  # bytes of a cube that are read to open it


def write_run(dataset: xr.Dataset, path: Path | str, groups: Mapping[str, xr.Dataset] | None = None) -> None:
    """Write a dataset, and further ones as named groups, as one netCDF4 file with a checksum, atomically."""

    def fill(temporary: Path) -> None:
        encode(dataset).to_netcdf(temporary, mode="w", engine="netcdf4")
        for name, group in (groups or {}).items():
            encode(group).to_netcdf(temporary, mode="a", engine="netcdf4", group=name)

    write_sealed(path, fill)


def open_cube(path: Path | str, join: str | None = None) -> xr.Dataset:
    """Open a cube lazily, once it has been found to be as it was written.

    The whole file is read for that up to 1 GB; of a larger one its large variables carry checksums of their own, which
    are checked when their values are read.

    Parameters
    ----------
    path
        A study's folder, or a cube file; any netCDF file that others wrote is opened as it is.
    join
        Make the cube of a study anew first, with this way to join runs of other lengths; see `compact`.

    Raises
    ------
    FileNotFoundError
        If there is no cube yet.
    DamagedFileError
        If the file is not as it was written.
    NewerFileError
        If a newer version of this package wrote it.
    """
    path = Path(path)
    file = compact(path, join) if join is not None else path / "cube.nc" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"expected a cube at {file}, got nothing; 'kdlandscape cube {path.name}' makes one from finished runs"
        )
    advice = "; delete it, and 'kdlandscape cube' makes it again from the runs"
    ours = path.is_dir() or has_seal(file)
    if ours and (file.stat().st_size <= _WHOLE or not has_seal(file)):
        check_seal(file, advice)
    try:
        cube = _opened(file)
    except (OSError, RuntimeError) as error:  # what HDF5 says of a file that is cut off
        raise DamagedFileError(file, advice) from error
    if not ours and cube.encoding.get(_OURS):
        cube.close()
        raise DamagedFileError(file, advice)
    return cube


def _opened(path: Path, group: str | None = None) -> xr.Dataset:
    """Open what this package wrote: dates and durations as such, and nothing else that looks like one."""
    held = xr.open_dataset(path, engine="netcdf4", group=group, decode_times=False, decode_timedelta=False)
    if check_schema(path.name, held.attrs) == 1 and "spec_hash" in held.attrs:
        held.close()
        held = xr.open_dataset(path, engine="netcdf4", group=group, decode_timedelta=False)
        old = {"done": DONE, "planned": PLANNED, **{name: f"{RUN}{name}" for name in FACTS}}
        return held.rename({name: old[name] for name in held.variables if name in old})
    times = [name for name, variable in held.variables.items() if str(variable.attrs.get("dtype")).endswith("64[ns]")]
    for name in times:
        held[name] = xr.conventions.decode_cf_variable(name, held[name].variable, decode_timedelta=True)
        held[name].attrs.pop("dtype", None)
    held.encoding[_OURS] = held.attrs.pop(f"{RUN}schema", None) is not None
    held.attrs.pop(f"{RUN}labels", None)
    return held


def read_checkpoints(path: Path | str) -> xr.Dataset:
    """Return what a run kept beside its result, with the values of all its parameters in the attrs.

    Parameters
    ----------
    path
        A run file of a study whose notebook calls ``kdl.record(result, checkpoints=...)``.

    Raises
    ------
    CubeError
        If there is no such file, or it has no checkpoints.
    DamagedFileError
        If the file is not as it was written.
    """
    path = Path(path)
    if not path.is_file():
        raise CubeError(f"expected a run file at {path}, got nothing")
    check_seal(path)
    with netCDF4.Dataset(path) as file:
        check_schema(path.name, file.__dict__)
    try:
        with _opened(path, "checkpoints") as group:
            found = group.load()
    except OSError as error:
        raise CubeError(f"expected checkpoints in {path.name}, got none: its notebook records none") from error
    parameters = found.attrs.pop(f"{RUN}parameters", None) or found.attrs.pop("parameters")  # as in schema 1
    return found.assign_attrs(json.loads(parameters))


def first_done(cube: xr.Dataset) -> xr.Dataset:
    """Return the first run of a cube that is done; a single run as it is."""
    if DONE not in cube:
        return cube
    done = np.argwhere(cube[DONE].values)
    if not len(done):
        raise CubeError("expected a cube with at least one finished run, got none")
    return cube.isel(dict(zip(cube[DONE].dims, done[0].tolist(), strict=True)))


def missing(cube: xr.Dataset) -> list[dict[str, Any]]:
    """Return the outer coordinates of every cell of a cube that no run has filled."""
    if DONE not in cube:
        raise CubeError(f"expected a cube with the variable {DONE!r}, got {listed(cube.data_vars)}")
    done = cube[DONE]
    empty = ~done.values.astype(bool)
    if PLANNED in cube:
        empty &= cube[PLANNED].values.astype(bool)
    holes = np.argwhere(empty).tolist() if done.dims else [[]] * bool(empty)
    return [{str(dim): cube[dim].values[i].item() for dim, i in zip(done.dims, hole, strict=True)} for hole in holes]


def export_zarr(study: Path | str, path: Path | str) -> Path:
    """Write a study's cube, or a cube file, as a new zarr store; needs the extra ``zarr``.

    Raises
    ------
    CubeError
        If there is something at ``path`` already, or zarr is not installed.
    """
    path = Path(path)
    if path.exists():
        raise CubeError(f"expected a new path for the zarr store, got {path}, which exists")
    try:
        import zarr  # noqa: F401
    except ImportError as error:
        raise CubeError("expected the extra 'zarr' (pip install 'kdlandscape[zarr]'), got no package 'zarr'") from error
    with open_cube(study) as cube, warnings.catch_warnings(), scratch(path.parent) as place:
        # texts of any length have no final specification in zarr 3 yet; this writer and xarray's reader agree
        warnings.simplefilter("ignore")
        cube.drop_encoding().to_zarr(place / path.name, mode="w-")
        (place / path.name).rename(path)
    return path
