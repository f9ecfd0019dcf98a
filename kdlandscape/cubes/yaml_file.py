"""YAML 1.2 of plain values: no duplicate keys, ``1e-3`` is a number, ``no`` and ``2024-01-01`` are text."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import YAMLError

_SEAL = "# sha256 "
LARGEST = 2_000_000  # values of a document, with what its aliases repeat: a few lines can stand for 10^9
DEEPEST = 50  # levels of lists and mappings


class DocumentError(ValueError):
    """A text is no YAML document of plain values."""


class _Plain(SafeConstructor):
    """Constructs text where YAML has types that a study has no use for."""


for _tag in ("timestamp", "value"):
    _Plain.add_constructor(f"tag:yaml.org,2002:{_tag}", SafeConstructor.construct_yaml_str)


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)  # the one in C follows YAML 1.1
    yaml.Constructor = _Plain
    yaml.default_flow_style = False
    # lines of any length in ASCII: the library reads some others not as it wrote them
    yaml.allow_unicode, yaml.width = False, 1 << 30
    # the first axis of a grid is the slowest
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    return yaml


def parse(text: str, source: str) -> Any:
    """Return the content of a YAML document.

    Raises
    ------
    DocumentError
        Naming ``source``: if the text is no YAML, repeats a key, nests more than `DEEPEST` levels, has more than
        `LARGEST` values with what its aliases repeat, or has values other than numbers, texts, booleans and nulls.
    """
    if _brackets(text) > 10 * DEEPEST:  # the parser would take long to fail
        raise DocumentError(f"{source}: expected at most {DEEPEST} levels of lists and mappings, got more")
    try:
        content = _yaml().load(text)
    except DuplicateKeyError as error:
        key, line = str(error.problem).partition('"')[2].partition('"')[0], error.problem_mark.line + 1
        raise DocumentError(f"{key}: expected each key once, got it again in line {line} of {source}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise DocumentError(f"{source}: expected YAML, got {_in_short(error)}") from error
    _measure(content, source, 0, {})
    return content


def _brackets(text: str) -> int:
    """Return how deep brackets nest, those in quotes included."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


def _in_short(error: Exception) -> str:
    """Say what a parser's error is about, in one line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())[:300]
    return f"{' '.join(str(problem).split())} in line {mark.line + 1}"


def _measure(value: Any, source: str, depth: int, known: dict[int, int]) -> int:
    """Return the number of values in a value, each alias counted as what it repeats; ``known`` is by identity."""
    if value is None or isinstance(value, bool | int | float | str):
        return 1
    if not isinstance(value, list | dict):
        raise DocumentError(f"{source}: expected numbers, texts, lists and mappings, got a {type(value).__name__}")
    if depth > DEEPEST:
        raise DocumentError(f"{source}: expected at most {DEEPEST} levels of lists and mappings, got more")
    if id(value) not in known:
        known[id(value)] = LARGEST  # met again before it is measured: it contains itself
        parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_measure(part, source, depth + 1, known) for part in parts)
    if known[id(value)] > LARGEST:
        raise DocumentError(f"{source}: expected at most {LARGEST:,} values, got more by its aliases")
    return known[id(value)]


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; one that `write_yaml` wrote as JSON is read a hundred times faster."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path.name}: expected UTF-8 text, got {error.reason} at byte {error.start}") from error
    text = _unsealed(text, path.name)
    if text.startswith("{"):
        try:
            return json.loads(text, object_pairs_hook=_once, parse_constant=_no_json)
        except (ValueError, RecursionError):
            pass  # YAML after all, or a text that the parser tells what is wrong with
    return parse(text, path.name)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key is repeated")  # the parser tells which
    return content


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is a text in YAML")


def write_yaml(content: Mapping[str, Any], path: Path) -> None:
    """Write a mapping as YAML: as JSON, one key a line, unless it has values that JSON cannot tell.

    The last line is a comment with a checksum of what comes before.
    """
    if _is_json(content):
        dumps = partial(json.dumps, ensure_ascii=False)
        lines = [f"{dumps(key)}: {dumps(value)}" for key, value in content.items()]
        text = "{\n" + ",\n".join(lines) + "\n}\n"
    else:
        stream = StringIO()
        _yaml().dump(dict(content), stream)
        text = stream.getvalue()
    path.write_text(f"{text}{_SEAL}{_digest(text)}\n", encoding="utf-8")


def _unsealed(text: str, source: str) -> str:
    """Return a text without its checksum; DocumentError if that is another's. A text may have none."""
    content, seal, digest = text.rpartition(_SEAL)
    if not seal:
        return text
    if digest.rstrip() != _digest(content):
        raise DocumentError(
            f"{source}: expected the text that its last line is a checksum of, got another one: it was damaged, or "
            "changed by hand; remove the last line if it is as it should be"
        )
    return content


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(part) for key, part in value.items())
    if isinstance(value, list):
        return all(map(_is_json, value))
    return not isinstance(value, float) or math.isfinite(value)
