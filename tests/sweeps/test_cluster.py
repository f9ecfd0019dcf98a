"""Dask: a real scheduler and real workers on loopback, one of which is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kdlandscape.cubes.store import missing, open_cube
from kdlandscape.sweeps import cluster
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.job import Job
from kdlandscape.sweeps.plan import Run
from kdlandscape.sweeps.snapshot import status
from kdlandscape.sweeps.study import run_study
from kdlandscape.sweeps.workspace import workspace
from tests.processes import alive, wait_until
from tests.tiny_study import write_notebook, write_spec

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Make certificates of the user's own, as Dask's configuration names them."""
    place = tmp_path_factory.mktemp("certificates")
    made = distributed.security.Security.temporary()
    (place / "key.pem").write_text(made.tls_client_key)
    (place / "cert.pem").write_text(made.tls_client_cert)
    files = {"ca-file": place / "cert.pem", "client.cert": place / "cert.pem", "client.key": place / "key.pem"}
    return {f"distributed.comm.tls.{name}": str(path) for name, path in files.items()}


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory, certificates):
    """Yield the address of a scheduler with two worker processes, and the workers."""
    place = tmp_path_factory.mktemp("dask")
    told = place / "scheduler.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ca, cert, key = certificates.values()
    tls = ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key]
    loopback = ["--host", "127.0.0.1", "--no-dashboard", "--protocol", "tls", *tls]
    here = {"cwd": place, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    head = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--scheduler-file", told]
    started = [subprocess.Popen([*head, *loopback], **here)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", told, "--nthreads", "1"]
    started += [subprocess.Popen([*worker, "--no-nanny", *loopback], **here) for _ in range(2)]
    end = time.monotonic() + 60
    while not told.exists() or not told.read_text():
        assert time.monotonic() < end
        time.sleep(0.1)
    try:
        with dask.config.set(certificates):
            yield json.loads(told.read_text())["address"], started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_scheduler_that_does_not_answer_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT", 0.5)
    path = write_spec(tmp_path, parameters={"folder": str(tmp_path)})
    with pytest.raises(StudyError, match=r"expected a Dask scheduler at tls://127.0.0.1:9, got"):
        run_study(path, root=tmp_path, scheduler="tls://127.0.0.1:9", progress=False)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "127.0.0.1:8786", "ws://127.0.0.1:8786"])
def test_a_scheduler_that_takes_connections_from_everybody_is_refused(address, tmp_path):
    path = write_spec(tmp_path, parameters={"folder": str(tmp_path)})
    with pytest.raises(StudyError, match="expected an address that begins with tls://, because any user"):
        run_study(path, root=tmp_path, scheduler=address, progress=False)


