"""A notebook as a file: its code, and the kernel that it asks for."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from kdlandscape.sweeps.errors import SpecError


def code_cells(path: Path) -> list[dict[str, Any]]:
    """Return the code cells of a notebook, each with its ``source`` as one string and its ``tags``."""
    cells = _content(path)["cells"]
    try:
        return [
            {"source": "".join(cell["source"]), "tags": cell.get("metadata", {}).get("tags", [])}
            for cell in cells
            if cell["cell_type"] == "code"
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_notebook(path, error) from error


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _no_notebook(path, error) from error
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise _no_notebook(path, "no list of cells")
    return content


def _no_notebook(path: Path, problem: object) -> SpecError:
    return SpecError(f"notebook: expected a Jupyter notebook, got {path.name}, which is not one ({problem})")


def parameters_cell(path: Path) -> str:
    """Return the source of the cell tagged ``parameters``; SpecError if there is none."""
    cells = [cell["source"] for cell in code_cells(path) if "parameters" in cell["tags"]]
    if not cells:
        raise SpecError(
            f"notebook: expected a cell tagged 'parameters' with lines like 'seed: int = 0', got none in {path.name}"
        )
    return cells[0]


def code_hash(path: Path) -> str:
    """Return a hash of a notebook's code; its text, outputs and metadata do not change results and do not count."""
    return hashlib.sha256(json.dumps(code_cells(path)).encode()).hexdigest()[:16]


def python_of(source: str) -> str:
    """Return a cell's Python; a magic is none, but its line stays so that line numbers are right."""
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())


def check_kernel(path: Path) -> None:
    """Raise SpecError if a notebook asks for the kernel of another language or environment.

    Runs are executed by the interpreter that runs this, which the name ``python3`` stands for in Jupyter too.
    """
    metadata = _content(path).get("metadata")
    asked = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    asked = asked if isinstance(asked, dict) else {}
    name, language = str(asked.get("name") or "python3"), str(asked.get("language") or "python")
    way_out = "choose the kernel python3 in the notebook, or start kdlandscape in the environment that it is meant for"
    if language.lower() != "python":
        raise SpecError(f"notebook: expected one in Python, got {path.name}, which asks for a kernel in {language}")
    if name == "python3":
        return
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        interpreter = KernelSpecManager().get_kernel_spec(name).argv[0]
    except (NoSuchKernel, IndexError, ValueError, OSError) as error:
        raise SpecError(
            f"notebook: expected a kernel that is installed here, got {path.name}, which asks for {name!r}; {way_out}"
        ) from error
    if _environment(interpreter) != _environment(sys.executable):
        raise SpecError(
            f"notebook: expected a kernel of this environment ({_environment(sys.executable)}), got {path.name}, which "
            f"asks for {name!r} of {_environment(interpreter)}; {way_out}"
        )


def _environment(interpreter: str) -> Path:
    """Return the folder of an interpreter; the link that it is in a virtual environment is not followed."""
    return Path(os.path.abspath(shutil.which(interpreter) or interpreter)).parent.resolve()
