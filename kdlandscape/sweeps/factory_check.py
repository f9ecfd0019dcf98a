"""A problem's function is looked up in its file, without running it, before any run is started."""

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from kdlandscape.cubes.user_paths import places_of
from kdlandscape.nearest import did_you_mean, listed
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.own_problem import entry
from kdlandscape.sweeps.spec import Spec


def check_factory(spec: Spec) -> None:
    """Refuse a problem in a file that is not there, a function that the file does not have, and options it lacks.

    Of a function that is not simply defined in the file nothing is said; a package is not looked into.

    Raises
    ------
    SpecError
        With what was expected, what came, and the nearest name.
    """
    options = spec.parameters.get("options")
    keys = [*(options if isinstance(options, Mapping) else ()), *(one[1] for one in map(entry, spec.grid) if one)]
    names = spec.facts.values.get("problem") or spec.grid.get("problem") or [spec.parameters.get("problem")]
    for name in names:
        place, colon, function = str(name or "").rpartition(":")
        if colon and place.endswith(".py"):
            _check(place, function, keys)


def _check(place: str, function: str, options: list[Any]) -> None:
    places = places_of(place)
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        raise SpecError(f"problem: expected a Python file at {places[-1]}, got nothing there")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise SpecError(f"problem: expected Python in {path}, got {error}") from error
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    bound = {name for node in ast.walk(tree) for name in _bound(node)}
    if function not in defined and function not in bound and "*" not in bound:
        raise SpecError(
            f"problem: expected a function of {path.name} ({listed(defined)}), got {function!r}."
            f"{did_you_mean(function, defined)}"
        )
    if function in defined and not defined[function].decorator_list:
        _check_options(path.name, function, defined[function].args, options)


def _check_options(file: str, function: str, arguments: ast.arguments, options: list[Any]) -> None:
    known = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    for option in options:
        if option not in known and arguments.kwarg is None:
            raise SpecError(
                f"options.{option}: expected an argument of {function} in {file} ({listed(known)}), got {option!r}."
                f"{did_you_mean(str(option), known)}"
            )


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement binds beside functions."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.ClassDef):
        yield node.name