def test_without_certificates_nothing_is_started(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    path = write_spec(tmp_path, parameters={"folder": str(tmp_path)})
    with pytest.raises(StudyError, match=r"dask: expected the package 'cryptography' for certificates"):
        run_study(path, root=tmp_path, scheduler="dask", progress=False)


def test_workers_that_do_not_start_are_one_message(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(distributed, "SpecCluster", fail)
    path = write_spec(tmp_path, parameters={"folder": str(tmp_path)})
    with pytest.raises(StudyError, match=r"dask: expected 2 Dask workers to start on this machine, got Nanny failed"):
        run_study(path, root=tmp_path, scheduler="dask", workers=2, progress=False)


OTHER = """\
import asyncio, json, os, sys
from distributed.comm import connect
from distributed.security import Security

async def talk(address):
    comm = await connect(address, timeout=3, **Security().get_connection_args("client"))
    await comm.write({"op": "identity", "reply": True})
    return await comm.read()

os.setuid(65534)
answers = {}
for address in sys.argv[1:]:
    for one in (address, address.replace("tls://", "tcp://")):
        try:
            asyncio.run(asyncio.wait_for(talk(one), 5))
            answers[one] = "connected"
        except BaseException as error:
            answers[one] = type(error).__name__
print(json.dumps(answers))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be another user")
def test_another_user_cannot_connect_to_a_cluster_that_is_started_here(tmp_path):
    with cluster._client(None, 1) as client:
        client.wait_for_workers(1, timeout=60)
        addresses = [client.scheduler.address, *client.scheduler_info()["workers"]]
        answers = subprocess.run([sys.executable, "-c", OTHER, *addresses], capture_output=True, text=True, cwd="/")
    told = json.loads(answers.stdout)
    assert len(told) == 4, answers.stderr
    assert "connected" not in told.values()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be another user")
def test_another_user_cannot_reach_the_sockets_of_kernels(tmp_path):
    (tmp_path / "study").mkdir()
    with workspace(tmp_path / "study") as place:
        look = f"import os; os.setuid(65534); os.listdir({str(place.sockets)!r})"
        assert "PermissionError" in subprocess.run([sys.executable, "-c", look], capture_output=True, text=True).stderr


def test_without_dask_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    path = write_spec(tmp_path, parameters={"folder": str(tmp_path)})
    with pytest.raises(StudyError, match=r"expected the extra 'dask' \(pip install 'kdlandscape\[dask\]'\)"):
        run_study(path, root=tmp_path, scheduler="dask", progress=False)


def test_a_study_on_a_real_scheduler_loses_nothing_when_one_of_two_workers_is_killed(scheduler, tmp_path):
    address, dask_workers = scheduler
    path = write_spec(tmp_path, grid={"seed": list(range(8))}, parameters={"folder": str(tmp_path)})
    folder = tmp_path / "tiny"

    def kill():
        while len(list((folder / "runs").glob("*.nc"))) < 2:
            time.sleep(0.05)
        dask_workers[0].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    run_study(path, root=tmp_path, scheduler=address, warm=True, progress=False)
    killer.join()
    assert dask_workers[0].wait(30) == -signal.SIGKILL
    assert [path.read_text() for path in (folder / "errors").iterdir()] == []
    with open_cube(folder) as cube:
        assert missing(cube) == []
        assert cube["loss"].values.ravel().tolist() == list(range(8))
    assert not list((folder / ".work").iterdir())


def test_failures_and_deaths_are_the_same_on_a_cluster_that_is_started_here(tmp_path):
    modes = ["ok", "fail", "kill worker"]
    path = write_spec(tmp_path, grid={"mode": modes}, parameters={"folder": str(tmp_path)})
    folder = run_study(path, root=tmp_path, scheduler="dask", workers=2, warm=True, progress=False)
    now = status(folder)
    assert [run.coords["mode"] for run in now.done] == ["ok"]
    assert {run.coords["mode"] for run in now.failed} == {"fail", "kill worker"}
    names = {path.name.split("-")[0]: path.read_text() for path in (folder / "errors").iterdir()}
    assert '"RuntimeError"' in names["mode=fail"]
    assert '"KernelDied"' in names["mode=kill_worker"]  # the parent of a warm kernel is its fork server
    kernels = [int(Path(tmp_path / f"{mode}0").read_text()) for mode in modes]
    wait_until(lambda: not any(map(alive, kernels)))


class TestATask:
    @pytest.fixture
    def job(self, tmp_path):
        for name in ("study/runs", "study/errors", "work/of-driver"):
            (tmp_path / name).mkdir(parents=True)
        notebook = write_notebook(tmp_path / "n.ipynb", "seed: int = 0", "import time; time.sleep(60)")
        run = Run("seed=0", {"seed": 0}, {"seed": 0})
        return Job(run, notebook, tmp_path / "study", tmp_path / "work" / "of-driver", tmp_path / "s")

    @pytest.fixture(autouse=True)
    def no_worker_is_left(self):
        yield
        cluster.end_worker()

    def test_ends_at_its_time_limit(self, job):
        outcome = cluster.execute_here(job, time_limit=1)
        assert (outcome.lost, outcome.error["name"]) == (True, "TimeLimit")

    def test_ends_when_its_driver_is_gone(self, job):
        job.work.rmdir()
        assert cluster.execute_here(job, time_limit=None).error["name"] == "DriverGone"

    def test_says_so_where_the_studys_folder_is_not_shared(self, job):
        outcome = cluster.execute_here(replace(job, study=job.study / "none"), time_limit=None)
        assert outcome.error["name"] == "NoSharedFolder"
        assert "on every machine of the cluster" in outcome.error["value"]
