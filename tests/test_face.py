"""The public face: what editors and type checkers see, what is imported lazily, and what signatures may look like."""

import ast
import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import kdlandscape as kdl

ROOT = Path(kdl.__file__).parent
FACES = ["kdlandscape", *sorted(f"kdlandscape.{stub.parent.name}" for stub in ROOT.glob("*/__init__.pyi"))]
USER = """
import torch
from torch import nn
import kdlandscape as kdl

net = nn.Sequential(nn.Linear(4, 3))
data = (torch.randn(8, 4), torch.zeros(8, dtype=torch.long))
objective = kdl.Objective(net, nn.CrossEntropyLoss(), data, metrics={"accuracy": kdl.landscape.accuracy})
directions = kdl.random_directions(net, 2, generator=torch.Generator().manual_seed(0))
plane = kdl.slice_plane(objective, net, directions, x=3, y=3)
height: float = float(kdl.barrier(kdl.interpolate(objective, net, objective.theta)))
kdl.figures.plane(plane["loss"])
"""
WRONG = [
    ("kdl.no_such_name", 'has no attribute "no_such_name"'),
    ("kdl.landscape.no_such_name", 'has no attribute "no_such_name"'),
    ("kdl.interpolate(objective, net, net, bogus=1)", 'Unexpected keyword argument "bogus"'),
    ('kdl.interpolate("x", net, net)', 'incompatible type "str"'),
    ('kdl.slice_plane(objective, net, directions, x="many")', 'incompatible type "str"'),
]


@pytest.mark.parametrize("face", FACES)
def test_completion_sees_every_public_name_and_no_module_hides_one(face):
    module = import_module(face)
    assert set(module.__all__) <= set(dir(module))
    folder = Path(module.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    for name in module.__all__:
        assert (name in modules) == inspect.ismodule(getattr(module, name)), name


def test_a_cube_opens_without_torch_and_importing_the_face_loads_nothing():
    code = (
        "import sys, json, kdlandscape as kdl; bare = sorted(set(sys.modules) & {'torch', 'xarray', 'matplotlib'}); "
        "kdl.open_cube, kdl.studies.verdicts, kdl.figures; print(json.dumps([bare, 'torch' in sys.modules]))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == [[], False]


def test_mypy_takes_what_is_right_and_refuses_each_mistake(tmp_path):
    user = tmp_path / "user.py"
    user.write_text(USER + "\n".join(line for line, _ in WRONG) + "\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT.parent / "pyproject.toml"), str(user)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT.parent, check=False)
    errors = [line for line in answer.stdout.splitlines() if "error:" in line]
    first = USER.count("\n") + 1
    for number, (line, message) in enumerate(WRONG, first):
        assert any(f"user.py:{number}:" in error and message in error for error in errors), (line, answer.stdout)
    assert len(errors) == len(WRONG), answer.stdout


def signatures():
    """Yield (name, callable) of everything public: functions, classes, and the public methods of classes."""
    for face in FACES:
        module = import_module(face)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing):
                methods = inspect.getmembers(thing, inspect.isfunction)
                yield from ((f"{face}.{name}.{key}", method) for key, method in methods if not key.startswith("_"))
            if callable(thing):
                yield f"{face}.{name}", thing


def test_no_public_signature_ends_in_settings_that_are_passed_on():
    found = []
    for name, thing in signatures():
        try:
            kinds = {parameter.kind for parameter in inspect.signature(thing).parameters.values()}
        except (ValueError, TypeError):  # a type without a Python signature
            continue
        if inspect.Parameter.VAR_KEYWORD in kinds and not name.startswith("kdlandscape.figures."):
            found.append(name)
    # these keywords are attributes or coordinates, whose names are the caller's
    open_ended = {"dataset", "variable", "value", "pick", "difference"}
    assert [name for name in found if name.rpartition(".")[2] not in open_ended] == []


@pytest.mark.parametrize("path", sorted((ROOT.parent / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_imports_no_deeper_than_a_folder_of_the_face(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for node in ast.walk(ast.parse(source)):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name is not None and name.split(".")[0] == "kdlandscape":
                assert name in FACES, f"{name} is deeper than the public face"
