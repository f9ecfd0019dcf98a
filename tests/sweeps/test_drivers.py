"""Several drivers on one study, and what killed ones leave."""

import os
import subprocess
import sys

import pytest

from kdlandscape.cubes.files import scratch
from kdlandscape.cubes.locks import lock
from kdlandscape.cubes.store import missing, open_cube
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.plan import plan, shard_of
from kdlandscape.sweeps.snapshot import status
from kdlandscape.sweeps.study import run_study
from kdlandscape.sweeps.workspace import remove_leftovers, workspace
from tests.tiny_study import write_notebook, write_spec

COUNTING = """\
import os
from pathlib import Path
import numpy as np, xarray as xr
from kdlandscape.sweeps.record import record
with open(Path(folder) / f"count{seed}", "a") as file:
    file.write("x")
if seed == 3:
    raise RuntimeError("no")
record(xr.Dataset({"loss": ((), float(seed), {"long_name": "loss", "units": "nat"})}))
"""


def test_two_drivers_at_once_execute_each_run_once(tmp_path):
    write_notebook(tmp_path / "tiny.ipynb", "seed: int = 0\nfolder: str = ''", COUNTING)
    path = write_spec(tmp_path, grid={"seed": list(range(8))}, parameters={"folder": str(tmp_path)})
    command = [sys.executable, "-m", "kdlandscape.cli", "run", path, "--root", tmp_path, "--workers", "1", "--warm"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    drivers = [
        subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for driver in drivers:
        errors = driver.communicate(timeout=240)[1].decode()
        assert driver.returncode == 1, errors
        assert "RuntimeError: no" in errors
    with open_cube(tmp_path / "tiny") as cube:
        assert missing(cube) == [{"seed": 3}]
        assert cube["loss"].sel(seed=[0, 1, 2, 4, 5, 6, 7]).values.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert {seed: (tmp_path / f"count{seed}").read_text() for seed in range(8)} == dict.fromkeys(range(8), "x")
    assert not list((tmp_path / "tiny" / ".work").iterdir())


def test_shards_divide_the_runs_among_job_arrays(tmp_path):
    path = write_spec(tmp_path, grid={"seed": [0, 1, 2]}, parameters={"folder": str(tmp_path)})
    folder = run_study(path, root=tmp_path, shard="1/2", progress=False, warm=True)
    assert [run.coords["seed"] for run in status(folder).done] == [1]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_a_job_array_may_count_its_shards_from_zero_or_from_one(first, count, tmp_path):
    runs = plan(load_spec(write_spec(tmp_path, grid={"seed": list(range(7))})))
    shards = [shard_of(runs, f"{i}/{count}") for i in range(first, first + count)]
    assert sorted(run.id for shard in shards for run in shard) == sorted(run.id for run in runs)


@pytest.mark.parametrize("shard", ["3/2", "0/0", "1", "a/b", "-1/2", "", "1/2/3", "٣/٤", "1 /2"])
def test_a_shard_that_is_none_is_refused(shard):
    with pytest.raises(
        SpecError, match=r"shard: expected i/n with i from 0 to n - 1 or from 1 to n, such as 0/4 or 4/4"
    ):
        shard_of([], shard)


def test_what_a_living_process_holds_is_left_alone_and_the_rest_removed(tmp_path):
    held = lock(tmp_path / ".work" / "a.claim", wait=False)
    with workspace(tmp_path) as place, held as ours, scratch(tmp_path / "figures") as figure:
        assert ours
        (tmp_path / ".work" / "b.claim").touch()
        (tmp_path / ".work" / "dead.lock").touch()
        (tmp_path / ".work" / "dead").mkdir()
        (tmp_path / "figures" / ".tmp-killed").mkdir()
        assert {path.name for path in remove_leftovers(tmp_path)} == {"b.claim", "dead.lock", "dead", ".tmp-killed"}
        assert place.work.is_dir()
        assert figure.is_dir()
    assert not list((tmp_path / "figures").iterdir())
    assert not list((tmp_path / ".work").iterdir())
