"""YAML as users expect it: no duplicate keys, ``1e-3`` is a number, ``no`` and ``2024-01-01`` are text."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from kdlandscape.sweeps.errors import SpecError

# PyYAML follows YAML 1.1, where 1e-3 is a string, no is False and 1:30 is 90; these are the rules of YAML 1.2.
_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - the name and kind are PyYAML's

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise SpecError(f"{key}: expected each key once, got it again in line {key_node.start_mark.line + 1}")
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


for _name, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first)


def parse(text: str, source: str) -> Any:
    """Return the content of a YAML document; SpecError naming ``source`` if it cannot be read."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise SpecError(f"{source}: expected YAML, got {' '.join(str(error).split())}") from error


def read_mapping(path: Path, including: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the mapping in a YAML file, on top of the files that it names under ``include``.

    ``parameters`` and ``grid`` are merged name by name, other keys as a whole; a name that is an axis here is no fixed
    parameter any more, and the other way round.  A notebook is looked for beside the file that names it first.
    """
    path = path.resolve()
    if path in including:
        raise SpecError(f"include: expected files that do not include each other, got {path.name} again")
    try:
        content = parse(path.read_text(encoding="utf-8"), path.name)
    except UnicodeDecodeError as error:
        raise SpecError(f"{path.name}: expected UTF-8 text, got {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise SpecError(
            f"include: expected a YAML file, got {path}, which cannot be read ({error.strerror})"
        ) from error
    if not isinstance(content, dict):
        raise SpecError(f"{path.name}: expected keys with values, got {type(content).__name__}")
    names = content.pop("include", [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SpecError(f"include: expected a file or a list of files, got {names!r}")
    merged: dict[str, Any] = {}
    for name in names:
        merged = _merge(merged, read_mapping(path.parent / name, (*including, path)))
    notebook = content.get("notebook")
    if including and isinstance(notebook, str) and (path.parent / notebook).is_file():
        content["notebook"] = str(path.parent / notebook)
    return _merge(merged, content)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    for key, other in (("parameters", "grid"), ("grid", "parameters")):
        own, base, rival = above.get(key) or {}, below.get(key) or {}, above.get(other) or {}
        if isinstance(own, dict) and isinstance(base, dict) and isinstance(rival, dict) and base:
            merged[key] = {**{name: value for name, value in base.items() if name not in rival}, **own}
    return merged
