"""How near a forecast is: ``python -m tests.bench.forecast demo paper_small``; writes results/forecast.md.

Each study is forecast, run and compared, with an empty cache before the forecast and before the run, so that teachers
are trained and strategies tried. What lies under ``--root`` already is not done again.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdlandscape.sweeps.forecast import Forecast, take_forecast, words
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.study import run_study
from tests.bench.goals import goal
from tests.bench.sections import update

RESULTS = Path(__file__).parent / "results" / "forecast.md"
HEAD = "# What a study was expected to take, and what it took\n\nWritten by `python -m tests.bench.forecast`."
NEAR = 0.3  # of what was expected


@contextmanager
def empty_cache() -> Iterator[None]:
    """Let nothing that was trained or chosen before be found."""
    name = "KDLANDSCAPE_CACHE"
    before = os.environ.get(name)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            os.environ.pop(name) if before is None else os.environ.update({name: before})


def measured(study: str, root: Path) -> Forecast:
    """Forecast a study, run it, and return both."""
    spec = load_spec(study)
    with empty_cache():
        made = take_forecast(spec, root=root)
    if made.measured is None:
        with empty_cache():
            run_study(spec, root=root)
        made = take_forecast(spec, root=root)
    return made


def lines(study: str, found: Forecast) -> list[str]:
    """Return the table of a study, and what became of the goal."""
    if found.measured is None:
        raise RuntimeError(f"{study}: expected all runs to be done, got one that failed")
    took = found.measured / found.seconds
    row = [str(len(found.runs)), str(found.workers), words(found.trial_seconds), words(found.seconds)]
    inner = [f"- {one['study']}: {words(one['seconds'])}, {one['runs']} runs" for one in found.studies[:-1]]
    return [
        f"## {study}",
        "",
        "| runs | workers | trial | expected | measured | of what was expected |",
        "|---|---|---|---|---|---|",
        f"| {' | '.join([*row, words(found.measured), f'{took:.2f}'])} |",
        "",
        *(["The studies that it runs were expected to take:", "", *inner, ""] if inner else []),
        goal(f"{study}: measured within {NEAR:.0%} of the expected time", f"{took:.2f} of it", abs(took - 1) <= NEAR),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure the studies one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.forecast", description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="+", help="names of shipped studies, or spec files")
    parser.add_argument("--root", type=Path, default=Path("papermill_runs"), help="folder of studies")
    parser.add_argument("--page", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    for study in chosen.studies:
        load = os.getloadavg()[0]
        found = measured(study, chosen.root)
        print(found.said(), flush=True)
        update(chosen.page, HEAD, lines(Path(study).stem, found), load)


if __name__ == "__main__":
    main()
