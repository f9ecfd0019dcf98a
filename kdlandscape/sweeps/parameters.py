"""The parameters of a notebook, read from the cell tagged ``parameters`` without running it.

papermill infers parameters with a regular expression, loses annotated ones, and only warns of an unknown name; so the
cell is parsed here and every value is checked before anything starts.
"""

import ast
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlandscape.nearest import did_you_mean, listed
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.notebook import parameters_cell, python_of
from kdlandscape.sweeps.own_problem import entry
from kdlandscape.sweeps.values import MismatchError, as_typed

_PLAIN = (int, float, str, bool, list, dict, tuple, None, type(None), Any)
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
    """A parameter's type (``Any`` where it cannot be told), how the notebook spells it, and its default if literal."""

    type: Any
    spelling: str
    default: Any

    @property
    def is_list(self) -> bool:
        """Whether the notebook takes a list here."""
        return self.type is list or typing.get_origin(self.type) is list


def read_parameters(path: Path) -> dict[str, Parameter]:
    """Return the parameters of a notebook by name, in order."""
    try:
        statements = ast.parse(python_of(parameters_cell(path))).body
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
        _check_kind(kind)
    except (KeyError, TypeError, ValueError, SyntaxError):
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


def _check_kind(kind: Any) -> None:
    """Raise TypeError for what is put together of known names but is no type."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and len(parts) == 2 and parts[1] is Ellipsis:
        parts = parts[:1]
    if origin in (typing.Union, types.UnionType, tuple) or (origin, len(parts)) in ((list, 1), (dict, 2)):
        for part in parts:
            _check_kind(part)
    elif origin is not typing.Literal and kind not in _PLAIN:
        raise TypeError(kind)


def typed(name: str, value: Any, parameter: Parameter) -> Any:
    """Return a value as the parameter's type says; SpecError if it does not have that type."""
    try:
        return as_typed(value, parameter.type)
    except MismatchError as error:
        at = "".join(f"[{part}]" for part in error.where if isinstance(part, int))
        literals = [text for text in _literals(parameter.type) if isinstance(text, str)]
        hint = did_you_mean(error.got, literals) if isinstance(error.got, str) else ""
        raise SpecError(
            f"{name}{at}: expected {parameter.spelling} (type of the notebook's parameter {name!r}), got {error}.{hint}"
        ) from error


def _literals(kind: Any) -> list[Any]:
    if typing.get_origin(kind) is typing.Literal:
        return list(typing.get_args(kind))
    return [literal for part in typing.get_args(kind) for literal in _literals(part)]


def parameter_of(name: str, parameters: Mapping[str, Parameter], notebook: str) -> Parameter:
    """Return a parameter of a notebook, or the entry of a mapping among them: ``options.width`` of ``options``.

    Raises
    ------
    SpecError
        If there is no such parameter, or it is no mapping.
    """
    place = entry(name)
    if place is None:
        check_known(name, parameters, notebook)
        return parameters[name]
    mapping, _ = place
    check_known(mapping, parameters, notebook)
    kind = parameters[mapping].type
    if kind is not Any and dict not in (kind, typing.get_origin(kind)):
        raise SpecError(
            f"{name}: expected {mapping} to be a mapping of {notebook}, whose entries have names of this form; it is "
            f"of type {parameters[mapping].spelling}"
        )
    of_item = (typing.get_args(kind) or (Any, Any))[1]
    spelling = parameters[mapping].spelling.partition(",")[2].strip().removesuffix("]") or "Any"
    return Parameter(of_item, spelling, None)


def check_known(name: str, parameters: Mapping[str, Parameter], notebook: str) -> None:
    """Raise SpecError unless the notebook has a parameter of this name."""
    if name not in parameters:
        raise SpecError(
            f"{name}: expected a parameter of {notebook} ({listed(parameters)}), got {name!r}."
            f"{did_you_mean(name, parameters)}"
        )
