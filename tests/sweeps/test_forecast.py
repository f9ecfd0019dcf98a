"""A forecast comes from a trial that leaves nothing behind, stays with the study, and is compared afterwards."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import xarray as xr

from kdlandscape.cubes.clock_ahead import VARIABLE, Piece, Steps, followed, in_trial, pieces, trial
from kdlandscape.cubes.seals import cached
from kdlandscape.sweeps import load_spec, run_study, studies_root
from kdlandscape.sweeps.composition import makespan, spread, stand_for
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.forecast import FILE, Forecast, take_forecast, words
from kdlandscape.sweeps.plan import Run
from tests.tiny_study import write_notebook, write_spec

IMPORTS = """\
import torch, xarray as xr
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.teachers import train_teachers
from kdlandscape.sweeps.record import record
"""
TRAINING = """\
draw = torch.Generator().manual_seed(0)
x = torch.randn(256, 8, generator=draw)
y = (x[:, 0] > 0).long()
make = lambda: torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
teachers = train_teachers(make, x, y, Recipe(epochs=epochs, batch_size=64), seeds=[seed])
"""
RESULT = """\
record(xr.Dataset({"norm": ((), float(teachers.thetas.norm()), {"long_name": "norm", "units": "1"})}))
"""
PARAMETERS = "seed: int = 0\nepochs: int = 3000"
NESTED = """\
import kdlandscape as kdl, xarray as xr
from kdlandscape.sweeps import load_spec
folder = kdl.run_study(load_spec(spec), workers=2, progress=False)
runs = float(len(list((folder / "runs").glob("*.nc"))))
kdl.record(xr.Dataset({"runs": ((), runs, {"long_name": "runs", "units": "1"})}))
"""


def training_spec(folder, **grid):
    write_notebook(folder / "tiny.ipynb", PARAMETERS, IMPORTS, TRAINING, RESULT)
    return write_spec(folder, grid={"seed": [0, 1], **grid})


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLANDSCAPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.slow
def test_a_trial_counts_the_steps_that_it_leaves_out(tmp_path, own_cache):
    path = training_spec(tmp_path, epochs=[1_000_000])  # how near a forecast is, the bench says
    made = take_forecast(load_spec(path), root=tmp_path / "root", progress=False)
    assert made.seconds > 10 * made.trial_seconds


@pytest.mark.slow
def test_a_trial_leaves_nothing_changes_no_result_and_is_compared_afterwards(tmp_path, own_cache, monkeypatch):
    path = training_spec(tmp_path)
    outer = tmp_path / "outer.ipynb"
    write_notebook(outer, f"spec: str = {str(path)!r}\nk: int = 0", NESTED)
    nested = write_spec(tmp_path / "o", study="outer", notebook=str(outer), grid={"k": [0]})
    root = tmp_path / "root"
    made = take_forecast(load_spec(nested), workers=1, root=root, progress=False)
    assert files_below(root) == ["outer", f"outer/{FILE}"]
    assert not own_cache.exists()  # no teacher of a trial lies where a study looks for one
    assert VARIABLE not in os.environ
    assert [(one["study"], one["runs"]) for one in made.studies] == [("tiny", 2), ("outer", 1)]
    assert take_forecast(load_spec(nested), root=root) == made  # kept, and not made again
    run_study(load_spec(nested), workers=1, root=root, progress=False)
    done = take_forecast(load_spec(nested), root=root)
    assert f"{words(done.measured)} measured" in done.said()
    # without any trial, the same training gives the same bits
    monkeypatch.setenv("KDLANDSCAPE_CACHE", str(tmp_path / "other cache"))
    here: dict = {"seed": 0, "epochs": 3000}
    exec(IMPORTS + TRAINING, here)
    (first,) = (root / "tiny" / "runs").glob("*seed=0*.nc")
    with xr.open_dataset(first, engine="netcdf4") as run:
        assert run["norm"].item() == float(here["teachers"].thetas.norm())


@pytest.mark.slow
def test_a_run_that_fails_in_its_work_is_named_with_its_error_and_nothing_is_kept(tmp_path):
    write_notebook(tmp_path / "tiny.ipynb", "seed: int = 0", "raise RuntimeError('no such data')")
    spec = load_spec(write_spec(tmp_path, grid={"seed": [0]}))
    with pytest.raises(StudyError, match=r"got seed=0-\w+, which failed: RuntimeError: no such data"):
        take_forecast(spec, workers=1, root=tmp_path / "root", progress=False)
    assert not (tmp_path / "root").exists()


@pytest.mark.slow
def test_a_check_of_the_result_that_fails_in_a_trial_is_told_and_excused(tmp_path):
    write_notebook(
        tmp_path / "tiny.ipynb", "seed: int = 0", "import xarray as xr\nimport kdlandscape as kdl",
        "kdl.record(xr.Dataset({'a': ((), 1.0, {'long_name': 'a', 'units': '1'})}))", "assert 1 > 2, 'too few'",
    )  # fmt: skip
    spec = load_spec(write_spec(tmp_path, grid={"seed": [0]}))
    made = take_forecast(spec, workers=1, root=tmp_path / "root", progress=False)
    assert len(made.failed) == 1
    assert "only its time up to there counts: tiny/seed=0" in made.said()
    assert "AssertionError: too few" in made.said()


def taken_steps(total):
    steps = Steps(total, finish=lambda: None)
    return sum(1 for _ in steps.of(range(total))), steps


def test_a_variable_that_is_left_over_stops_no_training(tmp_path, monkeypatch):
    monkeypatch.setattr("kdlandscape.cubes.clock_ahead._TIMED", 0.0)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone" / "a.jsonl"))
    assert taken_steps(100)[0] == 100
    (tmp_path / "trial.lock").touch()  # of a driver that was killed: nobody holds it
    monkeypatch.setenv(VARIABLE, str(tmp_path / "a.jsonl"))
    assert taken_steps(100)[0] == 100
    assert studies_root(tmp_path) == tmp_path
    with followed("run"):
        assert VARIABLE not in os.environ  # and it goes no further


def test_only_runs_of_a_live_trial_stop_and_their_clock_goes_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr("kdlandscape.cubes.clock_ahead._TIMED", 0.01)
    with trial() as folder:
        assert taken_steps(40)[0] == 40  # the driver's own training is no part of it
        with followed("run"):
            assert in_trial()
            total = 0
            steps = Steps(1000, finish=lambda: None)
            began = time.monotonic()
            for _ in steps.of(range(1000)):
                total += 1
                time.sleep(0.001)
            each = (time.monotonic() - began) / total
            journal = Path(os.environ[VARIABLE])
            assert steps.cut
            assert total < 100
        (ahead,) = [line for line in map(json.loads, journal.read_text().splitlines()) if line["event"] == "ahead"]
        assert ahead["seconds"] == pytest.approx((1000 - total) * each, rel=0.5)
    assert not folder.exists()
    assert VARIABLE not in os.environ


def test_a_process_that_outlives_its_trial_trains_to_the_end():
    with trial() as folder:
        gone = str(folder / "a.jsonl")
    code = "from kdlandscape.cubes.clock_ahead import in_trial; print(in_trial())"
    found = subprocess.run([sys.executable, "-c", code], env={**os.environ, VARIABLE: gone}, capture_output=True)
    assert found.stdout.strip() == b"False"


def test_a_trial_inside_a_trial_is_refused():
    with trial(), pytest.raises(RuntimeError, match="no trial inside a trial"), trial():
        pass


def test_what_a_trial_makes_for_a_cache_goes_with_it_and_what_is_kept_is_read(tmp_path):
    cached(tmp_path / "kept", lambda file: file.write(b"true"))
    with trial(), followed("run"):
        assert cached(tmp_path / "kept", lambda file: file.write(b"half")) == b"true"
        assert cached(tmp_path / "new", lambda file: file.write(b"half")) == b"half"
        assert cached(tmp_path / "new", lambda file: file.write(b"again")) == b"half"
    assert files_below(tmp_path) == ["kept"]
    assert cached(tmp_path / "new", lambda file: file.write(b"true")) == b"true"


def test_a_strategy_that_a_trial_chooses_is_not_remembered_after_it(own_cache):
    from kdlandscape.landscape.evaluation.remembered import recall, remember, remembered
    from kdlandscape.landscape.evaluation.strategy import Strategy
    from kdlandscape.landscape.objective import Objective

    loss = torch.nn.functional.cross_entropy
    objective = Objective(torch.nn.Linear(2, 2), loss, (torch.randn(8, 2), torch.zeros(8, dtype=torch.long)))
    with trial(), followed("run"):
        remember(objective, Strategy(), 2.0)
        assert recall(objective) == Strategy()
    assert recall(objective) is None
    assert remembered() == []
    assert not own_cache.exists()


def test_a_training_of_a_trial_writes_no_checkpoint(tmp_path):
    from kdlandscape.distillation.descent import Checkpoint
    from kdlandscape.distillation.recipe import Recipe
    from kdlandscape.distillation.training import train

    network, x, y = torch.nn.Linear(2, 2), torch.randn(8, 2), torch.zeros(8, dtype=torch.long)
    start = torch.zeros(1, 6)

    def trained():
        recipe, draws = Recipe(epochs=2, batch_size=4), torch.Generator().manual_seed(0)
        return train(network, start, x, y, recipe, generator=draws, checkpoint=Checkpoint(tmp_path / "c"))

    with trial(), followed("run"):
        trained()
        assert not (tmp_path / "c").exists()
    trained()
    assert (tmp_path / "c").exists()


def test_a_trial_reads_and_writes_studies_in_a_folder_that_stands_for_theirs(tmp_path):
    run = tmp_path / "a" / "runs" / "seed=0.nc"
    run.parent.mkdir(parents=True)
    run.write_text("result")
    (tmp_path / "a" / "spec.yaml").write_text("study: a")
    with trial() as folder, followed("run"):
        place = studies_root(tmp_path)
        assert folder in place.parents
        assert (place / "a" / "runs" / run.name).read_text() == "result"
        assert studies_root(place / "quick") == place / "quick"
        (place / "a" / "runs" / run.name).unlink()
    assert run.read_text() == "result"


def test_the_makespan_counts_a_shared_file_once_and_lets_others_wait_for_it():
    maker, waiter = [Piece(None, 1.0), Piece("t", 10.0), Piece(None, 2.0)], [Piece("t", None), Piece(None, 3.0)]
    assert makespan([maker, waiter], 1) == 16.0
    assert makespan([maker, waiter], 2) == 13.0  # the second begins it at 0, and the first waits till 10
    assert makespan([[Piece("there", None), Piece(None, 3.0)]], 2) == 3.0


def test_a_journal_is_read_without_the_time_in_which_a_run_waited():
    events = [("begin", 0), ("need", 1), ("make", 4), ("ahead", 5), ("have", 6), ("need", 7), ("have", 9), ("end", 10)]
    lines = [{"event": event, "at": float(at), "file": f"f{at > 6}", "seconds": 100.0} for event, at in events]
    own = [Piece(None, 1.0), Piece("fFalse", 102.0), Piece(None, 1.0), Piece("fTrue", None), Piece(None, 1.0)]
    assert pieces(lines) == own


def test_a_sample_stands_for_all_runs_and_their_shared_files():
    runs = [Run(f"{seed},{lam}", {}, {"seed": seed, "lam": lam}) for seed in range(5) for lam in range(20)]
    chosen = spread(runs, 9)
    assert (len(chosen), chosen[0], chosen[-1]) == (9, runs[0], runs[-1])
    seen, found = set(), {}
    for run in chosen:
        teacher = f"teacher {run.coords['seed']}"
        found[run.id] = [Piece(teacher, None if teacher in seen else 50.0), Piece(None, 1.0)]
        seen.add(teacher)
    assert makespan(stand_for(runs, runs, found), 1) == 5 * 50 + 100  # and not a teacher for each run


def test_a_forecast_is_told_in_words():
    made = Forecast(["a"] * 8, 2, 4, 90.0, 360.0, [], [])
    assert made.said().startswith("8 runs on 2 workers: 6.0 min expected, from a trial of 1.5 min (4 runs")
    assert made._replace(measured=7200.0).said().endswith("2.0 h measured, 20.00 of it")
    assert words(59.4) == "59 s"
