"""What 100,000 run files cost: reading a study's state, making its cube, bringing it up to date.

    python -m tests.bench.scale --runs 100000

The run files are copies of one that is written as ``record`` writes it, with other coordinates.  The cube is made from
a tenth of them and then brought up to date twice, each time in a new process, so that time and peak memory show how
they grow.  Writes results/scale.md.
"""

import argparse
import os
import platform
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

from kdlandscape.cubes.provenance import FACTS, collect
from kdlandscape.cubes.seals import seal, unseal
from kdlandscape.cubes.store import write_run
from kdlandscape.sweeps.adoption import adopt
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.processes import usable_cores
from tests.bench.goals import goal
from tests.tiny_study import write_spec

MARK = 123456789
RESULTS = Path(__file__).parent / "results" / "scale.md"
MEASURE = """\
import resource, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from kdlandscape.cubes.store import compact
from kdlandscape.cubes.seals import seal, unseal
from kdlandscape.cubes.provenance import peak_memory
before = peak_memory(); start = time.perf_counter()
compact(Path(sys.argv[1]))
print(time.perf_counter() - start, before / 1e6, peak_memory() / 1e6)
"""


def template(path, spec, run):
    """Write one run file, as record does: a curve, a number, provenance."""
    label = {"long_name": "loss", "units": "nat"}
    dataset = xr.Dataset(
        {"loss": (("seed", "rate", "x"), np.zeros((1, 1, 50)), label), "barrier": (("seed", "rate"), [[0.0]], label)},
        {"seed": [MARK], "rate": [float(MARK)], "x": np.arange(50)},
        {"run.recipe": spec.facts.spec_hash, "run.id": run.id, "run.parameters": "{}"},
    )
    facts = {**collect(), "notebook_hash": "n", "device": "cpu", "started_at": "2026", "wall_time": 1.0}
    for name, value in facts.items():
        dataset = dataset.assign_coords(
            {f"run.{name}": (("seed", "rate"), [[value]], dict.fromkeys(("units",), FACTS[name][1]))}
        )
    write_run(dataset, path)


def fill(folder, spec, runs):
    """Write a template and, for every run, a copy of it with the run's coordinates in the place of the template's."""
    (folder / "runs").mkdir(parents=True)
    marks = {"seed": struct.pack("<q", MARK), "rate": struct.pack("<d", MARK)}
    template(folder / "template.nc", spec, runs[0])
    unseal(folder / "template.nc")
    content = (folder / "template.nc").read_bytes()
    places = {name: content.index(mark) for name, mark in marks.items()}
    assert all(content.count(mark) == 1 for mark in marks.values())
    for run in runs:
        copy = bytearray(content)
        struct.pack_into("<q", copy, places["seed"], run.coords["seed"])
        struct.pack_into("<d", copy, places["rate"], run.coords["rate"])
        path = folder / "runs" / f"{run.id}.nc"
        path.write_bytes(copy)
        seal(path)


def timed(*command):
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout


def report(runs, times, rows, loads):
    """Return the tables as text."""
    lines = [
        f"| {new:,} | {old:,} | {s:.1f} | {1000 * s / new:.2f} | {before:.0f} | {peak:.0f} |"
        for new, old, s, before, peak in rows
    ]
    return "\n".join(
        [
            f"# What {runs:,} run files cost",
            "",
            f"{usable_cores()} CPU cores, {platform.machine()}, Python {platform.python_version()}, netCDF4 "
            f"{version('netCDF4')}; load average (1 minute) {loads[0]:.1f} before and {loads[1]:.1f} after.",
            "",
            f"The cube's grid has {runs:,} cells.",
            "",
            f"`kdlandscape status`, the whole command with Python's start, {len(times)} times: median "
            f"{statistics.median(times):.2f} s, from {min(times):.2f} to {max(times):.2f} s.",
            "",
            goal(f"status of {runs:,} runs < 2 s", f"{statistics.median(times):.2f} s", statistics.median(times) < 2),
            "",
            "Compaction, each line in a new process:",
            "",
            "| new run files | already in the cube | s | ms a new file | MB before | MB at peak |",
            "|---|---|---|---|---|---|",
            *lines,
            "",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--cube", type=float, default=1.0, help="share of the run files that the cube is made of")
    options = parser.parse_args()
    loads = [os.getloadavg()[0]]
    rates = [(i + 1) / 1000 for i in range(options.runs // 100)]
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        spec = load_spec(write_spec(place, grid={"seed": list(range(100)), "rate": rates}))
        runs = plan(spec)
        folder = place / "tiny"
        adopt(spec, folder)
        fill(folder, spec, runs)
        times = [timed("-m", "kdlandscape.cli", "status", folder)[0] for _ in range(7)]
        print("status, whole command (s):", [round(one, 2) for one in times], flush=True)
        everything = folder / "runs"
        part = place / "part"
        (part / "runs").mkdir(parents=True)
        shutil.copyfile(folder / "spec.yaml", part / "spec.yaml")
        rows, old = [], 0
        for share in (0.1 * options.cube, 0.4 * options.cube, 0.99 * options.cube, options.cube):
            new = runs[old : int(share * len(runs))]
            for run in new:
                os.link(everything / f"{run.id}.nc", part / "runs" / f"{run.id}.nc")
            seconds, before, peak = map(float, timed("-c", MEASURE, part)[1].split())
            rows.append((len(new), old, seconds, before, peak))
            old += len(new)
            print(rows[-1], flush=True)
    text = report(len(runs), times, rows, [*loads, os.getloadavg()[0]])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
