"""What a sweep adds to a run: side by side with plain papermill calls, cold and warm, on one worker and on two.

    python -m tests.bench.bench_engine --rounds 3

The notebook of the first table only imports torch, xarray and seaborn and records a number; that of the second computes
for a fixed number of steps.  Rounds are interleaved, so that all columns see the same load.  Writes results/engine.md.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import papermill

from kdlandscape.sweeps.engines import local
from kdlandscape.sweeps.job import Job, Outcome
from kdlandscape.sweeps.loading import make_spec
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.processes import usable_cores
from kdlandscape.sweeps.workspace import workspace
from tests.bench.goals import goal
from tests.tiny_study import write_notebook

IMPORTS = "import numpy as np\nimport seaborn\nimport torch\nimport xarray as xr\nimport kdlandscape as kdl"
RECORD = "kdl.record(xr.Dataset({'loss': ((), float(seed), {'long_name': 'loss', 'units': 'nat'})}))"
LIGHT = "import numpy as np\nimport xarray as xr\nfrom kdlandscape.sweeps.record import record"
RECORD_LIGHT = RECORD.removeprefix("kdl.")
COMPUTE = "total = 0\nfor i in range({steps}):\n    total += i * i % 7"
RESULTS = Path(__file__).parent / "results" / "engine.md"


def sweep(notebook, count, workers, **options):
    """Execute runs by the engine; return the seconds to the first outcome and those between the others."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("runs", "errors"):
            (folder / name).mkdir()
        runs = plan(make_spec({"study": "b", "notebook": str(notebook), "grid": {"seed": list(range(count))}}))
        with workspace(folder) as here:
            jobs = [Job(run, notebook, folder, here.work, here.sockets, **options) for run in runs]
            stamps = [time.perf_counter()]
            for event in local(jobs, workers=workers):
                if isinstance(event, Outcome):
                    assert event.error is None, event.error
                    stamps.append(time.perf_counter())
    return stamps[1] - stamps[0], [b - a for a, b in pairwise(stamps[1:])]


def plain(notebook, count):
    """Execute runs by papermill in this process; return the seconds that each takes."""
    seconds = []
    with tempfile.TemporaryDirectory() as place:
        for seed in range(count):
            start = time.perf_counter()
            papermill.execute_notebook(
                notebook,
                Path(place) / "out.ipynb",
                {"seed": seed},
                kernel_name="python3",
                language="python",
                progress_bar=False,
            )
            seconds.append(time.perf_counter() - start)
    return seconds


def overhead(place, rounds):
    """Return the seconds a run of the three ways, interleaved."""
    notebook = write_notebook(place / "light.ipynb", "seed: int = 0", IMPORTS, RECORD)
    found = {"papermill": [], "cold": [], "warm": []}
    first = {"cold": [], "warm": []}
    plain(notebook, 1)  # the files are read once
    for _ in range(rounds):
        found["papermill"] += plain(notebook, 3)
        for name, is_warm, count in (("cold", False, 4), ("warm", True, 9)):
            start, seconds = sweep(notebook, count, 1, warm=is_warm)
            first[name].append(start)
            found[name] += seconds
        print({name: round(statistics.median(values), 2) for name, values in found.items()}, flush=True)
    return found, first


def scaling(place, rounds):
    """Return the seconds a compute-bound run takes with one worker and with two, once all are started; interleaved."""
    steps = 60_000_000
    notebook = write_notebook(place / "heavy.ipynb", "seed: int = 0", LIGHT, COMPUTE.format(steps=steps), RECORD_LIGHT)
    found = {1: [], 2: []}
    for _ in range(rounds):
        for workers in (1, 2):
            rest = sweep(notebook, 8, workers, warm=True)[1][workers - 1 :]  # from the first run of the last worker on
            found[workers].append(sum(rest) / len(rest))
        print({workers: [round(one, 1) for one in values] for workers, values in found.items()}, flush=True)
    return found


def row(name, values):
    quarter = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return f"| {name} | {statistics.median(values):.2f} | {quarter[0]:.2f}–{quarter[2]:.2f} | {len(values)} |"


def report(found, first, scale, loads):
    """Return the tables as text."""
    middle = {name: statistics.median(values) for name, values in found.items()}
    cold, warm = middle["cold"] / middle["papermill"], middle["papermill"] / middle["warm"]
    ratios = sorted(one / two for one, two in zip(scale[1], scale[2], strict=True))
    two = statistics.median(ratios)
    packages = ", ".join(f"{name} {version(name)}" for name in ("papermill", "ipykernel", "torch", "xarray", "seaborn"))
    return "\n".join(
        [
            "# What a sweep adds to a run",
            "",
            f"{usable_cores()} CPU cores, {platform.machine()}, Python {platform.python_version()}, {packages}. "
            f"Load average (1 minute) {loads[0]:.1f} before and {loads[1]:.1f} after: "
            + ("other work ran at the same time." if max(loads[0], loads[1] - 2) > 1 else "nothing else ran."),
            "",
            "Seconds a run: a notebook that imports torch, xarray and seaborn and records a number; interleaved, "
            "one run at a time. The first run of a sweep, which also starts the worker and for warm kernels the fork "
            f"server, is not in the rows: median {statistics.median(first['cold']):.2f} s cold, "
            f"{statistics.median(first['warm']):.2f} s warm.",
            "",
            "| way | median | quartiles | runs |",
            "|---|---|---|---|",
            row("`papermill.execute_notebook` in one process", found["papermill"]),
            row("sweep, cold kernels", found["cold"]),
            row("sweep, warm kernels (`--warm`)", found["warm"]),
            "",
            goal("a cold run ≤ 1.05× papermill in one process", f"{cold:.3f}×", cold <= 1.05),
            goal("a warm run ≥ 8× less than papermill", f"{warm:.1f}×", warm >= 8),
            "",
            "Seconds a run of eight compute-bound ones, warm kernels, from the first run of the last worker on:",
            "",
            "| workers | median | quartiles | sweeps |",
            "|---|---|---|---|",
            row("1", scale[1]),
            row("2", scale[2]),
            "",
            goal(
                "two workers ≥ 1.85× one on compute-bound runs",
                f"{two:.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})",
                two >= 1.85,
            ),
            "",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        found, first = overhead(Path(place), options.rounds)
        scale = scaling(Path(place), options.rounds)
    text = report(found, first, scale, (before, os.getloadavg()[0]))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
