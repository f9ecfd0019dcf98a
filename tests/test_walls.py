import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import kdlandscape

PACKAGE = Path(kdlandscape.__file__).parent
MAY_IMPORT = {
    "linalg": set(),
    "registry": set(),
    "cubes": set(),
    "landscape": {"linalg", "cubes"},
    "distillation": {"landscape", "linalg", "cubes"},
    "sweeps": {"cubes", "registry"},
    "studies": {"cubes", "registry"},
    "figures": {"cubes", "studies", "registry"},
    "widgets": {"figures", "studies", "cubes", "registry"},
    "reports": {"cubes", "registry", "studies", "figures", "widgets", "sweeps"},
    "commands": {"cubes", "distillation", "figures", "reports", "studies", "sweeps"},
    "cli": {"commands", "cubes", "distillation", "registry", "sweeps"},
    "__init__": set(),
    "nearest": set(),
    "summary": set(),
}
FOR_ALL = {"nearest", "summary"}  # names in messages, and what an object shows of itself: they know nothing of it
WITH_TORCH = {"linalg", "landscape", "distillation"}
NUMERICS = {"torch", "numpy", "scipy", "xarray", "pandas", "matplotlib", "seaborn", "sklearn"}


def home(path):
    """Return the subpackage or module right below the package that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path):
    """Return the full dotted names that a module imports anywhere, also inside functions."""
    package = ("kdlandscape", *path.relative_to(PACKAGE).parent.parts)
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "templates" not in path.parts)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    own = home(path)
    assert own in MAY_IMPORT, f"{own} is in no layer of the design"
    parts = {name.split(".")[1] for name in imports(path) if name.startswith("kdlandscape.")}
    beyond = {part for part in parts if part in MAY_IMPORT} - MAY_IMPORT[own] - FOR_ALL - {own}
    assert not beyond, f"{own} may import {sorted(MAY_IMPORT[own]) or 'nothing of the package'}"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if home(path) not in WITH_TORCH],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_torch_is_not_imported_above_distillation(path):
    assert not {name for name in imports(path) if name.split(".")[0] == "torch"}


@pytest.mark.parametrize(
    "path", [path for path in MODULES if home(path) == "linalg"], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_module_of_linalg_knows_torch_and_no_sibling_but_those_of_its_method(path):
    """A method that takes several modules has a folder, inside which they know each other."""
    if path.name == "__init__.py":
        return
    names = imports(path)
    method = path.parent.relative_to(PACKAGE / "linalg").parts
    own = ".".join(("kdlandscape", "linalg", *method, "")) if method else None
    assert not {name for name in names if name.startswith("kdlandscape.") and not (own and name.startswith(own))}
    assert {name.split(".")[0] for name in names} & NUMERICS <= {"torch"}


def strangers(package, room, other):
    """Return the modules of one folder of landscape that import something of another one."""
    modules = sorted((package / "landscape" / room).rglob("*.py"))
    return [path.name for path in modules if any(f"landscape.{other}" in name for name in imports(path))]


@pytest.mark.parametrize(("room", "other"), [("paths", "permutations"), ("permutations", "paths")])
def test_paths_and_permutations_do_not_know_each_other(room, other):
    assert list((PACKAGE / "landscape" / room).glob("*.py"))
    assert strangers(PACKAGE, room, other) == []


def test_a_broken_wall_between_paths_and_permutations_is_seen(tmp_path, monkeypatch):
    module = tmp_path / "landscape" / "permutations" / "repair.py"
    module.parent.mkdir(parents=True)
    module.write_text("from kdlandscape.landscape.paths.interpolation import mix\n")
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    assert strangers(tmp_path, "permutations", "paths") == ["repair.py"]
    module.write_text("def f():\n    from ..paths import curves\n")
    assert strangers(tmp_path, "permutations", "paths") == ["repair.py"]


def test_the_walls_see_relative_and_nested_imports(tmp_path, monkeypatch):
    module = tmp_path / "cubes" / "a.py"
    module.parent.mkdir()
    module.write_text("def f():\n    from .. import sweeps\n    from .b import c\n    import torch.func\n")
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    assert imports(module) == {"kdlandscape.sweeps", "kdlandscape.cubes.b.c", "torch.func"}


def circle(modules):
    """Return modules that import each other in a circle, anywhere in them; empty if there is none."""
    names = {".".join(("kdlandscape", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in modules}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}

    def module(name):
        while name and name not in names:
            name = name.rpartition(".")[0]
        return name

    graph = {name: {module(one) for one in imports(path)} - {name, ""} for name, path in names.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_modules_import_each_other_in_a_circle():
    assert circle(MODULES) == []


def test_a_circle_is_seen_through_functions_and_packages(tmp_path, monkeypatch):
    (tmp_path / "cubes").mkdir()
    (tmp_path / "cubes" / "__init__.py").touch()
    (tmp_path / "cubes" / "a.py").write_text("def f():\n    from kdlandscape.cubes import b\n")
    (tmp_path / "cubes" / "b.py").write_text("from .a import f\n")
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    assert set(circle(sorted(tmp_path.rglob("*.py")))) == {"kdlandscape.cubes.a", "kdlandscape.cubes.b"}
