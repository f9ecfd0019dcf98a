"""The parameters of a notebook, read from the cell tagged ``parameters`` without running it.

papermill infers parameters with a regular expression, loses annotated ones, and only warns of an unknown name; so the
cell is parsed here and every value is checked before anything starts.
"""

import ast
import hashlib
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from kdlandscape.nearest import did_you_mean, listed
from kdlandscape.sweeps.errors import SpecError

_TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "list": list,
    "dict": dict,
    "tuple": tuple,
    "Literal": typing.Literal,
    "Optional": typing.Optional,
    "Union": typing.Union,
    "Any": Any,
}


@dataclass(frozen=True)
class Parameter:
    """A parameter's type (``Any`` where it cannot be told), how the notebook spells it, and its literal default."""

    type: Any
    spelling: str
    default: Any

    @property
    def is_list(self) -> bool:
        """Whether the notebook takes a list here."""
        return self.type is list or typing.get_origin(self.type) is list


def code_cells(path: Path) -> list[dict[str, Any]]:
    """Return the code cells of a notebook, each with its ``source`` as one string and its ``tags``."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [
            {"source": "".join(cell["source"]), "tags": cell.get("metadata", {}).get("tags", [])}
            for cell in cells
            if cell["cell_type"] == "code"
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(
            f"notebook: expected a Jupyter notebook, got {path.name}, which is not one ({error})"
        ) from error


def code_hash(path: Path) -> str:
    """Return a hash of a notebook's code; its text, outputs and metadata do not change results and do not count."""
    return hashlib.sha256(json.dumps(code_cells(path)).encode()).hexdigest()[:16]


def python_of(source: str) -> str:
    """Return a cell's Python; a magic is none, but its line stays so that line numbers are right."""
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())


def read_parameters(path: Path) -> dict[str, Parameter]:
    """Return the parameters of a notebook by name, in order."""
    cells = [cell["source"] for cell in code_cells(path) if "parameters" in cell["tags"]]
    if not cells:
        raise SpecError(
            f"notebook: expected a cell tagged 'parameters' with lines like 'seed: int = 0', got none in {path.name}"
        )
    try:
        statements = ast.parse(python_of(cells[0])).body
    except SyntaxError as error:
        raise SpecError(
            f"notebook: expected Python in the parameters cell of {path.name}, got {error.msg} in line {error.lineno}"
        ) from error
    found: dict[str, Parameter] = {}
    for statement in statements:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            spelling = ast.unparse(statement.annotation)
            found[statement.target.id] = Parameter(
                _annotated(statement.annotation), spelling, _literal(statement.value)
            )
        elif isinstance(statement, ast.Assign) and all(isinstance(name, ast.Name) for name in statement.targets):
            default = _literal(statement.value)
            kind = Any if default is None else type(default)
            for name in statement.targets:
                found[name.id] = Parameter(kind, getattr(kind, "__name__", "Any"), default)  # type: ignore[attr-defined]
    return found


def _literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def _annotated(node: ast.expr) -> Any:
    """Build the type that an annotation spells; Any for what is not in the table, so that it is not checked."""
    try:
        kind = _build(node)
        TypeAdapter(kind)
    except (KeyError, TypeError, ValueError, PydanticSchemaGenerationError):
        return Any
    return kind


def _build(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):  # a quoted annotation
            return _build(ast.parse(node.value, mode="eval").body)
        return node.value
    if isinstance(node, ast.Name):
        return _TYPES[node.id]
    if isinstance(node, ast.Attribute):  # typing.Literal
        return _TYPES[node.attr]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return typing.Union[_build(node.left), _build(node.right)]  # noqa: UP007 - the parts are values here
    if isinstance(node, ast.Subscript):
        base, index = _build(node.value), node.slice
        if base is typing.Literal:
            literals = ast.literal_eval(index)
            return base[literals]
        parts = tuple(map(_build, index.elts)) if isinstance(index, ast.Tuple) else _build(index)
        return base[parts]
    raise TypeError(ast.unparse(node))


def check_value(name: str, value: Any, parameter: Parameter) -> None:
    """Raise SpecError unless a value has the parameter's type: an int is a float, a bool is no number."""
    try:
        # JSON rules, because a YAML list stands for a tuple too
        TypeAdapter(parameter.type).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
        got = first["input"]
        hint = ""
        if first["type"] == "literal_error" and isinstance(got, str):
            literals = [text for text in _literals(parameter.type) if isinstance(text, str)]
            hint = did_you_mean(got, literals)
        raise SpecError(
            f"{name}{at}: expected {parameter.spelling} (type of the notebook's parameter {name!r}), "
            f"got {got!r} ({type(got).__name__}).{hint}"
        ) from error


def _literals(kind: Any) -> list[Any]:
    if typing.get_origin(kind) is typing.Literal:
        return list(typing.get_args(kind))
    return [literal for part in typing.get_args(kind) for literal in _literals(part)]


def check_known(name: str, parameters: Mapping[str, Parameter], notebook: str) -> None:
    """Raise SpecError unless the notebook has a parameter of this name."""
    if name not in parameters:
        raise SpecError(
            f"{name}: expected a parameter of {notebook} ({listed(parameters)}), got {name!r}."
            f"{did_you_mean(name, parameters)}"
        )
