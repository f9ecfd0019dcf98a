"""The script of a job array is one that a shell takes, and its jobs together execute every run of the study."""

import os
import subprocess
import sys

import pytest

from kdlandscape.cli import main
from kdlandscape.cubes.store import open_cube
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.slurm import slurm_script
from kdlandscape.sweeps.snapshot import status
from tests.tiny_study import write_spec


@pytest.fixture
def spec(tmp_path, monkeypatch):
    """Return a spec in a folder with spaces and a quote, which is where the script is written too."""
    here = tmp_path / "my 'own' folder"
    here.mkdir()
    monkeypatch.chdir(here)
    return write_spec(here, grid={"seed": [0, 1, 2]})


def execute(script, task):
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(task)}
    return subprocess.run(["bash"], input=script, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_jobs_of_an_array_share_the_runs_of_a_study(spec, tmp_path):
    folder = tmp_path / "my 'own' folder"
    script = slurm_script(spec, 2, parameters=[f"folder={folder}"], grid=["policy=constant"], root=tmp_path / "a b")
    first = execute(script, 0)
    assert first.returncode == 0, first.stderr
    study = tmp_path / "a b" / "tiny"
    assert len(status(study).done) == 2
    assert execute(script, 1).returncode == 0
    assert (len(status(study).done), status(study).missing) == (3, [])
    with open_cube(study) as cube:
        assert cube["run.done"].all()


@pytest.mark.parametrize(("gpus", "workers", "threads"), [(0, 4, 1), (2, 2, 2)])
def test_a_script_asks_for_what_a_job_needs_and_is_one_that_a_shell_takes(spec, gpus, workers, threads):
    script = slurm_script(spec, 7, cores=4, gpus=gpus, time="2-0", root="my runs")
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash"
    wanted = dict(line.removeprefix("#SBATCH --").split("=", 1) for line in lines if line.startswith("#SBATCH"))
    assert (wanted["array"], wanted["cpus-per-task"], wanted["time"]) == ("0-2", "4", "2-0")  # three runs, three jobs
    assert wanted.get("gpus-per-task", "0") == str(gpus)
    assert f"--workers {workers} " in lines[-1]
    assert f"export OMP_NUM_THREADS={threads}" in lines
    assert '--shard "${SLURM_ARRAY_TASK_ID}/3"' in lines[-1]
    assert subprocess.run(["bash", "-n"], input=script, text=True, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "jobs: expected a number from 1 on, got 0"),
        ({"cores": 0}, "cores: expected a number from 1 on, got 0"),
        ({"gpus": -1}, "gpus: expected a number from 0 on, got -1"),
        ({"time": "1h; rm"}, "time: expected SLURM's minutes"),
        ({"parameters": ["no_such=1"]}, "no_such"),
    ],
)
def test_what_slurm_or_the_study_cannot_take_is_refused_before_a_job_is_submitted(options, message, spec):
    with pytest.raises(SpecError, match=message):
        slurm_script(spec, **{"jobs": 2, **options})


def test_the_command_prints_the_script(spec, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["kdlandscape", "slurm", str(spec), "--jobs", "2", "--time", "30"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert capsys.readouterr().out == slurm_script(spec, 2, time="30")
