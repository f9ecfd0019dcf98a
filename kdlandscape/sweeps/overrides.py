"""Changes of a spec on the command line: ``name=value`` for a fixed parameter, ``name=v1,v2`` for an axis."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kdlandscape.cubes.yaml_file import DocumentError, parse
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.own_problem import without_entries
from kdlandscape.sweeps.parameters import Parameter
from kdlandscape.sweeps.values import MismatchError, as_typed

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_RANGE = re.compile(rf"\s*({_NUMBER}):({_NUMBER})(?::({_NUMBER}))?\s*")


def override(
    content: Mapping[str, Any], parameters: Sequence[str], grid: Sequence[str], known: Mapping[str, Parameter]
) -> dict[str, Any]:
    """Apply changes to the content of a spec.

    Parameters
    ----------
    content
        The content; it stays as it is.
    parameters
        Texts ``name=value``; the value is read as YAML, or taken as it is typed where only that fits the type.
    grid
        Texts ``name=v1,v2``, ``name=start:stop:step`` (stop is left out), or ``name={first: v1, second: v2}``.
    known
        The notebook's parameters.
    """
    for key in ("parameters", "grid"):
        if not isinstance(content.get(key) or {}, Mapping):
            raise SpecError(f"{key}: expected names with values, got {content[key]!r}")
    fixed, axes = (dict(content.get(key) or {}) for key in ("parameters", "grid"))
    for text in parameters:
        name, value = _assignment(text, "-p", "name=value")
        if name in axes:
            raise SpecError(f"{name}: expected a fixed parameter after -p, got an axis; use -g {name}={value}")
        fixed[name] = _value(value, f"-p {text}", known.get(name))
    for text in grid:
        name, value = _assignment(text, "-g", "name=v1,v2")
        fixed = without_entries(fixed, [name])
        axes[name] = _axis(value, f"-g {text}", known.get(name))
    return {**content, "parameters": fixed, "grid": axes}


def _assignment(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SpecError(f"{option}: expected {form}, got {text!r}")
    return name.strip(), value


def _value(text: str, source: str, parameter: Parameter | None) -> Any:
    """Return what a text stands for: as YAML, unless only the text itself has the parameter's type."""
    as_text = parameter is not None and _fits(text, parameter)
    try:
        value = parse(text, source)
    except DocumentError as error:
        if as_text:
            return text
        raise SpecError(str(error)) from error
    return text if as_text and parameter is not None and not _fits(value, parameter) else value


def _axis(text: str, source: str, parameter: Parameter | None) -> Any:
    bounds = _RANGE.fullmatch(text)
    if bounds and not (parameter is not None and _fits(text, parameter) and parameter.type is not Any):
        return {"range": [parse(bound, source) for bound in bounds.groups() if bound is not None]}
    try:
        values = parse(f"[{text}]", source)
    except DocumentError as error:
        raise SpecError(str(error)) from error
    if len(values) == 1 and isinstance(values[0], dict):
        return values[0]
    parts = [part.strip() for part in text.split(",")]
    if parameter is None or len(parts) != len(values):
        return values
    return [
        part if _fits(part, parameter) and not _fits(value, parameter) else value
        for part, value in zip(parts, values, strict=True)
    ]


def _fits(value: Any, parameter: Parameter) -> bool:
    try:
        as_typed(value, parameter.type)
    except MismatchError:
        return False
    return True
