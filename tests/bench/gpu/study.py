"""A papermill study on the device, from its spec to its cube, and how workers share a card."""

import shutil
import time
from collections.abc import Iterator
from typing import Any

import kdlandscape as kdl
from kdlandscape.sweeps.loading import load_spec
from kdlandscape.sweeps.processes import usable_gpus
from tests.bench.gpu.ledger import Part, Row, Rows, Setting, table

ONE = "one worker a card"
#: what differs from the demo, in size only
FULL = {"student_epochs": 10, "teacher_epochs": 15}
TINY = {
    **{"network": "mlp", "norm": "none", "width": 4, "depth": 1, "num_train": 64, "num_fresh": 64},
    **{"teacher_epochs": 1, "student_epochs": 1, "surface_examples": 16, "path_points": 3, "plane_points": 10},
    "num_eigenvalues": 1,
}


def measured(workers: int, setting: Setting, **options: Any) -> dict[str, Any]:
    """Run the demo's study anew; return the seconds and what its cube holds."""
    spec = load_spec("demo", study=f"gpu_{workers}_workers{'_warm' * options.get('warm', False)}")
    size = TINY if setting.tiny else FULL
    grid = {"seed": [0] if setting.tiny else [0, 1], "lr_policy": ["constant"], "init_lambda": [0.0, 1.0]}
    content = spec.model_dump(exclude={"resolved"}, by_alias=True)
    content |= {"parameters": {**spec.parameters, **size, "device": setting.device}, "grid": grid}
    content |= {"table": None, "notebook": spec.facts.notebook_path}
    root = setting.folder / "studies"
    shutil.rmtree(root / content["study"], ignore_errors=True)
    start = time.perf_counter()
    folder = kdl.run_study(content, workers=workers, root=root, progress=False, time_limit=_limit(setting), **options)
    taken = time.perf_counter() - start
    with kdl.open_cube(folder) as cube:
        done = int(cube["run.done"].sum())
        if done < cube["run.done"].size:
            raise RuntimeError(f"expected all runs in the cube, got {done}: see {folder / 'errors'}")
        known = float(cube["student_accuracy"].mean())
        return {"runs": done, "seconds": taken, "accuracy": known, "workers": workers}


def _limit(setting: Setting) -> float | None:
    return None if setting.left == float("inf") else setting.left


def rows(setting: Setting) -> Iterator[Row]:
    """Yield a row for each way."""
    cards = len(usable_gpus()) if setting.device == "cuda" else 1
    if setting.tiny:
        yield Row(ONE, lambda: measured(cards, setting))
        return
    yield Row("two workers a card", lambda: measured(2 * cards, setting), 45.0)
    yield Row(ONE, lambda: measured(cards, setting), 60.0)
    yield Row("two workers a card, warm kernels", lambda: measured(2 * cards, setting, warm=True), 60.0)


def lines(found: Rows) -> list[str]:
    """Return the table."""

    def cells(name: str, values: dict[str, Any]) -> list[str]:
        return [str(values["runs"]), f"{values['seconds']:.1f}", f"{values['accuracy']:.4f}"]

    return table(["workers", "runs in the cube", "s from spec to cube", "mean accuracy of the students"], found, cells)


PART = Part(
    "A study on the device",
    rows,
    lines,
    needs=("papermill",),
    about="The demo's notebook with fewer seeds and epochs; teachers are trained in every run.",
)
