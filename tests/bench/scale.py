"""What 100,000 run files cost: reading a study's state, making its cube, refreshing it.

    python tests/bench/scale.py --runs 100000

The run files are made here, as ``record`` writes them; the cube is made from a tenth, a half and all of them, so that
the time and the peak memory of each show how they grow.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr

from kdlandscape.cubes.provenance import FACTS, collect
from kdlandscape.cubes.store import write_run
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.snapshot import adopt
from kdlandscape.sweeps.spec import load_spec
from tests.tiny_study import write_spec

MEASURE = """\
import resource, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from kdlandscape.cubes.store import compact
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
        {"seed": [0], "rate": [0.5], "x": np.arange(50)},
        {"spec_hash": spec.facts.spec_hash, "run": run.id, "parameters": "{}"},
    )
    facts = {**collect(), "notebook_hash": "n", "device": "cpu", "started_at": "2026", "wall_time": 1.0}
    for name, value in facts.items():
        dataset = dataset.assign_coords(
            {name: (("seed", "rate"), [[value]], dict.fromkeys(("units",), FACTS[name][1]))}
        )
    write_run(dataset, path)


def fill(folder, spec, runs):
    """Copy the template for every run and change its coordinates and values in place."""
    (folder / "runs").mkdir(parents=True)
    template(folder / "template.nc", spec, runs[0])
    for i, run in enumerate(runs):
        path = folder / "runs" / f"{run.id}.nc"
        shutil.copyfile(folder / "template.nc", path)
        with netCDF4.Dataset(path, "a") as file:
            file["seed"][:] = run.coords["seed"]
            file["rate"][:] = run.coords["rate"]
            file["loss"][:] = i


def timed(*command):
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    options = parser.parse_args()
    rates = [(i + 1) / 1000 for i in range(options.runs // 100)]
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        spec = load_spec(write_spec(place, grid={"seed": list(range(100)), "rate": rates}))
        runs = plan(spec)
        folder = place / "tiny"
        adopt(spec, folder)
        start = time.perf_counter()
        fill(folder, spec, runs)
        print(f"made {len(runs)} run files in {time.perf_counter() - start:.0f} s", flush=True)
        times = [timed("-m", "kdlandscape.cli", "status", folder)[0] for _ in range(5)]
        print("status, whole command (s):", [round(one, 2) for one in times], flush=True)
        everything = folder / "runs"
        rows = []
        for share in (0.1, 0.5, 1.0):
            part = place / f"part{share}"
            part.mkdir()
            shutil.copyfile(folder / "spec.yaml", part / "spec.yaml")
            (part / "runs").mkdir()
            for run in runs[: int(share * len(runs))]:
                os.link(everything / f"{run.id}.nc", part / "runs" / f"{run.id}.nc")
            seconds, before, after = map(float, timed("-c", MEASURE, part)[1].split())
            rows.append({"runs": int(share * len(runs)), "s": round(seconds, 1), "MB before, peak": (before, after)})
            print(json.dumps(rows[-1]), flush=True)
        seconds = float(timed("-c", MEASURE, place / "part0.5")[1].split()[0])
        print(f"refresh with nothing new: {seconds:.2f} s", flush=True)
        for run in runs[int(0.5 * len(runs)) :][:1000]:
            os.link(everything / f"{run.id}.nc", place / "part0.5" / "runs" / f"{run.id}.nc")
        seconds = float(timed("-c", MEASURE, place / "part0.5")[1].split()[0])
        print(f"refresh with 1000 new runs on {int(0.5 * len(runs))}: {seconds:.2f} s", flush=True)


if __name__ == "__main__":
    main()
