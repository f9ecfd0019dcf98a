"""A user's problem: a function in a file or a package, found by name and called with its options."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from kdlandscape.cubes.user_paths import places_of
from kdlandscape.nearest import did_you_mean, listed


class ProblemError(ValueError):
    """A problem that cannot be made, or whose parts do not fit together."""


def made_by(name: str, options: Mapping[str, Any]) -> Any:
    """Call a user's function and return what it gives.

    Parameters
    ----------
    name
        ``folder/file.py:function``, from the working folder or the folder of the command, or
        ``package.module:function``.
    options
        Its arguments by name.

    Raises
    ------
    ProblemError
        If there is no such file, module or function, an option is none of its arguments, or it raises: with its own
        message, its file and line.
    """
    place, _, attribute = name.rpartition(":")
    module = _loaded(place, name)
    function = getattr(module, attribute, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        raise ProblemError(
            f"{name}: expected a function of {place} ({listed(known)}), got {attribute!r}."
            f"{did_you_mean(attribute, known)}"
        )
    _check_options(name, function, options)
    return _guarded(name, lambda: function(**options))


def _loaded(place: str, name: str) -> ModuleType:
    if not place.endswith(".py"):
        return _guarded(name, lambda: importlib.import_module(place))
    places = places_of(place)
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        raise ProblemError(f"{name}: expected a Python file at {places[-1]}, got nothing there")
    spec = importlib.util.spec_from_file_location(f"kdlandscape_problem_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look a class's module up here
    sys.path.insert(0, str(path.parent))  # so that it can import what lies beside it
    try:
        loader = spec.loader
        _guarded(name, lambda: loader.exec_module(module))
    finally:
        sys.path.remove(str(path.parent))
    return module


def _check_options(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key in options:
        if key not in parameters:
            raise ProblemError(
                f"{name}: expected options of {listed(parameters)}; got {key!r}.{did_you_mean(key, parameters)}"
            )
    missing = [key for key, p in parameters.items() if p.default is p.empty and key not in options]
    if missing:
        raise ProblemError(f"{name}: expected a value for its option {missing[0]!r}, which has no default")


def _guarded(name: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise ProblemError(
            f"{name} raised {type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
        ) from error
