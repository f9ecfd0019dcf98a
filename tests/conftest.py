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
def executions(cache: Path, tmp_path_factory: pytest.TempPathFactory):
    """Every notebook and study at its small size, executed once for all tests that look at it, and for the site."""
    from tests.site.executions import Executions

    return Executions(tmp_path_factory.mktemp("executed"))


@pytest.fixture(scope="session")
def site(executions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the site is built: its sources and its pages."""
    from tests.site.build import build

    folder = tmp_path_factory.mktemp("site")
    build(executions, folder)
    return folder


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier test was warned of is told again: processes hand it on by the environment."""
    monkeypatch.setenv("KDLANDSCAPE_TOLD", "")
