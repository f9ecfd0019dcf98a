"""Chaos: a study under random SIGKILLs and a disk that fills up has to end in the cube of an undisturbed one.

    python -m tests.bench.chaos --runs 200 --kills 60

Kernels, workers, fork servers, Dask workers and the driver itself are killed; the driver is started again, each time
with another engine, until the study is done.  As root the study lies on a small tmpfs, which is filled up once.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

import nbformat
import numpy as np
import xarray as xr

from kdlandscape.cubes.provenance import FACTS
from kdlandscape.cubes.schema import RUN
from kdlandscape.cubes.store import open_cube
from kdlandscape.sweeps.processes import usable_cores
from kdlandscape.sweeps.snapshot import status
from kdlandscape.sweeps.study import run_study
from tests.bench.goals import goal

RESULTS = Path(__file__).parent / "results" / "chaos.md"
MARK = "KDLANDSCAPE_CHAOS"
ENGINES = ([], ["--warm"], ["--dask"], ["--dask", "--warm"])
CELLS = (
    "seed: int = 0\nwidth: int = 1\nlam: list[float] = [0.0]",
    "import time\nimport numpy as np\nimport xarray as xr\nfrom kdlandscape.sweeps.record import record",
    "time.sleep(0.05)\n"
    "numbers = np.random.default_rng([seed, width]).normal(size=(len(lam), 50))\n"
    "loss = xr.DataArray(numbers, dims=('lam', 'x'), attrs={'long_name': 'loss', 'units': 'nat'})\n"
    "result = xr.Dataset({'loss': loss}, {'lam': lam, 'x': np.arange(50)})\n"
    "record(result, checkpoints=xr.Dataset({'theta': ('dim', np.full(100, float(seed)))}))",
)


def study(folder, runs, name):
    """Return the spec of a study of ``runs`` short runs without torch."""
    notebook = folder / "chaos.ipynb"
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    cells[0].metadata["tags"] = ["parameters"]
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    grid = {"seed": list(range(runs // 2)), "width": [1, 2], "lam": [0.0, 0.5, 1.0]}
    return {"study": name, "notebook": str(notebook), "grid": grid, "vectorize": ["lam"]}


def processes(token):
    """Return what each living process of this test is: pid -> kind."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={token}".encode() not in (entry / "environ").read_bytes():
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                continue
        except OSError:
            continue
        kinds = {
            "sweeps.kernel ": "kernel",
            "sweeps.workers": "worker",
            "sweeps.fork_server": "warm kernel or fork server",
            "spawn_main": "Dask worker",
            "kdlandscape.cli": "driver",
        }
        found[int(entry.name)] = next((kind for text, kind in kinds.items() if text in command), "other")
    return found


