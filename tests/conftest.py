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


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier test was warned of is told again: processes hand it on by the environment."""
    monkeypatch.setenv("KDLANDSCAPE_TOLD", "")
