"""The package as its users get it: a wheel, made from the source distribution, in an environment of its own."""

import os
import site
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build(source: Path, folder: Path) -> tuple[Path, Path]:
    """Build source distribution and wheel of a source folder, offline; return both files."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", folder]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"expected hatchling to build {source}, got\n{done.stdout}{done.stderr}")
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a source distribution; return the folder inside it."""
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return next(folder.iterdir())


def install(wheel: Path, folder: Path, *, alone: bool) -> Path:
    """Make an environment that holds a wheel; return its folder of commands.

    Parameters
    ----------
    wheel
        What to install.
    folder
        Where the environment goes.
    alone
        Whether the dependencies are installed as well, which may download them; they are this interpreter's otherwise.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", folder / "bin" / "python", "install"]
    subprocess.run([*pip, "--quiet", *([] if alone else ["--no-deps"]), wheel], check=True)
    if not alone:
        (packages,) = (folder / "lib").glob("*/site-packages")
        shared = [path for path in site.getsitepackages() if Path(path).is_dir()]
        # After the wheel's own folder, and without .pth files there: an editable install of the checkout stays out.
        (packages / "shared.pth").write_text("\n".join(shared), encoding="utf-8")
    return folder / "bin"


def environment(commands: Path, home: Path) -> dict[str, str]:
    """Return the environment of a new user: these commands first, an empty home, and nothing of this process's own."""
    own = ("PYTHON", "KDLANDSCAPE", "JUPYTER", "IPYTHON", "XDG", "PYTEST", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return kept | {"PATH": f"{commands}{os.pathsep}{kept['PATH']}", "HOME": str(home)}
