"""A spec's file on top of the files that it includes."""

from pathlib import Path
from typing import Any

from kdlandscape.cubes.yaml_file import DocumentError, read_yaml
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.places import shipped


def read_mapping(path: Path, including: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the mapping in a YAML file, on top of the files that it names under ``include``.

    ``parameters`` and ``grid`` are merged name by name, other keys as a whole; a name that is an axis here is no fixed
    parameter any more, and the other way round.  A notebook is looked for beside the file that names it first; a file
    that is not there is a shipped spec.
    """
    path = path.resolve()
    if path in including:
        raise SpecError(f"include: expected files that do not include each other, got {path.name} again")
    try:
        content = read_yaml(path)
    except DocumentError as error:
        raise SpecError(str(error)) from error
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
        there = path.parent / name
        shipped_one = shipped("papermill_runs") / name
        use_shipped = not there.exists() and shipped_one.is_file()
        merged = _merge(merged, read_mapping(shipped_one if use_shipped else there, (*including, path)))
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
