"""The engine for several machines: dask.distributed hands out the runs, and tries again where a machine goes away.

Whoever can reach a scheduler can run code as its owner, so all connections are by TLS with certificates: made for the
occasion where a cluster is started here, and those of Dask's own configuration for a scheduler that runs already.

The study's folder has to be at the same path on every machine.  A Dask worker executes nothing itself: each of its
threads keeps a worker process as the local engine does, so that time limits and kills work the same way everywhere.
"""

import shutil
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from multiprocessing.connection import wait
from typing import Any

from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.execute import describe, lost
from kdlandscape.sweeps.job import Job, Outcome
from kdlandscape.sweeps.processes import default_workers, environments
from kdlandscape.sweeps.workers import TICK, Worker

_AHEAD = 3  # jobs submitted for each thread: enough that none waits, few enough that a scheduler holds 100,000 runs
_CONNECT = 20  # seconds
_NOT_SECURE = (
    "scheduler: expected an address that begins with tls://, because any user who can reach another one can run code "
    "as you, got {!r}; start the scheduler and its workers with --tls-ca-file, --tls-cert and --tls-key, and name the "
    "same files in Dask's configuration (distributed.comm.tls); --dask starts a cluster with certificates by itself"
)
_LOCAL = threading.local()


def on_dask(
    jobs: Iterable[Job], *, scheduler: str | None = None, workers: int | None = None, time_limit: float | None = None
) -> Generator[Outcome | int]:
    """Execute jobs on the workers of a Dask scheduler.

    Parameters
    ----------
    jobs
        What to execute, in this order.
    scheduler
        Address such as ``tls://host:8786``; None: start a cluster of one-thread workers on this machine.
    workers
        Number of workers of the cluster that is started; default: as for the local engine.
    time_limit
        Seconds after which a run is stopped and counts as failed; default: never.

    Yields
    ------
    Outcome or int
        As the local engine.

    Raises
    ------
    StudyError
        If Dask is not installed, a scheduler takes connections from everybody, workers do not start, or the scheduler
        does not answer any more.
    """
    queue = iter(jobs)
    waiting: dict[Any, Job] = {}
    with _client(scheduler, workers) as client:
        from distributed import wait as wait_for

        job = None
        try:
            while True:
                room = max(2, _AHEAD * sum(client.nthreads().values())) - len(waiting)
                for job in islice(queue, max(0, room)):
                    # one attempt of Dask's own is an attempt of ours: it only repeats where a worker has died
                    future = client.submit(execute_here, job, time_limit, key=f"{job.run.id}-{job.work.name}")
                    waiting[future] = job
                if not waiting:
                    return
                with suppress(TimeoutError):
                    wait_for(list(waiting), timeout=TICK, return_when="FIRST_COMPLETED")
                ended = [future for future in waiting if future.done()]
                for future in ended:
                    yield _outcome(future, waiting.pop(future))
                if not ended:
                    _check_connection(client)
                    yield len([keys for keys in client.processing().values() for _ in keys])
        finally:
            if job is not None:
                _stop(client, waiting, job)


@contextmanager
def _client(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """Yield a client of a scheduler, or of a cluster that lives as long as the client."""
    try:
        import dask
        from distributed import Client, Nanny, Scheduler, SpecCluster
    except ImportError as error:
        raise StudyError(
            f"dask: expected the extra 'dask' (pip install 'kdlandscape[dask]'), got no package {error.name!r}"
        ) from error
    if scheduler is not None:
        if not scheduler.startswith("tls://"):
            raise StudyError(_NOT_SECURE.format(scheduler))
        try:
            client = Client(scheduler, timeout=_CONNECT)
        except (OSError, ValueError, TypeError, TimeoutError) as error:
            raise StudyError(f"scheduler: expected a Dask scheduler at {scheduler}, got {error}") from error
        with client:
            yield client
        return
    places = environments(workers or default_workers())
    security = _temporary_certificates()
    loopback = {"host": "127.0.0.1", "dashboard": False, "security": security}
    crew = {
        i: {"cls": Nanny, "options": {"nthreads": 1, "env": environment, **loopback}}
        for i, environment in enumerate(places)
    }
    head = {"cls": Scheduler, "options": {"port": 0, "dashboard_address": "127.0.0.1:0", "protocol": "tls", **loopback}}
    with dask.config.set({"distributed.admin.system-monitor.disk": False}), ExitStack() as started:
        try:
            cluster = SpecCluster(workers=crew, scheduler=head, security=security, silence_logs="critical")
            client = started.enter_context(Client(started.enter_context(cluster), security=security))
        except (OSError, RuntimeError, ValueError, TimeoutError) as error:
            problem = " ".join(str(error).split())[:300] or type(error).__name__
            raise StudyError(
                f"dask: expected {len(places)} Dask workers to start on this machine, got {problem}; finished runs are "
                "kept, and the same command without --dask executes what is missing"
            ) from error
        yield client


def _temporary_certificates() -> Any:
    from distributed.security import Security

    try:
        return Security.temporary()
    except ImportError as error:
        raise StudyError(
            "dask: expected the package 'cryptography' for certificates (pip install 'kdlandscape[dask]'), got none"
        ) from error


def _check_connection(client: Any) -> None:
    if client.status not in ("running", "connecting"):
        raise StudyError(
            f"scheduler: expected the Dask scheduler to live until the study ended, got a connection that is "
            f"{client.status}; finished runs are kept, and the same command with a new scheduler goes on"
        )


def _outcome(future: Any, job: Job) -> Outcome:
    """Return what came of a task; one that failed or was cancelled is a run whose process died."""
    if future.status == "finished":
        return future.result()
    if future.cancelled():
        raise StudyError(
            "scheduler: expected the Dask scheduler to live until the study ended, got a cancelled run; finished runs "
            "are kept, and the same command with a new scheduler goes on"
        )
    error = future.exception()
    return lost(job, "WorkerDied", f"expected a Dask worker to live until the run ended, got {error!r}")


def _stop(client: Any, waiting: dict[Any, Job], job: Job) -> None:
    """Have the workers drop what they were given; a task whose driver's folder is gone ends itself."""
    with suppress(Exception):  # the scheduler may be the reason why we stop
        client.cancel(list(waiting), force=True)
    shutil.rmtree(job.work, ignore_errors=True)
    with suppress(Exception):
        if waiting:
            time.sleep(2 * TICK)
        client.run(shutil.rmtree, str(job.sockets), ignore_errors=True)


def execute_here(job: Job, time_limit: float | None) -> Outcome:
    """Execute a job in the worker process of this thread of a Dask worker."""
    if not job.study.is_dir():
        place = f"expected the study's folder {job.study} on every machine of the cluster, got none on this one"
        return Outcome(job, describe(job, "NoSharedFolder", place))
    worker = getattr(_LOCAL, "worker", None)
    if worker is None or not worker.alive:
        worker = _LOCAL.worker = Worker({})
    worker.give(job)
    while not wait([worker.connection], timeout=TICK) and not worker.late(time_limit):
        if not job.work.is_dir():
            end_worker()
            return lost(job, "DriverGone", "expected the driver to live until the run ended, got its folder removed")
    return worker.collect(time_limit)


def end_worker() -> None:
    """End the worker process of this thread."""
    worker = getattr(_LOCAL, "worker", None)
    if worker is not None and worker.alive:
        worker.end()
    _LOCAL.worker = None
