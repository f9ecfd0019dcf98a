"""The pages of the API: one for the face and one for each folder, written as directives that Sphinx fills."""

import ast
import inspect
import sys
from pathlib import Path

import kdlandscape
from tests.site.references import FOLDERS, NAME, documented, errors, found, owner_of, place_of, public

PACKAGE = Path(kdlandscape.__file__).parent
ABOUT = {
    "linalg": "Matrix-free numerics: a product and vectors in, tensors out. It knows torch only.",
    "landscape": "Everything that looks at a loss surface.",
    "distillation": "Problems, teachers, students and fidelity.",
    "cubes": "The result cube: labels, files, assembly, statistics. It never imports torch.",
    "studies": "What belongs to one question: claims, basins, findings.",
    "sweeps": "Specs, runs, workers.",
    "figures": "A dataset goes in, matplotlib axes come out.",
    "widgets": "Explorers.",
}


def write_api(folder: Path) -> None:
    """Write the pages into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ["kdl", *FOLDERS, "errors"]
    (folder / "errors.rst").write_text(_errors(), encoding="utf-8")
    (folder / "kdl.rst").write_text(_page("kdl", kdlandscape, _FACE) + _rooms(""), encoding="utf-8")
    for name in FOLDERS:
        module = getattr(kdlandscape, name)
        text = _page(f"kdl.{name}", module, ABOUT[name]) + _rooms(name)
        (folder / f"{name}.rst").write_text(text, encoding="utf-8")
    toc = "".join(f"   {name}\n" for name in names)
    said = (
        "Every public name with its signature, its formula, its units and its cost. The names are those of "
        "``import kdlandscape as kdl``; what belongs to one folder is ``kdl.<folder>.<name>``."
    )
    (folder / "index.rst").write_text(f"{_title('API', '=')}\n{said}\n\n.. toctree::\n\n{toc}", encoding="utf-8")


_FACE = "What most notebooks need stands in the package itself."


def _title(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"


def _page(title: str, module: object, about: str) -> str:
    things = {
        name: getattr(module, name) for name in getattr(module, "__all__", ()) if name not in (*FOLDERS, "__version__")
    }
    own = {
        name: thing for name, thing in things.items() if not inspect.ismodule(thing) and not _elsewhere(module, thing)
    }
    rows = "".join(
        f"   * - :py:obj:`{name} <{module.__name__}.{name}>`\n     - {_first_line(thing)}\n"
        for name, thing in own.items()
    )
    table = f".. list-table::\n   :widths: 30 70\n\n{rows}\n" if rows else ""
    entries = "".join(_entry(f"{module.__name__}.{name}", thing) for name, thing in own.items())
    return f"{_title(title, '=')}\n{about}\n\n{table}\n{entries}"


def _elsewhere(module: object, thing: object) -> bool:
    """Whether a thing is documented on another page, under another public name."""
    known = public().get(id(thing), "")
    return bool(known) and known.rpartition(".")[0] != module.__name__


def _first_line(thing: object) -> str:
    if not callable(thing):
        return "A constant."
    text = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
    near = getattr(thing, "__module__", "kdlandscape")
    return NAME.sub(lambda match: _reference(match["name"], near), text)


def _reference(name: str, near: str) -> str:
    target = documented(name, near)
    return f":py:obj:`{name} <{target}>`" if target else f"``{name}``"


def _entry(name: str, thing: object) -> str:
    if inspect.isclass(thing):
        return f".. autoclass:: {name}\n   :members:\n\n"
    return f".. autofunction:: {name}\n\n" if callable(thing) else f".. py:data:: {name}\n\n"


def _rooms(folder: str) -> str:
    """Return the modules of a folder, each with what it says about itself, and what docstrings link to inside."""
    parts = [_title("Modules", "-"), "\nWhat each file is for. These are no public names.\n\n"]
    place = PACKAGE / folder
    paths = place.rglob("*.py") if folder else [*place.glob("*.py"), *(place / "commands").glob("*.py")]
    for path in sorted(paths):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        if ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))):
            parts.append(f"``{name}``\n   .. automodule:: {name}\n      :no-members:\n\n")
    inner = [name for name in inner_names() if folder and name.startswith(f"kdlandscape.{folder}.")]
    if inner:
        parts.append(f"{_title('Inside', '-')}\nWhat the texts above refer to and what is no public name.\n\n")
        parts += [_entry(name, found(name, "kdlandscape")) for name in inner]
    return "\n" + "".join(parts)


def inner_names() -> list[str]:
    """Return the names that docstrings refer to, one leading to the next, and that are not public."""
    waiting = [thing for name in public().values() for thing in _with_methods(found(name, "kdlandscape"))]
    waiting += [module for name, module in sys.modules.items() if name.startswith("kdlandscape.")]
    seen: set[str] = set()
    while waiting:
        thing = waiting.pop()
        near = thing.__name__ if inspect.ismodule(thing) else getattr(thing, "__module__", "kdlandscape")
        for word in NAME.findall(inspect.getdoc(thing) or ""):
            target = documented(word.lstrip("~"), near, owner_of(thing))
            other = found(target, "kdlandscape") if target else None
            if callable(other) and not _is_shown(target) and target not in seen:
                seen.add(target)
                waiting += _with_methods(other)
    return sorted(seen)


def _is_shown(name: str) -> bool:
    """Whether a name has its place already: public, a method of a public class, or an error."""
    shown = {*public().values(), *map(place_of, errors().values())}
    return name in shown or name.rpartition(".")[0] in shown


def _errors() -> str:
    """Return the page of errors and warnings."""
    about = "What is raised and what is warned of. Each message says what was expected, what came, and what to do.\n\n"
    own = [thing for thing in errors().values() if id(thing) not in public()]
    return (
        _title("Errors and warnings", "=")
        + about
        + "".join(f".. autoexception:: {place_of(thing)}\n\n" for thing in own)
    )


def _with_methods(thing: object) -> list[object]:
    own = [value for key, value in vars(thing).items() if not key.startswith("_")] if inspect.isclass(thing) else []
    return [thing, *(value for value in own if callable(value) or isinstance(value, property))]
