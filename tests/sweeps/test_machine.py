"""The cube is a pure function of its finished runs: hundreds of random steps against a model of a few lines."""

import math
import shutil
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kdlandscape.cubes.store import CubeError, compact, open_cube
from kdlandscape.sweeps import study as module
from kdlandscape.sweeps.errors import StudyError
from kdlandscape.sweeps.execute import execute
from kdlandscape.sweeps.snapshot import status
from kdlandscape.sweeps.study import run_study
from kdlandscape.sweeps.workspace import clean
from tests.inline import execute_inline
from tests.tiny_study import write_notebook

BODY = """\
import numpy as np, xarray as xr
import helper
from kdlandscape.sweeps.record import record
if seed == 9:
    raise RuntimeError("never")
value = np.array(lam) + 10 * seed + 100 * rate + 1000 * helper.version + 10_000 * VERSION + 100_000 * shift
record(xr.Dataset({"value": ("lam", value, {"long_name": "value", "units": "1"})}, {"lam": lam}))
"""
SEEDS = st.lists(st.sampled_from([0, 1, 2, 9]), min_size=1, max_size=3, unique=True)
RATES = st.lists(st.sampled_from([1, 1.0, 2, 0.5]), min_size=1, max_size=2, unique=True)
LAMS = st.permutations([0, 0.5, 1])
SHIFTS = st.sampled_from([0, 0, 0, 1])
CHOICES = st.sampled_from([None, None, "keep", "rerun"])


class Killed(BaseException):
    """The driver dies."""


