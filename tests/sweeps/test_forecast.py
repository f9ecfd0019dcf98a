"""A forecast comes from the first runs on the workers at hand, stays with the study, and is compared afterwards."""

import json

import pytest

from kdlandscape.sweeps import load_spec, run_study
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.forecast import FILE, Forecast, take_forecast, words
from tests.tiny_study import write_notebook, write_spec

SLOW = "import time, numpy as np, xarray as xr\nfrom kdlandscape.sweeps.record import record\ntime.sleep(0.5)"
RESULT = "record(xr.Dataset({'loss': ((), float(seed), {'long_name': 'loss', 'units': 'nat'})}))"


@pytest.fixture
def spec(tmp_path):
    write_notebook(tmp_path / "tiny.ipynb", "seed: int = 0", SLOW, RESULT)
    return load_spec(write_spec(tmp_path, grid={"seed": list(range(5))}))


@pytest.mark.slow
def test_a_trial_of_the_first_runs_foretells_the_others_and_is_compared_once_they_are_done(spec, tmp_path):
    made = take_forecast(spec, workers=2, root=tmp_path / "root", progress=False)
    folder = tmp_path / "root" / "tiny"
    assert len(list((folder / "runs").glob("*.nc"))) == len(made.trial) == 2
    assert (made.runs, made.measured) == (3, None)
    assert made.trial_seconds > 0.5
    assert made.seconds == 2 * made.trial_seconds  # three runs on two workers are two rounds
    assert json.loads((folder / FILE).read_text(encoding="utf-8"))["seconds"] == made.seconds
    assert take_forecast(spec, root=tmp_path / "root") == made  # nothing is run again
    run_study(spec, workers=2, root=tmp_path / "root", progress=False)
    done = take_forecast(spec, root=tmp_path / "root")
    assert done[:-1] == made[:-1]
    assert 0.5 < done.measured < 120
    assert f"{words(done.measured)} measured, {done.measured / done.seconds:.2f} of it" in done.said()


@pytest.mark.slow
def test_a_study_that_was_begun_has_no_trial(spec, tmp_path):
    run_study(spec, workers=1, root=tmp_path / "root", shard="0/5", progress=False)
    with pytest.raises(StudyError, match="expected no run before the trial of a forecast"):
        take_forecast(spec, root=tmp_path / "root")


def test_a_trial_that_would_be_the_whole_study_is_refused_and_runs_nothing(spec, tmp_path):
    with pytest.raises(StudyError, match="got 5 on 6"):
        take_forecast(spec, workers=6, root=tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_a_forecast_is_told_in_words():
    made = Forecast(runs=8, workers=2, trial=["a", "b"], trial_seconds=90.0, seconds=360.0)
    assert made.said() == "8 runs on 2 workers: 6.0 min expected (the first 2 took 1.5 min)"
    assert made._replace(measured=7200.0).said().endswith("2.0 h measured, 20.00 of it")
    assert words(59.4) == "59 s"
