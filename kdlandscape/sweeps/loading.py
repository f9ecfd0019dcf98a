"""A spec is read and checked, against itself and against the notebook, before anything is started or written.

Importing this module loads neither torch nor papermill, matplotlib or xarray, so a mistake shows at once.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from kdlandscape.cubes.grid import VERSION
from kdlandscape.nearest import did_you_mean, listed, nearest
from kdlandscape.registry import RegistryError, find
from kdlandscape.sweeps.axes import check_axes, check_axis, check_size, expand
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.includes import read_mapping
from kdlandscape.sweeps.notebook import check_kernel, code_cells, code_hash
from kdlandscape.sweeps.overrides import override
from kdlandscape.sweeps.own_problem import entry, filled, without_ours
from kdlandscape.sweeps.parameters import Parameter, check_known, parameter_of, read_parameters, typed
from kdlandscape.sweeps.places import find_notebook, find_spec
from kdlandscape.sweeps.spec import Resolved, Source, Spec, Table
from kdlandscape.sweeps.values import MismatchError, canonical, digest, plain

_MOST_DIMS = 32  # of an array in HDF5


def load_spec(
    path: Path | str,
    parameters: Sequence[str] = (),
    grid: Sequence[str] = (),
    *,
    study: str | None = None,
    given: Mapping[str, Any] | None = None,
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
    given
        More fixed parameters, over which the overrides stand.

    Raises
    ------
    SpecError
        On the first thing that cannot be run, naming it.
    """
    path = find_spec(path)
    content = read_mapping(path) | ({} if study is None else {"study": study})
    if given:
        content["parameters"] = {**content.get("parameters", {}), **given}
    if parameters or grid:
        content = override(content, parameters, grid, _known(content, path.parent))
        content = without_ours(content, [text.partition("=")[0].strip() for text in (*parameters, *grid)])
    return make_spec(content, beside=path.parent)


def _known(content: Mapping[str, Any], beside: Path) -> Mapping[str, Parameter]:
    """Return the parameters of a spec's notebook; none of one that the checks will refuse."""
    try:
        return read_parameters(find_notebook(content["notebook"], beside))
    except (SpecError, KeyError, TypeError):
        return {}


def make_spec(content: Mapping[str, Any], beside: Path | None = None) -> Spec:
    """Check the content of a spec; relative notebooks are also looked for in ``beside``."""
    if "resolved" in content:
        raise SpecError("resolved: expected a spec as written by hand, got the snapshot of a study; remove this key")
    try:
        content = without_ours(plain(content))
        grid, values = expand(content.get("grid", {}))
        spec = Spec.model_validate({**content, "grid": grid})
    except MismatchError as error:
        raise SpecError(f"spec: expected numbers, texts, lists and mappings as values, got {error}") from error
    except ValidationError as error:
        raise SpecError(_explain(error)) from error
    _check_name(spec.study)
    check_size(spec.axes)
    _check_axis_names(spec, values)
    along = {name for group in spec.zip for name in group[1:]}
    grid = {name: check_axis(name, axis, repeats=name in along) for name, axis in spec.grid.items()}
    spec = spec.model_copy(update={"grid": grid, "exclude": _by_name(spec.exclude, grid, values)})
    check_axes(grid, spec.parameters, spec.axes)
    _check_registered(spec)
    notebook = find_notebook(spec.notebook, beside)
    check_kernel(notebook)
    _check_table(spec, notebook)
    known = read_parameters(notebook)
    for name in spec.labels:
        parameter_of(name, known, notebook.name)
    spec, lists, values = _typed(spec, values, known, notebook.name)
    notebook_hash = code_hash(notebook)
    facts = Resolved(
        version=VERSION,
        notebook_path=str(notebook),
        notebook_hash=notebook_hash,
        lists=lists,
        values=values,
        spec_hash=digest([notebook_hash, spec.parameters]),
    )
    return spec.model_copy(update={"resolved": facts})


