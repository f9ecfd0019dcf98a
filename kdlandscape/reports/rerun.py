"""What a study asks, how it is cited, and how it is run again: from its spec and its notebooks alone."""

import json
import re
from importlib import metadata
from pathlib import Path

import xarray as xr

from kdlandscape.cubes.files import names
from kdlandscape.sweeps.includes import read_mapping
from kdlandscape.sweeps.places import shipped
from kdlandscape.sweeps.spec import Spec

_KEYS = ("study", "notebook", "description", "parameters", "grid", "vectorize", "zip", "exclude", "from", "join")
_TOLD = ("labels", "findings", "figures", "table")


def question(spec: Spec | None, folder: Path | None, cube: xr.Dataset | None) -> tuple[str, list[str]]:
    """Return what a study asks, for the title, and what is known of it, for the lines below.

    The question is the heading of the study's notebook, as it was executed.
    """
    if spec is None:
        attrs = cube.attrs if cube is not None else {}
        return str(attrs.get("study") or attrs.get("title") or "A cube"), [str(attrs.get("description", ""))]
    heading = _heading(spec, folder)
    about = f"Study {spec.study}" + (f": {spec.description}" if spec.description else "")
    return heading or spec.description or spec.study, [f"{about.rstrip('.')}."]


def _heading(spec: Spec, folder: Path | None) -> str:
    executed = (
        [folder / "runs" / f"{name}.ipynb" for name in sorted(names(folder / "runs", ".nc"))[:1]] if folder else []
    )
    for notebook in [*executed, Path(spec.facts.notebook_path), shipped("notebooks") / spec.notebook]:
        try:
            cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        except (OSError, ValueError, KeyError):
            continue
        sources = ["".join(cell["source"]) for cell in cells if cell.get("cell_type") == "markdown"]
        found = [match[1].strip() for source in sources if (match := re.match(r"#\s+(.+)", source))]
        if found:
            return found[0]
    return ""


def citation(cube: xr.Dataset | None, study: str) -> str:
    """Return a BibTeX entry of the software, with its version and the study's recipe."""
    about = metadata.metadata("kdlandscape")
    recipe = cube.attrs.get("run.recipe") if cube is not None else None
    note = f"study {study}" + (f", recipe {recipe}" if recipe else "")
    return "\n".join(
        [
            "@software{kdlandscape,",
            f"  title = {{{about['Name']}: {about['Summary']}}},",
            "  author = {{The kdlandscape developers}},",
            f"  version = {{{about['Version']}}},",
            f"  note = {{{note}}},",
            "}",
        ]
    )


def commands(spec: Spec) -> tuple[str, str, str]:
    """Return in words and in commands how a study is run again, and its spec as YAML."""
    content = spec.model_dump(by_alias=True, exclude={"resolved"}, exclude_defaults=True, mode="json")
    content["grid"] |= {
        name: dict(zip(spec.grid[name], values, strict=True)) for name, values in spec.facts.values.items()
    }
    lines = [f"{key}: {json.dumps(content[key], ensure_ascii=False)}" for key in (*_KEYS, *_TOLD) if key in content]
    given = shipped("papermill_runs") / f"{spec.study}.yaml"
    if given.is_file() and _same(read_mapping(given), content):
        return "To run it again:", f"kdlandscape run {spec.study}", "\n".join(lines)
    words = f"To run it again, write the lines below as {spec.study}.yaml beside {Path(spec.notebook).name}:"
    return words, f"kdlandscape run {spec.study}.yaml", "\n".join(lines)


def _same(one: dict, other: dict) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
