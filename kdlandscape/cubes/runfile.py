"""What a run file holds, and how: every kind of value stored one way, so that the values of two runs can be compared.

Run files are read straight with netCDF4, which takes a third of the time that xarray does: a study has many.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr

from kdlandscape.cubes.provenance import FACTS
from kdlandscape.cubes.schema import RUN, SCHEMA, is_text
from kdlandscape.cubes.seals import check_seal

_OF_THE_FILE = ("_FillValue", "dtype", "coordinates")  # attributes that belong to the file, not to the variable
TIMES = {"M": "nanoseconds since 1970-01-01", "m": "nanoseconds"}
_VERSION_1 = {"run": "id", "spec_hash": "recipe", "parameters": "parameters"}  # attributes, and their names today


class NewerFileError(ValueError):
    """A file was written by a newer version of this package."""

    def __init__(self, name: str, schema: int, known: int = SCHEMA) -> None:
        super().__init__(
            f"{name}: expected a file of version {known} or older, got version {schema}, which a newer kdlandscape "
            "wrote; install that one to read it (pip install --upgrade kdlandscape)"
        )


@dataclass(frozen=True)
class Array:
    """A variable of a run file."""

    dims: tuple[str, ...]
    values: np.ndarray
    attrs: Mapping[str, Any]


@dataclass(frozen=True)
class RunFile:
    """The content of a run file, without its groups; ``labels`` stands for the attributes of all variables."""

    variables: dict[str, Array]
    coords: set[str]
    attrs: dict[str, Any]
    labels: str


def encode(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset as a run file holds it.

    Dates and durations become nanoseconds, since 1970 or as such; booleans bytes; half precision single precision;
    attributes that are no text, number or list of one of these become JSON. The attribute ``dtype`` says what was what.
    """
    dataset = dataset.drop_encoding()
    dataset.attrs = encode_attrs(dataset.attrs)
    coded = {name: _encoded(variable) for name, variable in dataset.variables.items()}
    facts = [
        [str(name), *map(str, variable.dims), name in dataset.coords, variable.attrs]
        for name, variable in coded.items()
    ]
    labels = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    coords = {name: variable for name, variable in coded.items() if name in dataset.coords}
    values = {name: variable for name, variable in coded.items() if name not in dataset.coords}
    held = xr.Dataset(values, attrs={**dataset.attrs, f"{RUN}schema": SCHEMA, f"{RUN}labels": labels})
    return held.assign_coords(xr.Coordinates(coords, indexes={}))


def _encoded(variable: xr.Variable) -> xr.Variable:
    attrs, values = encode_attrs(variable.attrs), variable.values
    kind = values.dtype.kind
    if kind in TIMES:
        attrs |= {"units": TIMES[kind], "dtype": "datetime64[ns]" if kind == "M" else "timedelta64[ns]"}
        values = values.astype(f"{kind}8[ns]").view("i8")
    elif kind == "b":
        attrs["dtype"], values = "bool", values.astype("i1")
    elif kind == "f" and values.dtype.itemsize < 4:
        values = values.astype("f4")
    elif is_text(values):
        values = values.astype(object)
    return xr.Variable(variable.dims, values, attrs)


def encode_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as netCDF can hold them: what is no text, number or list of one of these becomes JSON."""
    plain: dict[str, Any] = {}
    for key, value in attrs.items():
        if isinstance(value, np.ndarray | np.generic):
            value = value.tolist()
        simple = isinstance(value, str | int | float) and not isinstance(value, bool)
        kinds = {type(item) for item in value} if isinstance(value, list | tuple) else set()
        if (simple or kinds in ({int}, {float}, {str})) and not _is_huge(value):
            plain[str(key)] = value
        else:
            plain[str(key)] = json.dumps(value, default=str)
    return plain


def _is_huge(value: Any) -> bool:
    numbers = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(number, int) and not -(2**63) <= number < 2**63 for number in numbers)


def decode(values: np.ndarray, attrs: Mapping[str, Any]) -> np.ndarray:
    """Return values as they were before `encode`."""
    kind = str(attrs.get("dtype", ""))
    if kind.endswith("64[ns]"):
        return values.astype("i8").view(kind)
    return values.astype(bool) if kind == "bool" else values


def read_run(path: Path, memory: dict[str, tuple[dict[str, dict[str, Any]], set[str]]] | None = None) -> RunFile:
    """Read a run file whole.

    Parameters
    ----------
    path
        The file.
    memory
        Attributes of files that were read before: those of a file whose variables have the same ones are not read.

    Raises
    ------
    DamagedFileError
        If the file is not as it was written.
    NewerFileError
        If a newer version of this package wrote it.
    """
    check_seal(path)
    memory = {} if memory is None else memory
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        attrs = {key: value for key, value in file.__dict__.items() if key != "coordinates"}
        schema = check_schema(path.name, attrs)
        labels = str(attrs.get(f"{RUN}labels", ""))
        if labels not in memory or not labels:
            memory[labels] = _labels(file)
        held, coords = memory[labels]
        variables = {}
        for name, variable in file.variables.items():
            values = np.asarray(variable[...], object if variable.dtype is str else None)
            own = {key: value for key, value in held[name].items() if key not in _OF_THE_FILE}
            if "dtype" in held[name] and held[name]["dtype"] != "bool":
                del own["units"]
            variables[name] = Array(variable.dimensions, decode(values, held[name]), own)
    return RunFile(variables, coords, attrs, labels) if schema > 1 else _of_version_1(variables, coords, attrs)


def check_schema(name: str, attrs: Mapping[str, Any], of: str = RUN) -> int:
    """Return the schema of a file from its attributes; NewerFileError for one that is not known yet."""
    schema = int(attrs.get(f"{of}schema", 1))
    if schema > SCHEMA:
        raise NewerFileError(name, schema)
    return schema


def _labels(file: netCDF4.Dataset) -> tuple[dict[str, dict[str, Any]], set[str]]:
    held = {name: variable.__dict__ for name, variable in file.variables.items()}
    lists = [getattr(file, "coordinates", ""), *(attrs.get("coordinates", "") for attrs in held.values())]
    return held, {name for text in lists for name in str(text).split()} | set(file.dimensions) & set(held)


def _of_version_1(variables: dict[str, Array], coords: set[str], attrs: dict[str, Any]) -> RunFile:
    """Give a run's own facts the names that they have today, and dates their values."""
    names = {name: f"{RUN}{name}" if name in FACTS and name in coords else name for name in variables}
    for name, array in variables.items():
        if "calendar" in array.attrs:
            date = xr.Variable(array.dims, array.values, array.attrs)
            values = xr.conventions.decode_cf_variable(name, date).values.astype("M8[ns]")
            own = {key: value for key, value in array.attrs.items() if key not in ("calendar", "units")}
            variables[name] = Array(array.dims, values, own)
    attrs = {f"{RUN}{_VERSION_1[key]}" if key in _VERSION_1 else key: value for key, value in attrs.items()}
    renamed = {names[name]: array for name, array in variables.items()}
    return RunFile(renamed, {names.get(name, name) for name in coords}, attrs, "")