class Studies(RuleBasedStateMachine):
    """The model: finished runs with the recipe each was made by, and the recipes of which runs may stay."""

    @initialize()
    def begin(self):
        self.place = Path(tempfile.mkdtemp(prefix="kdl-machine-"))
        self.project = self.place / "project0"
        self.project.mkdir()
        self.patch = pytest.MonkeyPatch()
        execute_inline(self.patch)
        self.helper = self.notebook = self.moves = 0
        self.write()
        self.folder = self.project / "studies" / "s"
        self.grid = {"seed": [0], "rate": [1], "lam": [0, 0.5, 1]}
        self.recipe = None  # of the study: notebook, shift
        self.read = None  # the helper that the study stands for
        self.done = {}  # (seed, rate) -> (helper, notebook, shift)
        self.kept = set()  # helpers whose runs stay
        self.failed = set()

    def teardown(self):
        if hasattr(self, "patch"):
            self.patch.undo()
            shutil.rmtree(self.place)

    def write(self):
        (self.project / "helper.py").write_text(f"version = {self.helper}\n")
        parameters = "seed: int = 0\nrate: float = 1.0\nlam: list[float] = []\nshift: int = 0"
        write_notebook(self.project / "n.ipynb", parameters, f"VERSION = {self.notebook}", BODY)

    @rule(
        seeds=SEEDS, rates=RATES, lam=LAMS, shift=st.sampled_from([0, 0, 0, 1]), choice=CHOICES, kill=st.integers(0, 9)
    )
    def run(self, seeds, rates, lam, shift, choice, kill):
        """Run a spec with other values, in another order and spelling, perhaps with another setting, perhaps killed."""
        grid = {"rate": rates, "lam": lam, "seed": seeds} if kill % 2 else {"seed": seeds, "rate": rates, "lam": lam}
        spec = {
            "study": self.folder.name,
            "notebook": str(self.project / "n.ipynb"),
            "grid": grid,
            "vectorize": ["lam"],
            "parameters": {"shift": shift},
        }
        self.execute(spec, grid, (self.notebook, shift), choice, kill, root=self.folder.parent)

    @rule(seeds=SEEDS, rates=RATES, lam=LAMS)
    def run_all(self, seeds, rates, lam):
        """Run a spec to its end, beside what is there."""
        self.run(seeds, rates, lam, self.recipe[1] if self.recipe else 0, "keep", 9)

    @precondition(lambda self: self.recipe is not None)
    @rule(choice=CHOICES, failed=st.booleans())
    def retry(self, choice, failed):
        self.execute(self.folder, self.grid, (self.notebook, self.recipe[1]), choice, 9, retry_failed=failed)

    def execute(self, what, grid, recipe, choice, kill, **options):
        left = [kill if kill < 4 else math.inf]

        def engine(jobs):
            for job in jobs:
                if not left[0]:
                    raise Killed
                left[0] -= 1
                yield execute(job)

        self.patch.setattr(module, "_engine", lambda *_: engine)
        settings_differ = self.recipe is not None and recipe[1] != self.recipe[1]
        code_differs = self.recipe is not None and recipe[0] != self.recipe[0]
        helper_differs = self.read not in (None, self.helper)
        if self.done and (settings_differ or code_differs or helper_differs):
            if choice is None or (choice == "keep" and settings_differ):
                with pytest.raises(StudyError, match="was run with another recipe"):
                    run_study(what, changed=choice, progress=False, **options)
                return
            if choice == "rerun" and (settings_differ or code_differs):
                self.done.clear()
            elif choice == "rerun":
                self.done = {cell: made for cell, made in self.done.items() if made[0] in self.kept}
            elif helper_differs:
                self.kept.add(self.read)
            if helper_differs:
                self.read = self.helper if choice == "keep" else None
        elif not self.done and helper_differs:
            self.read = None
        self.recipe, self.grid = recipe, grid
        done_before = dict(self.done)
        try:
            with warnings.catch_warnings(action="ignore"):
                run_study(what, changed=choice, progress=False, **options)
        except (Killed, CubeError):
            pass
        for run in status(self.folder).done:
            cell = (run.coords["seed"], run.coords["rate"])
            if cell not in done_before:
                self.done[cell] = (self.helper, *recipe)
                self.read = self.helper
        missing = {cell for cell in self.cells() if cell not in self.done}
        if left[0]:
            assert all(seed == 9 for seed, _ in missing)

    def cells(self):
        return [(seed, rate) for seed in self.grid["seed"] for rate in self.grid["rate"]]

    @rule(what=st.sampled_from(["module", "notebook"]))
    def edit(self, what):
        self.helper += what == "module"
        self.notebook += what == "notebook"
        self.write()

    @precondition(lambda self: self.recipe is not None)
    @rule(what=st.sampled_from(["clean", "rename", "move"]))
    def keep_house(self, what):
        self.moves += 1
        if what == "clean":
            clean(self.folder, corrupt=True)
        elif what == "rename":
            self.folder = self.folder.rename(self.folder.with_name(f"s{self.moves}"))
        else:
            new = self.place / f"project{self.moves}"
            self.folder = new / self.folder.relative_to(self.project)
            self.project.rename(new)
            self.project = new

    @invariant()
    def the_cube_holds_the_finished_runs_and_nothing_else(self):
        if getattr(self, "recipe", None) is None:
            return
        finished = {cell: self.done[cell] for cell in self.cells() if cell in self.done}
        assert {(run.coords["seed"], run.coords["rate"]) for run in status(self.folder).done} == set(finished)
        with warnings.catch_warnings(action="ignore"):
            try:
                compact(self.folder)
            except CubeError:
                assert not finished
                return
        with open_cube(self.folder) as cube:
            for seed, rate in self.cells():
                cell = cube["value"].sel(seed=seed, rate=rate)
                if (seed, rate) not in finished:
                    assert cell.isnull().all()
                    continue
                helper, notebook, shift = finished[seed, rate]
                base = 10 * seed + 100 * rate + 1000 * helper + 10_000 * notebook + 100_000 * shift
                assert cell.sel(lam=[0, 0.5, 1]).values.tolist() == [base, base + 0.5, base + 1]
            assert cube["lam"].values.tolist() == self.grid["lam"]


TestStudies = Studies.TestCase
TestStudies.settings = settings(
    max_examples=8,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