def _check_axis_names(spec: Spec, values: Mapping[str, list]) -> None:
    for name in spec.grid:
        if name in values and name in spec.vectorize:
            raise SpecError(
                f"{name}: expected numbers, texts or booleans along an axis in vectorize, got values with names, which "
                "only axes between runs can have; take it out of vectorize"
            )
    if len(spec.axes.dims) > _MOST_DIMS:
        raise SpecError(
            f"grid: expected at most {_MOST_DIMS} axes, because a file can hold arrays of no more dims, got "
            f"{len(spec.axes.dims)}; make those that change together one axis by zip"
        )


def _check_table(spec: Spec, notebook: Path) -> None:
    """Refuse dims of a table that look like a misspelt axis; the first result tells of the notebook's own."""
    if spec.table is None:
        return
    words = set(re.findall(r"\w+", " ".join(cell["source"] for cell in code_cells(notebook))))
    for key, name in [*(("rows", row) for row in spec.table.rows), ("over", spec.table.over)]:
        if name not in spec.grid and name not in words and nearest(name, spec.grid):
            raise SpecError(
                f"table.{key}: expected an axis of the grid ({listed(spec.grid)}) or a dim that the notebook names, "
                f"got {name!r}.{did_you_mean(name, spec.grid)}"
            )


def _by_name(rules: list[dict[str, Any]], grid: Mapping[str, list], values: Mapping[str, list]) -> list[dict[str, Any]]:
    """Return exclusions with the names of values in their place."""
    names = {
        axis: {canonical(one): name for one, name in zip(values[axis], grid[axis], strict=True)} for axis in values
    }

    def by_name(axis: str, value: Any) -> Any:
        one = names.get(axis, {}).get(canonical(value), value)
        return [by_name(axis, part) for part in value] if one is value and isinstance(value, list) else one

    return [{axis: by_name(axis, value) for axis, value in rule.items()} for rule in rules]


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


def _with_entries(
    parameters: Mapping[str, Any], axes: Mapping[str, Any], known: Mapping[str, Parameter]
) -> dict[str, Any]:
    """Return parameters with entries in their mappings, which those along axes will join run by run."""
    defaults = {name: parameter.default for name, parameter in known.items()}
    found = filled(parameters, defaults)
    for name, place in ((name, entry(name)) for name in axes):
        if place is not None:
            mapping, key = place
            if key in found.get(mapping, {}):
                raise SpecError(f"{name}: expected it in grid or in parameters, got it in both")
            found.setdefault(mapping, defaults[mapping] or {})
    return found


def _typed(
    spec: Spec, values: Mapping[str, list], known: Mapping[str, Parameter], notebook: str
) -> tuple[Spec, list[str], dict[str, list]]:
    """Give every value its parameter's type; return also the outer axes that feed lists, and the named values."""
    every = {name: parameter_of(name, known, notebook) for name in [*spec.parameters, *spec.grid]}
    if spec.source is not None:
        name = spec.source.parameter
        check_known(name, known, notebook)
        typed(name, "path of a file", known[name])
        if name in spec.parameters or name in spec.grid:
            raise SpecError(f"{name}: expected it to be filled by from, got a value in parameters or grid")
    fixed = {name: typed(name, value, every[name]) for name, value in spec.parameters.items()}
    parameters = _with_entries(fixed, spec.grid, known)
    named = {name: [typed(name, value, every[name]) for value in axis] for name, axis in values.items()}
    grid, lists = dict(spec.grid), []
    for name in [name for name in grid if name not in named]:
        parameter = every[name]
        if parameter.is_list:
            grid[name] = typed(name, grid[name], parameter)
            lists += [name] if name not in spec.vectorize else []
        elif name in spec.vectorize and parameter.type is not Any:
            raise SpecError(
                f"{name}: expected a parameter of type list[{parameter.spelling}] for an axis in vectorize, got "
                f"{parameter.spelling} in {notebook}; take it out of vectorize, or let the notebook take a list"
            )
        elif name not in spec.vectorize:
            grid[name] = [typed(name, value, parameter) for value in grid[name]]
    return spec.model_copy(update={"parameters": parameters, "grid": grid}), lists, named
