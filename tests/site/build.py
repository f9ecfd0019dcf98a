"""Build the site: execute, write the sources, and have Sphinx make the pages, with every warning an error."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.site.executions import ROOT, Executions
from tests.site.sources import write_sources


class SiteError(RuntimeError):
    """Sphinx refused the site."""


def build(executions: Executions, out: Path) -> tuple[Path, dict[str, float]]:
    """Build the site below ``out``; return the folder of its pages and the seconds that each page with code took.

    Raises
    ------
    SiteError
        If Sphinx warns of anything: a link or a name that leads nowhere, a formula that it cannot read.
    """
    for part in ("source", "work", "html"):
        shutil.rmtree(out / part, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    seconds = write_sources(executions, out / "source")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", out / "doctrees"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, out / "source", out / "html"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SiteError(f"expected a site without warnings, got\n{done.stdout}{done.stderr}")
    for source_map in (out / "html").rglob("*.map"):  # for who debugs the theme
        source_map.unlink()
    return out / "html", seconds
