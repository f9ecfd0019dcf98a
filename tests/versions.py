"""``python -m tests.versions lowest|newest`` runs the quick tests with the lowest or newest versions allowed.

The lowest are the lower bounds in ``pyproject.toml``, which every dependency has; the newest are what pip takes.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEEDED = ["hypothesis", "psutil", "pytest", "pytest-xdist"]

#: The quick part: it calls every dependency and starts kernels, and needs no extra, no browser and no checkpoint.
QUICK = [
    "tests/linalg/test_lanczos.py",
    "tests/linalg/test_slq.py",
    "tests/landscape/test_objective.py",
    "tests/landscape/test_directions.py",
    "tests/landscape/test_interpolation.py",
    "tests/distillation/test_data.py",
    "tests/distillation/test_losses.py",
    "tests/distillation/test_metrics.py",
    "tests/cubes/test_schema.py",
    "tests/cubes/test_store.py",
    "tests/cubes/test_merging.py",
    "tests/cubes/test_compaction.py",
    "tests/cubes/test_yaml_file.py",
    "tests/studies/test_claims.py",
    "tests/sweeps/test_spec.py",
    "tests/sweeps/test_record.py",
    "tests/sweeps/test_fork_server.py",
    "tests/figures/test_figures.py",
    "tests/test_cli.py",
    "tests/test_labels.py",
    "tests/test_summaries.py",
]


def dependencies() -> list[str]:
    """Return what the wheel asks for."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]


def at_lowest(requirement: str) -> str:
    """Return a requirement at its lower bound.

    Raises
    ------
    ValueError
        If it has none.
    """
    found = re.fullmatch(r"([\w.-]+)\s*>=([\w.]+)(?:,.*)?", requirement)
    if found is None:
        raise ValueError(f"expected a lower bound, such as {requirement}>=1.0, got {requirement!r}")
    return f"{found[1]}=={found[2]}"


def prepare(end: str, folder: Path) -> Path:
    """Make or complete an environment with the versions of one end; return its Python."""
    python = folder / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(map(at_lowest, dependencies())) if end == "lowest" else "", encoding="utf-8")
    newest = ["--upgrade", "--upgrade-strategy", "eager"] if end == "newest" else []
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *newest, "-c", constraints]
    subprocess.run([*pip, "-e", ROOT, *NEEDED], check=True)
    return python


def test(end: str, python: Path) -> int:
    """Run the quick part; return its exit code."""
    # old packages are told off by younger ones that they rest on
    lenient = ["-W", "ignore::DeprecationWarning"] if end == "lowest" else []
    return subprocess.run([python, "-m", "pytest", "-q", *lenient, *QUICK], cwd=ROOT, check=False).returncode


def main() -> int:
    """Read the command line, install, tell the versions and test."""
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=__doc__)
    parser.add_argument("end", choices=["lowest", "newest"])
    parser.add_argument("--into", type=Path, help="environment to make or to use again; default: one that is removed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kdl-") as temporary:
        python = prepare(given.end, (given.into or Path(temporary) / "venv").absolute())
        subprocess.run([python, "-m", "pip", "list", "--disable-pip-version-check"], check=True)
        return test(given.end, python)


if __name__ == "__main__":
    sys.exit(main())
