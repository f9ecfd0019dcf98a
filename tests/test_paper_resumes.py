"""The studies of the paper run inside one run of another study; killed at any point, they go on."""

import os
import signal
import subprocess
import sys
from collections import Counter

import yaml

from tests.processes import alive, wait_until
from tests.site.executions import NOTEBOOKS
from tests.tiny_study import write_notebook, write_spec

PARAMETERS = 'seed: int = 0\nfolder: str = ""\n'
BODY = """\
import os, time
from pathlib import Path
import xarray as xr
from kdlandscape.sweeps.record import record
with open(Path(folder) / "log", "a") as log:
    log.write(f"{seed} {os.getpid()}\\n")
while seed == 2 and (Path(folder) / "hold").exists():
    time.sleep(0.05)
"""
RESULT = 'record(xr.Dataset({"loss": ((), 0.5, {"long_name": "loss", "units": "nat"})}))'


def executions(place):
    return [tuple(map(int, line.split())) for line in (place / "log").read_text().splitlines()]


def test_a_killed_study_of_the_paper_goes_on_and_runs_nothing_twice(tmp_path):
    """The driver is killed while the third of four runs within ``claims.ipynb`` hangs; one root holds both studies."""
    write_notebook(tmp_path / "tiny.ipynb", PARAMETERS, BODY, RESULT)
    inner = write_spec(tmp_path, grid={"seed": [0, 1, 2, 3]}, parameters={"folder": str(tmp_path)})
    outer = tmp_path / "paper_tiny.yaml"
    given = {"run": True, "studies": [str(inner)], "workers": 1}
    content = {"study": "paper_tiny", "notebook": str(NOTEBOOKS / "claims.ipynb"), "parameters": given}
    outer.write_text(yaml.safe_dump({**content, "grid": {"level": [0.95]}, "findings": ["claims"]}))
    (tmp_path / "hold").touch()
    root = tmp_path / "studies"
    command = [sys.executable, "-m", "kdlandscape.cli", "run", str(outer), "--workers", "1", "--root", str(root)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        log = tmp_path / "log"
        wait_until(lambda: (log.exists() and len(executions(tmp_path)) == 3) or driver.poll() is not None, 120)
        assert driver.poll() is None, driver.stdout.read().decode()
        (_, hanging) = executions(tmp_path)[-1]
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.communicate()
    wait_until(lambda: not alive(hanging), 20)
    done = {path: path.read_bytes() for path in (root / "tiny" / "runs").glob("*.nc")}
    assert len(done) == 2
    (tmp_path / "hold").unlink()
    again = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert Counter(seed for seed, _ in executions(tmp_path)) == {0: 1, 1: 1, 2: 2, 3: 1}
    assert {path: path.read_bytes() for path in done} == done
    assert "35 not testable here" in again.stdout
