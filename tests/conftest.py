"""Shared by all tests: devices, one thread, and caches that never touch the user's."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: small problems, and the machine is shared by the workers
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated data and teachers go to a folder of this session."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["KDLANDSCAPE_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this run of the tests that all its processes see; what is made there is made under a lock."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="module")
def executions(cache: Path, shared: Path):
    """Every notebook and study at its small size, executed once for all tests that look at it, and for the site."""
    from tests.site.executions import Executions

    with Executions(shared / "executed") as executions:
        yield executions


@pytest.fixture(scope="session")
def site(cache: Path, shared: Path) -> Path:
    """The folder in which the site is built, once for all processes: its sources and its pages."""
    from kdlandscape.cubes.locks import lock
    from tests.site.build import build
    from tests.site.executions import Executions

    folder = shared / "site"
    with lock(shared / "site.lock"), Executions(shared / "executed") as executions:
        if not (shared / "site.built").is_file():
            build(executions, folder)
            (shared / "site.built").touch()
    return folder


@pytest.fixture(scope="session")
def distributions(shared: Path) -> tuple[Path, Path, Path]:
    """The source distribution, the wheel that is made from it, and the one that is made from the checkout."""
    from kdlandscape.cubes.locks import lock
    from tests.installation import ROOT, build, unpack

    folder = shared / "distributions"
    with lock(shared / "distributions.lock"):
        if not (folder / "again").is_dir():
            source, _ = build(ROOT, folder / "checkout")
            build(unpack(source, folder / "unpacked"), folder / "unfinished")
            (folder / "unfinished").rename(folder / "again")
    (source,), (wheel,) = (folder / "checkout").glob("*.tar.gz"), (folder / "again").glob("*.whl")
    return source, wheel, folder / "checkout" / wheel.name


@pytest.fixture(scope="session")
def installed(shared: Path, distributions: tuple[Path, Path, Path]) -> Path:
    """The folder of commands of a new environment that holds the wheel; the dependencies are this one's."""
    from kdlandscape.cubes.locks import lock
    from tests.installation import install

    with lock(shared / "installed.lock"):
        if not (shared / "installed.done").is_file():
            install(distributions[1], shared / "installed", alone=False)
            (shared / "installed.done").touch()
    return shared / "installed" / "bin"


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier test was warned of is told again: processes hand it on by the environment."""
    monkeypatch.setenv("KDLANDSCAPE_TOLD", "")
