"""The wheel, installed outside the checkout, brings its notebooks and specs and runs a study."""

import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

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
