import io
import json
from pathlib import Path

from kdlandscape.sweeps.job import Job, Outcome
from kdlandscape.sweeps.plan import Run
from kdlandscape.sweeps.progress import Bar, Lines, Silent
from kdlandscape.sweeps.snapshot import Status

RUNS = [Run(name, {}, {}) for name in "abc"]
JOBS = [Job(run, Path(), Path(), Path(), Path()) for run in RUNS]
FAILED = {"name": "ValueError", "value": "no"}


def tell(progress):
    progress.running(2)
    progress.running(2)
    progress.ended(Outcome(JOBS[0]))
    progress.ended(Outcome(JOBS[1], FAILED))
    progress.running(1)
    progress.close()


def test_json_lines_say_everything_that_happens_once():
    stream = io.StringIO()
    tell(Lines(Status([RUNS[2]], [], RUNS[:2]), 2, stream))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["start", "running", "run", "run", "running", "end"]
    assert lines[3] | {"elapsed": 0} == {
        "event": "run",
        "run": "b",
        "state": "failed",
        "error": "ValueError: no",
        "done": 2,
        "failed": 1,
        "left": 0,
        "elapsed": 0,
    }


def test_the_bar_shows_done_running_failed_rate_and_time_left(capsys):
    tell(Bar(Status([RUNS[2]], [], RUNS[:2]), 2))
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "failed=1" in shown
    assert "running=2" in shown or "running=1" in shown
    assert "run/s" in shown or "s/run" in shown


def test_silence_is_silent(capsys):
    tell(Silent())
    assert capsys.readouterr() == ("", "")
