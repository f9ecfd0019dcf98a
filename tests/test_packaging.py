"""The wheel, installed outside the checkout, brings notebooks and specs, runs a study, and asks for what it uses."""

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

import kdlandscape
from kdlandscape.cubes.yaml_file import read_yaml, write_yaml
from tests.installation import ROOT, environment
from tests.versions import QUICK, at_lowest, dependencies

SMALL = {
    "num_train": 100,
    "num_fresh": 100,
    "teacher_epochs": 1,
    "student_epochs": 1,
    "width": 8,
    "path_points": 3,
    "plane_points": 3,
}


def contents(wheel):
    """Return the checksum of every file in a wheel, less the list of them."""
    with zipfile.ZipFile(wheel) as opened:
        return {info.filename: info.CRC for info in opened.infolist() if not info.filename.endswith("RECORD")}


def test_the_wheel_of_the_source_distribution_is_that_of_the_checkout(distributions):
    source, wheel, direct = distributions
    assert contents(wheel) == contents(direct)
    names = contents(wheel)
    assert "kdlandscape/templates/notebooks/distill_init.ipynb" in names
    assert "kdlandscape/templates/papermill_runs/demo.yaml" in names
    assert not [name for name in names if name.startswith(("tests", ".github"))]
    with tarfile.open(source) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CITATION.cff"} <= held
    assert not [name for name in held if re.search(r"(^|/)(tests|runs|\.venv|build)/|cube\.nc$", name)]


@pytest.fixture
def user(installed, tmp_path):
    """Type a line in an empty folder, as a user who has the wheel alone; return what it prints."""

    def typed(line):
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path / "work", env=environment(installed, tmp_path),
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    (tmp_path / "work").mkdir()
    return typed


def test_a_new_study_is_planned_by_the_wheel_in_an_empty_folder(user, tmp_path):
    where = user("python -P -c 'import kdlandscape; print(kdlandscape.__file__)'")
    assert not where.startswith(str(ROOT))
    assert "run it: kdlandscape run mine.yaml" in user("kdlandscape new mine")
    assert "10 runs" in user("kdlandscape run demo --dry-run")
    settings = " ".join(f"-p {name}={value}" for name, value in SMALL.items())
    assert "1 run" in user(f"kdlandscape run mine.yaml {settings} -g seed=0 -g lr_policy=constant --dry-run")
    assert (tmp_path / "work" / "mine.ipynb").is_file()


def test_the_first_command_of_the_readme_leaves_what_the_readme_says(user, installed, tmp_path):
    first, second = re.findall(r"```sh\n(python3 .*?)\n```", (ROOT / "README.md").read_text(), flags=re.S)
    set_up, _, command = first.rpartition(" && ")
    assert second.startswith(set_up)  # which .ci/run takes from there and runs
    spec = read_yaml(ROOT / "papermill_runs" / "demo.yaml")
    spec["parameters"] |= SMALL | {"norm": "layer", "network": "mlp", "depth": 1}
    spec["grid"] |= {"seed": [0, 1], "lr_policy": ["constant"], "init_lambda": [0.0, 1.0]}
    work = tmp_path / "work"
    write_yaml(spec, work / "demo")  # a file of that name comes before the shipped spec, which takes minutes
    (work / ".venv").symlink_to(installed.parent)
    told = user(command)
    assert "2 done, 0 failed" in told
    study = work / "papermill_runs" / "demo"
    made = {path.relative_to(study).as_posix() for path in study.rglob("*")}
    assert len([name for name in made if re.fullmatch(r"runs/.*\.ipynb", name)]) == 2
    assert {"cube.nc", "figures/planes.pdf", "figures/planes.png"} <= made


def test_the_version_stands_in_one_place():
    version = kdlandscape.__version__
    files = ["pyproject.toml", "CITATION.cff", ".github/conda/meta.yaml", ".github/site/conf.py"]
    assert not [name for name in files if version in (ROOT / name).read_text(encoding="utf-8")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "kdlandscape/__init__.py"


def test_the_recipe_for_conda_asks_for_what_the_wheel_asks_for():
    wheel = set(map(requirement, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]))
    recipe = (ROOT / ".github" / "conda" / "meta.yaml").read_text(encoding="utf-8")
    listed = recipe.partition("  run:\n")[2].partition("test:\n")[0]
    asked = {requirement(line) for line in re.findall(r"^    - (.*)$", listed, flags=re.M)}
    other = {"matplotlib-base": "matplotlib", "pytorch": "torch"}
    asked = {(other.get(name, name), bounds) for name, bounds in asked}
    from_pypi = {name for name, _ in wheel if re.search(rf"--no-deps .*\b{name}\b", recipe)}
    assert asked - {("python", ">=3.11"), ("pip", "")} == {(name, b) for name, b in wheel if name not in from_pypi}


def requirement(text):
    """Return the name and the bounds of a requirement, spelled in one way."""
    name, bounds = re.fullmatch(r"([\w.-]+)\s*(\S*)", text.strip()).groups()
    return re.sub(r"[-_]", "-", name.lower()), bounds


def test_every_dependency_has_a_lowest_version_that_can_be_asked_for():
    pinned = [at_lowest(text) for text in dependencies()]
    assert "torch==2.6.0" in pinned
    with pytest.raises(ValueError, match=r"expected a lower bound, such as numpy>=1.0, got 'numpy'"):
        at_lowest("numpy")


def test_the_quick_part_is_there():
    assert not [path for path in QUICK if not (ROOT / path).is_file()]


def declared():
    """Return the names of what the wheel and each of its extras ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: {Requirement(text).name for text in texts} for extra, texts in asked.items()}


def imported():
    """Return the packages of others that the package's modules import, with one module for each."""
    own = {"kdlandscape", *sys.stdlib_module_names}
    found = {}
    for path in sorted((ROOT / "kdlandscape").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found |= {name.partition(".")[0]: path for name in names if name.partition(".")[0] not in own}
    return found


def test_whatever_a_module_imports_is_asked_for_by_the_wheel_or_by_an_extra_for_users():
    extras = declared()
    promised = set().union(*(extras[name] for name in ("", "dask", "hf", "images", "lab", "zarr")))
    promised = {canonical(name) for name in promised}
    by_module = packages_distributions()
    missing = {name: path for name, path in imported().items() if not promised & set(map(canonical, by_module[name]))}
    assert set(missing) <= {"transformers"}  # saves what a user made with it


@pytest.mark.parametrize("extra", sorted(declared()))
def test_an_extra_is_here_with_the_versions_that_it_asks_for_and_imports(extra):
    if extra == "bench":  # is no part of what the tests need
        pytest.skip("the benches say what they lack")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = project["optional-dependencies"][extra] if extra else project["dependencies"]
    wanted = [one for one in map(Requirement, texts) if one.name != "kdlandscape"]
    assert not [str(one) for one in wanted if version(one.name) not in one.specifier]
    modules = {canonical(name): module for module, names in packages_distributions().items() for name in names}
    absent = [
        one.name for one in wanted if canonical(one.name) in modules and not find_spec(modules[canonical(one.name)])
    ]
    assert not absent


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / ".github" / "workflows").glob("*.yml")))
def test_a_workflow_reads_as_yaml_and_runs_what_exists(name):
    workflow = read_yaml(ROOT / ".github" / "workflows" / name)
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert [command for command in commands if re.search(r"\.ci/run|tests\.site|tests\.versions", command)]
    named = re.findall(r"(?<![\w/.])(?:tests|\.ci|\.github)/[\w./-]+", " ".join(commands))
    assert not [path for path in named if not (ROOT / path).exists()]