@contextlib.contextmanager
def small_disk(megabytes):
    """Yield a folder on a disk of its own, and whether it is one."""
    with tempfile.TemporaryDirectory(prefix="kdl-chaos-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
        try:
            yield Path(folder), mounted
        finally:
            if mounted:
                subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Leave no room on a disk; return the file that takes it."""
    balloon = folder / "balloon"
    with balloon.open("wb", buffering=0) as file:
        size = 1 << 20
        while size >= 512:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return balloon


class Chaos:
    """One disturbed study: starts drivers, kills at random as the study advances, and counts."""

    def __init__(self, folder, spec, token, kills, seed, disk):
        self.folder, self.token, self.kills = folder, token, kills
        self.random = random.Random(seed)
        self.spec_file = folder / "chaos.yaml"
        self.spec_file.write_text(json.dumps(spec))  # JSON is YAML
        self.result = folder / spec["study"]
        self.runs = len(spec["grid"]["seed"]) * len(spec["grid"]["width"])
        self.killed, self.starts = Counter(), 0
        self.disk_left = disk
        self.told_full = 0

    def done(self):
        return len(list((self.result / "runs").glob("[!.]*.nc")))

    def start(self):
        """Start a driver, each time with the next engine."""
        options = ["--workers", "2", "--json", *ENGINES[self.starts % len(ENGINES)]]
        begun = (self.result / "spec.yaml").exists()
        what = ["retry", str(self.result), "--failed"] if begun else ["run", str(self.spec_file)]
        self.starts += 1
        command = [sys.executable, "-W", "ignore", "-m", "kdlandscape.cli", *what, *options]
        environment = {**os.environ, MARK: self.token, "KDLANDSCAPE_RUNS": str(self.folder), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )

    def victim(self, driver):
        found = processes(self.token)
        kinds = sorted({kind for kind in found.values() if kind != "other"})
        kind = self.random.choice(kinds) if kinds else None
        if kind == "driver" and self.random.random() < 0.7:  # its start takes longest
            kind = None
        pids = [pid for pid, one in found.items() if one == kind]
        return (self.random.choice(pids), kind) if pids and driver.poll() is None else (None, kind)

    def go(self):
        """Run to the end; return the last driver's exit code."""
        while True:
            driver = self.start()
            while driver.poll() is None:
                time.sleep(self.random.uniform(0, 0.3))
                share = self.done() / self.runs
                if self.disk_left and share > 0.4:
                    self._fill_up(driver)
                elif sum(self.killed.values()) < self.kills * min(1, share + 0.05) / 0.9:
                    self._kill(driver)
            errors = driver.stderr.read().decode()
            driver.stderr.close()
            if driver.returncode == 0 and self.done() == self.runs and not self.disk_left:
                return errors
            if driver.returncode not in (0, 1, -signal.SIGKILL):
                raise RuntimeError(f"driver ended with {driver.returncode}: {errors}")

    def _kill(self, driver):
        pid, kind = self.victim(driver)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.killed[kind] += 1

    def _fill_up(self, driver):
        balloon = fill(self.folder)
        errors = driver.communicate(timeout=120)[1].decode()
        balloon.unlink()
        if driver.returncode != 2 or "expected room on the disk" not in errors:
            raise RuntimeError(f"full disk: driver ended with {driver.returncode}: {errors}")
        self.disk_left = False
        self.told_full += 1
        driver.stderr = open(os.devnull, "rb")  # noqa: SIM115
        driver.returncode = -signal.SIGKILL


def check(chaos, undisturbed):
    """Compare the disturbed study with the undisturbed one; return the facts."""
    end = time.monotonic() + 10
    while processes(chaos.token) and time.monotonic() < end:
        time.sleep(0.1)
    orphans = processes(chaos.token)
    assert not orphans, orphans
    now = status(chaos.result)
    assert (len(now.done), len(now.failed), len(now.missing)) == (chaos.runs, 0, 0)
    paths = sorted((chaos.result / "runs").glob("*.nc"))
    assert [path.stem for path in paths] == sorted(run.id for run in now.done)
    cells = set()
    for path in paths:
        with xr.open_dataset(path) as run, xr.open_dataset(path, group="checkpoints") as weights:
            cells.add((int(run["seed"][0]), int(run["width"][0])))
            assert (weights["theta"] == run["seed"].item()).all()
    assert len(cells) == chaos.runs
    left = list(chaos.result.rglob(".tmp-*")) + list((chaos.result / ".work").iterdir())
    assert not left, left
    with open_cube(chaos.result) as one, open_cube(undisturbed) as other:
        assert bool(one["run.done"].all())
        xr.testing.assert_identical(
            *(cube.drop_vars([f"{RUN}{name}" for name in FACTS]).drop_attrs() for cube in (one, other))
        )
        assert np.isfinite(one["loss"]).all()


def run(runs, kills, seed=0, disk=32):
    """Run a study undisturbed and once more under chaos; return the facts, or fail."""
    with small_disk(disk) as (folder, mounted), tempfile.TemporaryDirectory() as calm:
        token = uuid.uuid4().hex
        began = time.monotonic()
        undisturbed = run_study(study(Path(calm), runs, "calm"), root=calm, workers=2, warm=True, progress=False)
        middle = time.monotonic()
        chaos = Chaos(folder, study(folder, runs, "chaos"), token, kills, seed, mounted)
        try:
            chaos.go()
            check(chaos, undisturbed)
        finally:
            for pid in processes(token):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return {
            "runs": runs,
            "kills": sum(chaos.killed.values()),
            "killed": dict(sorted(chaos.killed.items())),
            "drivers started": chaos.starts,
            "disk filled up": chaos.told_full,
            "seconds undisturbed": round(middle - began, 1),
            "seconds disturbed": round(time.monotonic() - middle, 1),
        }


def write(facts):
    """Write the facts of a study that ended as the undisturbed one."""
    killed = ", ".join(f"{count} × {kind}" for kind, count in facts["killed"].items())
    lines = [
        "# A study under SIGKILLs and a full disk",
        "",
        f"{usable_cores()} CPU cores, {platform.machine()}, Python {platform.python_version()}.",
        "",
        f"- {facts['runs']} runs, {facts['kills']} SIGKILLs ({killed}), {facts['drivers started']} drivers started "
        f"(cold and warm kernels, local and Dask), disk filled up {facts['disk filled up']} times",
        f"- {facts['seconds undisturbed']} s undisturbed, {facts['seconds disturbed']} s disturbed",
        goal("the disturbed cube is the undisturbed one: no torn file, no run twice, no orphan", "identical", True),
        "",
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    facts = run(options.runs, options.kills, options.seed)
    print(json.dumps(facts, indent=1))
    write(facts)


if __name__ == "__main__":
    main()
