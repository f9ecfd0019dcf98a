"""A Sphinx extension: a name in single backticks in a docstring becomes a link to where the site documents it.

Docstrings name things as the code does: by their short name, or by the module that defines them.  The site documents
the public name.  What is named and is nowhere is a warning, so the site does not build.
"""

import importlib
import re
import sys
from functools import cache
from inspect import isclass, ismodule
from pkgutil import walk_packages

from docutils import nodes
from sphinx.util import logging

import kdlandscape

FOLDERS = ("linalg", "landscape", "distillation", "cubes", "studies", "sweeps", "figures", "widgets")
LOGGER = logging.getLogger(__name__)
NAME = re.compile(r"(?<![`:\w])`(?P<name>~?[A-Za-z_][\w.]*)`(?![`_\w])")


@cache
def public() -> dict[int, str]:
    """Return the public name of every public thing, by the thing's identity."""
    names: dict[int, str] = {}
    for module in (kdlandscape, *(getattr(kdlandscape, folder) for folder in FOLDERS)):
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if not ismodule(thing) and callable(thing):
                names.setdefault(id(thing), f"{module.__name__}.{name}")
    return names


def found(name: str, near: str, owner: object | None = None) -> object | None:
    """Return what a docstring of the module ``near``, or of a method of ``owner``, means by a name, or None."""
    first, *rest = name.removeprefix("kdl.").split(".")
    starts = [owner, sys.modules.get(near), kdlandscape, *(getattr(kdlandscape, folder) for folder in FOLDERS)]
    for start in starts:
        if start is not None and hasattr(start, first):
            thing = _walk(getattr(start, first), rest)
            if thing is not None:
                return thing
    return _imported(name)


def _walk(thing: object, path: list[str]) -> object | None:
    for step in path:
        thing = getattr(thing, step, None)
        if thing is None:
            return None
    return thing


def _imported(name: str) -> object | None:
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        return _walk(module, parts[cut:])
    return None


def owner_of(thing: object) -> object | None:
    """Return the class that a method belongs to."""
    inner = getattr(thing, "__qualname__", "").rpartition(".")[0]
    return found(inner, getattr(thing, "__module__", "")) if inner and "<" not in inner else None


@cache
def errors() -> dict[str, type]:
    """Return every error and warning class of the package, by its name."""
    for module in walk_packages(kdlandscape.__path__, "kdlandscape."):
        importlib.import_module(module.name)
    things = {
        id(thing): thing
        for name, module in sys.modules.items()
        if name.startswith("kdlandscape")
        for thing in vars(module).values()
    }
    classes = [thing for thing in things.values() if isclass(thing) and issubclass(thing, Exception)]
    return {one.__name__: one for one in sorted(classes, key=place_of) if one.__module__.startswith("kdlandscape")}


def place_of(thing: object) -> str:
    """Return the dotted name of where a thing is defined."""
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"


def documented(name: str, near: str, owner: object | None = None) -> str | None:
    """Return the name under which the site documents what ``name`` means; None if it is nothing of this package."""
    thing = found(name, near, owner) or errors().get(name)
    if thing is None:
        return None
    if ismodule(thing):
        return thing.__name__ if thing.__name__.startswith("kdlandscape") else None
    if id(thing) in public():
        return public()[id(thing)]
    place, holder = place_of(thing), owner_of(thing)
    if isclass(holder) and id(holder) in public():
        return f"{public()[id(holder)]}.{thing.__name__}"
    return place if place.startswith("kdlandscape.") else None


def link(app, what, name, thing, options, lines):
    """Turn names in backticks into references."""
    near = getattr(thing, "__module__", None) or (thing.__name__ if ismodule(thing) else "kdlandscape")
    owner = owner_of(thing)

    def role(match: re.Match) -> str:
        word = match["name"].lstrip("~")
        target = documented(word, near, owner)
        if target is None:
            if found(word, near, owner) is None:
                LOGGER.warning("%s: expected a name that exists in backticks, got %r", name, word)
            return f"``{word}``"
        return f":py:obj:`{word} <{target}>`"

    lines[:] = [NAME.sub(role, line) for line in lines]


def skip(app, what, name, thing, hidden, options):
    """Leave out the fields of a named tuple, which say no more than their position."""
    return True if str(getattr(thing, "__doc__", "")).startswith("Alias for field number") else None


def inside(app, env, node, content):
    """Link a type of an annotation by its public name; leave types of other packages and inner ones as they are."""
    target = node.get("reftarget", "")
    known = documented(target, "kdlandscape")
    if known and known != target:
        domain = env.get_domain("py")
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", known, node, content)
    is_type = node.get("reftype") in ("class", "exc")
    return nodes.inline("", "", content) if is_type and (known is None or "." in known) else None


def setup(app):
    """Connect to autodoc and to what finds no target."""
    app.connect("autodoc-process-docstring", link, priority=100)
    app.connect("autodoc-skip-member", skip)
    app.connect("missing-reference", inside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
