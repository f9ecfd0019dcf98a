"""Files of a study: one immutable netCDF4 file a run, error records, and the cube that is assembled from the runs.

A study's folder holds ``spec.yaml``, ``runs/<id>.nc`` and ``.ipynb``, ``errors/<id>.json``, ``cube.nc``, ``figures/``.
Every file is written under a temporary name in the same folder, flushed to disk and renamed, so a reader and a killed
writer see either the old file or the new one.
"""

import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml
from filelock import FileLock

from kdlandscape.cubes.assembly import CubeError, SkippedRunFile, assemble

__all__ = [
    "CubeError",
    "SkippedRunFile",
    "atomic",
    "compact",
    "missing",
    "open_cube",
    "read_error",
    "write_error",
    "write_run",
]


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success flush it to disk and rename it to ``path``."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp lets nobody else read
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path) -> None:
    """Flush a finished file to disk and rename it into place, on the same file system."""
    for target in (temporary, path.parent):
        if target is not temporary:
            os.replace(temporary, path)
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
    """Write a dataset, and further ones as named groups, as one netCDF4 file, atomically."""
    with atomic(path) as temporary:
        _writable(dataset.copy()).to_netcdf(temporary, mode="w", engine="netcdf4")
        for name, group in (groups or {}).items():
            _writable(group.copy()).to_netcdf(temporary, mode="a", engine="netcdf4", group=name)


def write_error(error: Mapping[str, Any], path: Path | str) -> None:
    """Write an error record as JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(error, indent=1, ensure_ascii=False), encoding="utf-8")


def read_error(path: Path | str) -> dict[str, Any]:
    """Return an error record; an unreadable one is an error record about itself."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        content = {"name": "UnreadableErrorRecord", "value": f"{Path(path).name}: {error}"}
    return content


def compact(study: Path | str) -> Path:
    """Assemble ``cube.nc`` from the run files of a study and return its path.

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
    """
    study = Path(study)
    spec = yaml.safe_load((study / "spec.yaml").read_text(encoding="utf-8"))
    with FileLock(study / ".cube.lock"):
        paths = sorted((study / "runs").glob("[!.]*.nc"))
        cube, skipped = assemble(paths, spec["grid"], spec.get("vectorize", []), spec["resolved"]["spec_hash"])
        cube.attrs |= {"study": spec["study"], "description": spec.get("description", "")}
        write_run(cube, study / "cube.nc")
    if skipped:
        more = [f"... and {len(skipped) - 5} more"] if len(skipped) > 5 else []
        warnings.warn("\n".join([*skipped[:5], *more]), SkippedRunFile, stacklevel=2)
    return study / "cube.nc"


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


def missing(cube: xr.Dataset) -> list[dict[str, Any]]:
    """Return the outer coordinates of every cell of a cube that no run has filled."""
    if "done" not in cube:
        raise CubeError(
            f"expected a cube with the variable 'done', got {', '.join(map(str, cube.data_vars)) or 'none'}"
        )
    done = cube["done"]
    holes = np.argwhere(~done.values.astype(bool)).tolist() if done.dims else [[]] * (not bool(done))
    return [{str(dim): cube[dim].values[i].item() for dim, i in zip(done.dims, hole, strict=True)} for hole in holes]
