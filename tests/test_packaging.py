"""The wheel, installed outside the checkout, brings its notebooks and specs and runs a study."""

import os
import re
import site
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kdlandscape
from kdlandscape.cubes.yaml_file import read_yaml

ROOT = Path(__file__).parents[1]
SMALL = [
    "num_train=100",
    "num_fresh=100",
    "teacher_epochs=1",
    "student_epochs=1",
    "width=8",
    "path_points=3",
    "plane_points=3",
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the folder of commands of a new environment that holds the wheel; the dependencies are this one's."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "-w", folder, ROOT], check=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    (wheel,) = folder.glob("*.whl")
    own = folder / "venv" / "bin"
    subprocess.run([own / "python", "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    (packages,) = (folder / "venv" / "lib").glob("*/site-packages")
    shared = [path for path in site.getsitepackages() if Path(path).is_dir()]
    # After the wheel's own folder, and without reading .pth files there: an editable install of the checkout stays out.
    (packages / "shared.pth").write_text("\n".join(shared))
    return own


def test_the_wheel_runs_new_and_the_demo_outside_the_checkout(installed, tmp_path):
    def command(*words):
        done = subprocess.run(
            [installed / "kdlandscape", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "KDLANDSCAPE"))}
    environment["KDLANDSCAPE_CACHE"] = str(tmp_path / "cache")
    where = subprocess.run(
        [installed / "python", "-c", "import kdlandscape; print(kdlandscape.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert not where.startswith(str(ROOT))
    assert "run it: kdlandscape run mine.yaml" in command("new", "mine")
    assert "10 runs" in command("run", "demo", "--dry-run")
    settings = [word for setting in SMALL for word in ("-p", setting)]
    told = command("run", "mine.yaml", *settings, "-g", "seed=0,1", "-g", "lr_policy=constant", "--workers", "2")
    assert "2 done, 0 failed" in told
    assert (tmp_path / "papermill_runs" / "mine" / "cube.nc").is_file()
    assert (tmp_path / "papermill_runs" / "mine" / "figures" / "planes.pdf").is_file()


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


def test_every_dependency_with_a_lower_bound_has_its_lowest_version_in_the_constraints():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lowest = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / ".github" / "lowest.txt").read_text(), flags=re.M))
    bounds = {name: re.search(r">=([\w.]+)", rest) for name, rest in map(requirement, wanted)}
    assert {name: found[1] for name, found in bounds.items() if found} == {
        re.sub(r"[-_]", "-", name.lower()): version for name, version in lowest.items()
        if bounds.get(re.sub(r"[-_]", "-", name.lower()))
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / ".github" / "workflows").glob("*.yml")))
def test_a_workflow_reads_as_yaml_and_runs_what_exists(name):
    workflow = read_yaml(ROOT / ".github" / "workflows" / name)
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert [command for command in commands if re.search(r"\.ci/run|tests\.site|pytest", command)] or name == "none"
    named = re.findall(r"(?<![\w/.])(?:tests|\.ci|\.github)/[\w./-]+", " ".join(commands))
    assert not [path for path in named if not (ROOT / path).exists()]
