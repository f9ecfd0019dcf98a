"""What a run's result depends on beside its notebook and parameters: local files, and versions of packages.

The witness sees each file that Python opens.  Other processes, and libraries that are not in Python, open files unseen.
Of those, a file counts that a command line names, and one that the code names in a text (in the notebook, a parameter,
a local module) if its first bytes are of a format that such libraries read, or if the code imports one that reads all.
"""

import ast
import functools
import glob
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from kdlandscape.sweeps.witness import Witness, file_digest

#: Before the name of a package among what a run has read; no relative path begins so.
PACKAGE = "//"
_NUMBERS = ("kdlandscape", "torch", "numpy", "scipy")  # count wherever they are loaded
_PICTURES = {"IPython", "ipywidgets", "matplotlib", "plotly", "seaborn", "tqdm"}  # make no number
_OWN_READERS = {"cv2", "duckdb", "polars", "pyarrow"}  # open files of any format by themselves
_FORMATS = re.compile(
    rb"\x89HDF|CDF|PAR1|ARROW1|ORC|SQLite format 3|\x89PNG|\xff\xd8\xff|RIFF|OggS|fLaC|.{8}\{\"", re.DOTALL
)  # the last is safetensors
_LONGEST_NAME = 1000  # characters
_MOST_NAMES = 10_000
_WORDS = re.compile(r"[^\s'\"\[\](),;|<>&=]+")  # of a command line


def inputs(
    witness: Witness | None, cells: Iterable[str], parameters: Mapping[str, Any], before: float
) -> dict[str, str]:
    """Return what this process has read, and the versions of the packages that its code imports.

    Parameters
    ----------
    witness
        Who has seen the files; nothing is returned where nobody has looked.
    cells
        The code that has run.
    parameters
        The values of the run's parameters.
    before
        When the run began, by the clock of the file system: a file that was changed since is not an input.

    Returns
    -------
    dict
        Path from the notebook's folder on -> hash of the content; ``//name`` of a package -> its version.
    """
    if witness is None:
        return {}
    with witness.aside():
        modules = [path.read_text(encoding="utf-8", errors="replace") for path in witness.modules()]
        trees = list(_trees([*cells, *modules]))
        reads_all = not _OWN_READERS.isdisjoint(_imported(trees))
        found = {
            path for path in _named(_texts(trees, parameters), witness.folder) if reads_all or _is_of_a_library(path)
        }
        found |= _named({text for command in witness.commands for text in _WORDS.findall(command)}, witness.folder)
        files = witness.read() | {path: file_digest(path) for path in found if witness.is_input(path, before)}
    packages = {f"{PACKAGE}{name}": version_of(name) for name in _packages(trees)}
    return {os.path.relpath(path, witness.folder): files[path] for path in sorted(files)} | {
        name: version for name, version in packages.items() if version is not None
    }


def content_of(name: str, beside: Path) -> str | None:
    """Return the hash of a file, or the version of a package, as it is now; None if it is gone."""
    if name.startswith(PACKAGE):
        return version_of(name.removeprefix(PACKAGE))
    try:
        return file_digest(beside / name)
    except OSError:
        return None


@functools.cache
def version_of(package: str) -> str | None:
    """Return the version of an installed package without its build (``+cpu``); None if there is none."""
    try:
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def _trees(sources: Iterable[str]) -> Iterator[ast.AST]:
    for source in sources:
        try:
            with warnings.catch_warnings(action="ignore"):
                yield ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # a cell with magics, a module of Cython
            continue


def _texts(trees: list[ast.AST], parameters: Mapping[str, Any]) -> set[str]:
    """Return the texts of some code; of an f-string its pattern, with the parameters' values in place."""

    def part(value: ast.expr) -> str:
        if isinstance(value, ast.Constant):
            return glob.escape(str(value.value))
        match value:
            case ast.FormattedValue(ast.Name(name), -1, None) if name in parameters:
                return glob.escape(str(parameters[name]))
        return "*"

    nodes = [node for tree in trees for node in ast.walk(tree)]
    plain = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    formatted = {"".join(map(part, node.values)) for node in nodes if isinstance(node, ast.JoinedStr)}
    values = {value for value in parameters.values() if isinstance(value, str)}
    return plain | values | {text for text in formatted if text.strip("*/.")}


def _named(texts: set[str], folder: Path) -> set[str]:
    """Return the paths of files that texts name: as they are, in a named folder, or as a pattern."""
    names = sorted(text for text in texts if 0 < len(text) < _LONGEST_NAME and text.isprintable())[:_MOST_NAMES]
    folders = [str(folder), *(path for name in names if os.path.isdir(path := os.path.join(folder, name)))]
    found: set[str] = set()
    for place in folders:
        for name in names:
            path = os.path.abspath(os.path.join(place, name))
            if os.path.isfile(path):
                found.add(path)
            elif glob.has_magic(name) and "**" not in name:
                found.update(filter(os.path.isfile, map(os.path.abspath, glob.iglob(os.path.join(place, name)))))
    return found


def _is_of_a_library(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return _FORMATS.match(file.read(16)) is not None
    except OSError:
        return False


def _imported(trees: list[ast.AST]) -> set[str]:
    """Return the modules that the code imports, by the first part of their names."""
    found: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def _packages(trees: list[ast.AST]) -> list[str]:
    modules = {*_imported(trees), *_NUMBERS} - _PICTURES - sys.stdlib_module_names
    return sorted({name for module in modules if module in sys.modules for name in _distributions(module)})


def _distributions(module: str) -> list[str]:
    """Return the packages that a module may come from; none for a local module."""
    return [module] if version_of(module) is not None else _all_distributions().get(module, [])


@functools.cache
def _all_distributions() -> dict[str, list[str]]:
    return {module: sorted(set(names)) for module, names in metadata.packages_distributions().items()}
