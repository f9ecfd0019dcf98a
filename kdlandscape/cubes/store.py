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

import numpy as np
import xarray as xr

from kdlandscape.cubes.assembly import CubeError
from kdlandscape.cubes.compaction import SkippedRunFile, compact
from kdlandscape.cubes.files import scratch
from kdlandscape.cubes.provenance import MixedProvenance
from kdlandscape.cubes.seals import check_seal, write_sealed

__all__ = [
    "CubeError",
    "MixedProvenance",
    "SkippedRunFile",
    "compact",
    "export_zarr",
    "first_done",
    "missing",
    "open_cube",
    "read_checkpoints",
    "write_run",
]


def encode_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as netCDF can hold them: what is no text, number or list of one of these becomes JSON."""
    plain: dict[str, Any] = {}
    for key, value in attrs.items():
        if isinstance(value, np.ndarray | np.generic):
            value = value.tolist()
        simple = isinstance(value, str | int | float) and not isinstance(value, bool)
        kinds = {type(item) for item in value} if isinstance(value, list | tuple) else set()
        if simple or kinds in ({int}, {float}, {str}):
            plain[str(key)] = value
        else:
            plain[str(key)] = json.dumps(value, default=str)
    return plain


def _writable(dataset: xr.Dataset) -> xr.Dataset:
    dataset = dataset.drop_encoding()
    dataset.attrs = encode_attrs(dataset.attrs)
    for variable in dataset.variables.values():
        variable.attrs = encode_attrs(variable.attrs)
    return dataset


def write_run(dataset: xr.Dataset, path: Path | str, groups: Mapping[str, xr.Dataset] | None = None) -> None:
    """Write a dataset, and further ones as named groups, as one netCDF4 file with a checksum, atomically."""

    def fill(temporary: Path) -> None:
        _writable(dataset.copy()).to_netcdf(temporary, mode="w", engine="netcdf4")
        for name, group in (groups or {}).items():
            _writable(group.copy()).to_netcdf(temporary, mode="a", engine="netcdf4", group=name)

    write_sealed(path, fill)


def open_cube(path: Path | str) -> xr.Dataset:
    """Open a cube lazily.

    Parameters
    ----------
    path
        A study's folder, or a cube file.
    """
    path = Path(path)
    file = path / "cube.nc" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"expected a cube at {file}, got nothing; 'kdlandscape cube {path.name}' makes one from finished runs"
        )
    return xr.open_dataset(file, engine="netcdf4")


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
    try:
        with xr.open_dataset(path, engine="netcdf4", group="checkpoints") as group:
            found = group.load()
    except OSError as error:
        raise CubeError(f"expected checkpoints in {path.name}, got none: its notebook records none") from error
    return found.assign_attrs(json.loads(found.attrs.pop("parameters")))


def first_done(cube: xr.Dataset) -> xr.Dataset:
    """Return the first run of a cube that is done; a single run as it is."""
    if "done" not in cube:
        return cube
    done = np.argwhere(cube["done"].values)
    if not len(done):
        raise CubeError("expected a cube with at least one finished run, got none")
    return cube.isel(dict(zip(cube["done"].dims, done[0].tolist(), strict=True)))


def missing(cube: xr.Dataset) -> list[dict[str, Any]]:
    """Return the outer coordinates of every cell of a cube that no run has filled."""
    if "done" not in cube:
        raise CubeError(
            f"expected a cube with the variable 'done', got {', '.join(map(str, cube.data_vars)) or 'none'}"
        )
    done = cube["done"]
    empty = ~done.values.astype(bool)
    if "planned" in cube:
        empty &= cube["planned"].values.astype(bool)
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
