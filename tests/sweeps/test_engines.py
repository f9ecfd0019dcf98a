import os
from pathlib import Path

from kdlandscape.sweeps import engines
from kdlandscape.sweeps.execute import Job
from kdlandscape.sweeps.plan import Run


def test_threads_are_divided_among_workers_unless_the_user_has_set_them(monkeypatch):
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    environment = engines._environment(3)
    assert (environment["OMP_NUM_THREADS"], environment["MKL_NUM_THREADS"]) == ("7", "3")
    assert 1 <= engines.usable_cores() <= os.cpu_count()


def test_a_worker_that_cannot_live_is_given_up_after_three_tries(monkeypatch, tmp_path):
    # a worker whose driver is gone ends itself; here the driver is not the parent that the worker is told
    started = []
    start = engines._start
    monkeypatch.setattr(engines, "_start", lambda threads: started.append(threads) or start(threads))
    monkeypatch.setattr(engines.os, "getpid", lambda: 1)
    job = Job(Run("a", {}, {}), Path("none.ipynb"), tmp_path, tmp_path, tmp_path)
    (outcome,) = [outcome for outcome in engines.local([job], workers=1) if outcome]
    assert outcome.lost
    assert outcome.error["name"] == "WorkerDied"
    assert outcome.error["value"].endswith("got exit status 1")
    assert len(started) == 3


def test_an_engine_without_jobs_ends_at_once():
    assert list(engines.local([])) == []
