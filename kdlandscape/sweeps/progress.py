"""What a driver says while a study runs: one moving line for people, or a JSON object a line for programs."""

import json
import sys
import time
from typing import IO, Protocol

from tqdm import tqdm

from kdlandscape.sweeps.job import Outcome
from kdlandscape.sweeps.snapshot import Status


class Progress(Protocol):
    """Told of everything that happens to the runs of a study."""

    def ended(self, outcome: Outcome) -> None:
        """Take note that a run has ended."""

    def running(self, count: int) -> None:
        """Take note of how many runs are being executed; about twice a second while no run ends."""

    def close(self) -> None:
        """Take note that the driver stops."""


class Silent:
    """Says nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Pass."""

    def running(self, count: int) -> None:
        """Pass."""

    def close(self) -> None:
        """Pass."""


class Bar:
    """A bar on standard error: done, running, failed, rate, time left."""

    def __init__(self, now: Status, todo: int):
        total = sum(map(len, (now.done, now.failed, now.missing)))
        # a log file gets a line now and then, a terminal a moving bar
        pace = 0.2 if sys.stderr.isatty() else 15.0
        self._bar = tqdm(total=total, initial=total - todo, unit="run", mininterval=pace, smoothing=0)
        self._counts = {"running": 0, "failed": 0}
        self._shown = time.monotonic()

    def ended(self, outcome: Outcome) -> None:
        """Move on."""
        self._counts["failed"] += outcome.error is not None
        self._bar.set_postfix(self._counts, refresh=False)
        self._bar.update()

    def running(self, count: int) -> None:
        """Let the clock go on while no run ends."""
        self._counts["running"] = count
        self._bar.set_postfix(self._counts, refresh=False)
        if time.monotonic() - self._shown > self._bar.mininterval:
            self._bar.refresh()
            self._shown = time.monotonic()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


class Lines:
    """JSON lines: one for the start, for each run, for the number of running ones when it changes, and for the end."""

    def __init__(self, now: Status, todo: int, stream: IO[str] | None = None):
        self._stream = stream or sys.stdout
        self._counts = {"done": len(now.done), "failed": len(now.failed), "left": todo}
        self._running = -1
        self._began = time.monotonic()
        self._say("start")

    def _say(self, event: str, **facts: object) -> None:
        line = {"event": event, **facts, **self._counts, "elapsed": round(time.monotonic() - self._began, 3)}
        print(json.dumps(line), file=self._stream, flush=True)

    def ended(self, outcome: Outcome) -> None:
        """Say what became of a run."""
        state = "failed" if outcome.error else "done"
        self._counts[state] += 1
        self._counts["left"] -= 1
        error = {} if outcome.error is None else {"error": f"{outcome.error['name']}: {outcome.error['value']}"}
        self._say("run", run=outcome.job.run.id, state=state, **error)

    def running(self, count: int) -> None:
        """Say how many runs are being executed, if that is news."""
        if count != self._running:
            self._running = count
            self._say("running", running=count)

    def close(self) -> None:
        """Say that the driver stops."""
        self._say("end")
