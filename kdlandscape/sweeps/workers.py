"""Worker processes: each executes one run at a time, for as long as its connection is open.

Workers are fresh interpreters, as with multiprocessing's spawn method, but started by ``python -m``: spawn would import
the user's main script again, and fail where that has no ``__main__`` guard.  Run as a module this file is a worker.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from kdlandscape.sweeps.execute import execute, lost
from kdlandscape.sweeps.job import Job, Outcome
from kdlandscape.sweeps.processes import die_with

TICK = 0.5  # seconds between looks at the clock


class Worker:
    """A worker process, as its engine sees it.

    Parameters
    ----------
    environment
        What the worker finds in its environment beside what is there.
    place
        Its number among the workers of the engine.
    """

    def __init__(self, environment: Mapping[str, str], place: int = 0):
        self.place = place
        self.connection, theirs = Pipe()
        command = [sys.executable, "-m", "kdlandscape.sweeps.workers", str(theirs.fileno()), str(os.getpid())]
        own = {**os.environ, **environment}
        if "PYTHONPATH" in own:  # a kernel starts in its notebook's folder
            own["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, own["PYTHONPATH"].split(os.pathsep)))
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=own, stdin=subprocess.DEVNULL)
        theirs.close()
        self.job: Job | None = None
        self._since = 0.0

    @property
    def alive(self) -> bool:
        """Whether it can take another job."""
        return self._process.poll() is None

    def give(self, job: Job) -> None:
        """Have a job executed, as an attempt of its own."""
        self.job, self._since = replace(job, attempt=uuid.uuid4().hex[:8]), time.monotonic()
        with contextlib.suppress(OSError):  # it died while idle; collecting will notice
            self.connection.send(self.job)

    def late(self, time_limit: float | None) -> bool:
        """Whether its job takes longer than it may."""
        return time_limit is not None and time.monotonic() - self._since > time_limit

    def collect(self, time_limit: float | None = None) -> Outcome:
        """Return what became of its job; a worker that is dead or late is ended."""
        job, self.job = self.job, None
        assert job is not None
        if not self.connection.poll():
            self.end()
            return lost(job, "TimeLimit", f"expected the run to end within {time_limit:g} seconds; it was stopped")
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.end()
            code = self._process.returncode
            cause = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            return lost(job, "WorkerDied", f"expected the worker process to live until its run ended, got {cause}")

    def end(self) -> None:
        """End the process; its kernel dies with it."""
        self._process.kill()
        self._process.wait()
        self.connection.close()


def serve(number: int, parent: int) -> None:
    """Be a worker: execute the jobs that come through a connection until it closes."""
    die_with(parent)
    # Ctrl-C reaches the whole process group, and the driver decides; a handler, unlike SIG_IGN, is not inherited
    signal.signal(signal.SIGINT, lambda *_: None)
    connection = Connection(number)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(execute(job))


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
