"""A study's description: YAML, checked against itself and against the notebook before anything is started or written.

Importing this module loads neither torch nor papermill, matplotlib or xarray, so a mistake shows at once.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kdlandscape.cubes.grid import Grid
from kdlandscape.cubes.yaml_file import DocumentError, parse
from kdlandscape.nearest import did_you_mean, listed
from kdlandscape.registry import RegistryError, find
from kdlandscape.sweeps.axes import Scalar, check_axes, check_axis, expand
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.includes import read_mapping
from kdlandscape.sweeps.parameters import Parameter, check_known, check_value, code_hash, read_parameters
from kdlandscape.sweeps.places import find_notebook, find_spec


class Source(BaseModel):
    """Another study whose run files a study's runs read, one each.

    The axes in ``share`` (default: all between the other study's runs) have the same value in both runs; ``at`` fixes
    others.  The notebook gets the path in ``parameter``; the weights are in the file's group ``checkpoints``.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    study: str
    share: list[str] | None = None
    at: dict[str, Scalar] = {}
    parameter: str = "checkpoints"


class Table(BaseModel):
    """A table of means: a row for each cell of ``rows``, averaged over one dim, a column for each value."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    rows: list[str]
    over: str = "seed"
    values: list[str]


class Resolved(BaseModel):
    """What a spec meant on the day it was run: the notebook it found, its code, and which axes feed lists."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    notebook_path: str
    notebook_hash: str
    lists: list[str] = []
    spec_hash: str
    source_hash: str = ""


class Spec(BaseModel):
    """A study: one notebook over a grid of parameters."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    study: str
    notebook: str
    description: str = ""
    parameters: dict[str, Any] = {}
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    vectorize: list[str] = []
    zip: list[list[str]] = []
    exclude: list[dict[str, Any]] = []
    source: Source | None = Field(default=None, alias="from")
    findings: list[str] = []
    figures: list[str] = []
    table: Table | None = None
    resolved: Resolved | None = None

    @property
    def axes(self) -> Grid:
        """The grid with what is vectorized, zipped and excluded."""
        return Grid(self.grid, self.vectorize, self.zip, self.exclude)

    @property
    def facts(self) -> Resolved:
        """What the spec was resolved to."""
        if self.resolved is None:
            raise SpecError("spec: expected one made by load_spec or make_spec, got one that was never checked")
        return self.resolved


def load_spec(
    path: Path | str, parameters: Sequence[str] = (), grid: Sequence[str] = (), *, study: str | None = None
) -> Spec:
    """Read and check a spec.

    Parameters
    ----------
    path
        A YAML file, or the name of one that ships with the package.
    parameters, grid
        Overrides ``name=value`` and ``name=v1,v2``; values are read as YAML.
    study
        Another name for the study.

    Raises
    ------
    SpecError
        On the first thing that cannot be run, naming it.
    """
    path = find_spec(path)
    content = read_mapping(path) | ({} if study is None else {"study": study})
    return make_spec(override(content, parameters, grid), beside=path.parent)


def make_spec(content: Mapping[str, Any], beside: Path | None = None) -> Spec:
    """Check the content of a spec; relative notebooks are also looked for in ``beside``."""
    if "resolved" in content:
        raise SpecError("resolved: expected a spec as written by hand, got the snapshot of a study; remove this key")
    try:
        spec = Spec.model_validate({**content, "grid": expand(content.get("grid", {}))})
    except ValidationError as error:
        raise SpecError(_explain(error)) from error
    _check_name(spec.study)
    along = {name for group in spec.zip for name in group[1:]}
    grid = {name: check_axis(name, values, repeats=name in along) for name, values in spec.grid.items()}
    spec = spec.model_copy(update={"grid": grid})
    check_axes(grid, spec.parameters, spec.axes)
    _check_registered(spec)
    notebook = find_notebook(spec.notebook, beside)
    lists = _check_parameters(spec, read_parameters(notebook), notebook.name)
    notebook_hash = code_hash(notebook)
    recipe = json.dumps([notebook_hash, spec.parameters], sort_keys=True)
    facts = Resolved(
        notebook_path=str(notebook),
        notebook_hash=notebook_hash,
        lists=lists,
        spec_hash=hashlib.sha256(recipe.encode()).hexdigest()[:16],
    )
    return spec.model_copy(update={"resolved": facts})


def override(content: dict[str, Any], parameters: Sequence[str] = (), grid: Sequence[str] = ()) -> dict[str, Any]:
    """Apply ``name=value`` (a fixed parameter) and ``name=v1,v2`` (an axis) to the content of a spec."""
    content = dict(content)
    if not parameters and not grid:
        return content
    for key in ("parameters", "grid"):
        if not isinstance(content.get(key) or {}, dict):
            raise SpecError(f"{key}: expected names with values, got {content[key]!r}")
    fixed, axes = (dict(content.get(key) or {}) for key in ("parameters", "grid"))
    for text in parameters:
        name, value = _assignment(text, "-p", "name=value")
        if name in axes:
            raise SpecError(f"{name}: expected a fixed parameter after -p, got an axis; use -g {name}={value}")
        fixed[name] = _read(value, f"-p {text}")
    for text in grid:
        name, value = _assignment(text, "-g", "name=v1,v2")
        fixed.pop(name, None)
        axes[name] = _read(f"[{value}]", f"-g {text}")
    return {**content, "parameters": fixed, "grid": axes}


def _read(text: str, source: str) -> Any:
    try:
        return parse(text, source)
    except DocumentError as error:
        raise SpecError(str(error)) from error


def _assignment(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SpecError(f"{option}: expected {form}, got {text!r}")
    return name.strip(), value


def _explain(error: ValidationError) -> str:
    messages = []
    for item in error.errors(include_url=False):
        where = ".".join(map(str, item["loc"]))
        if item["type"] == "extra_forbidden":
            parts: dict[Any, type[BaseModel]] = {"table": Table, "from": Source}
            model = parts.get(item["loc"][0], Spec)
            names = [field.alias or name for name, field in model.model_fields.items() if name != "resolved"]
            key = str(item["loc"][-1])
            messages.append(f"{where}: expected one of {listed(names)}, got the key {key!r}.{did_you_mean(key, names)}")
        elif item["type"] == "missing":
            messages.append(f"{where}: expected a value, got none")
        else:
            expected = item["msg"].removeprefix("Input should be ")
            messages.append(f"{where}: expected {expected}, got {item['input']!r}")
    return "\n".join(messages)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,99}", name):
        raise SpecError(
            f"study: expected a plain file name (letters, digits, _ . + = -, at most 100, not starting with a dot), "
            f"got {name!r}"
        )


def _check_registered(spec: Spec) -> None:
    """Look the findings and figures up by name, without importing what they stand for."""
    for kind in ("findings", "figures"):
        for name in getattr(spec, kind):
            try:
                find(kind, name)
            except RegistryError as error:
                raise SpecError(str(error)) from error


def _check_parameters(spec: Spec, known: Mapping[str, Parameter], notebook: str) -> list[str]:
    """Check every value against the notebook; return the outer axes whose parameter takes a list."""
    for name, value in spec.parameters.items():
        check_known(name, known, notebook)
        check_value(name, value, known[name])
    if spec.source is not None:
        name = spec.source.parameter
        check_known(name, known, notebook)
        check_value(name, "path of a file", known[name])
        if name in spec.parameters or name in spec.grid:
            raise SpecError(f"{name}: expected it to be filled by from, got a value in parameters or grid")
    lists = []
    for name, values in spec.grid.items():
        check_known(name, known, notebook)
        parameter = known[name]
        if name in spec.vectorize:
            if not parameter.is_list and parameter.type is not Any:
                raise SpecError(
                    f"{name}: expected a parameter of type list[{parameter.spelling}] for an axis in vectorize, got "
                    f"{parameter.spelling} in {notebook}; take it out of vectorize, or let the notebook take a list"
                )
            check_value(name, values, parameter)
        elif parameter.is_list:
            check_value(name, values, parameter)
            lists.append(name)
        else:
            for value in values:
                check_value(name, value, parameter)
    return lists
