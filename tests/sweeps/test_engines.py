import os
from pathlib import Path

import pytest

from kdlandscape.sweeps import engines, processes, workers
from kdlandscape.sweeps.job import Job, Outcome
from kdlandscape.sweeps.plan import Run


def test_threads_are_divided_among_workers_unless_the_user_has_set_them(monkeypatch):
    for name in processes.THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes, "usable_cores", lambda: 6)
    assert {environment["MKL_NUM_THREADS"] for environment in processes.environments(2)} == {"3"}
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for environment in processes.environments(2):
        assert (environment["OMP_NUM_THREADS"], environment["MKL_NUM_THREADS"]) == ("7", "7")


def test_a_study_inside_a_run_divides_the_threads_anew(monkeypatch):
    """It would take the numbers that its worker was given for numbers that the user has set."""
    for name in processes.THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes, "usable_cores", lambda: 6)
    for name, value in processes.environments(1)[0].items():
        monkeypatch.setenv(name, value)
    assert {environment[name] for environment in processes.environments(3) for name in processes.THREADS} == {"2"}


def test_a_process_uses_no_more_cores_than_it_may():
    assert 1 <= processes.usable_cores() <= os.cpu_count()


@pytest.mark.parametrize(
    ("visible", "gpus"), [("2,GPU-8a3", ["2", "GPU-8a3"]), ("", []), ("-1", []), ("1, 0,-1,3", ["1", "0"])]
)
def test_each_worker_gets_one_of_the_gpus_that_the_user_lets_be_seen(visible, gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert processes.usable_gpus() == gpus
    assert processes.default_workers() == (len(gpus) or processes.usable_cores())
    given = [environment.get("CUDA_VISIBLE_DEVICES") for environment in processes.environments(3)]
    assert given == ([gpus[0], gpus[1], gpus[0]] if gpus else [None] * 3)


def test_a_worker_that_cannot_live_is_given_up_after_three_tries(monkeypatch, tmp_path):
    # a worker whose driver is gone ends itself; here the driver is not the parent that the worker is told
    started = []

    class Doomed(workers.Worker):
        def __init__(self, *arguments):
            started.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(engines, "Worker", Doomed)
    monkeypatch.setattr(workers.os, "getpid", lambda: 1)
    job = Job(Run("a", {}, {}), Path("none.ipynb"), tmp_path, tmp_path, tmp_path)
    (outcome,) = [event for event in engines.local([job], workers=1) if isinstance(event, Outcome)]
    assert outcome.lost
    assert outcome.error["name"] == "WorkerDied"
    assert outcome.error["value"].endswith("got exit status 1")
    assert len(started) == 3


def test_an_engine_without_jobs_ends_at_once():
    assert list(engines.local([])) == []
