"""Fig. 6b of Stanton et al. 2021 on CIFAR-10: a run a piece, sized so that none takes more than ten minutes."""

import time
from collections.abc import Iterator
from typing import Any

import kdlandscape as kdl
from kdlandscape.studies import say
from kdlandscape.sweeps.loading import load_spec, make_spec
from kdlandscape.sweeps.plan import plan
from kdlandscape.sweeps.snapshot import read_snapshot
from kdlandscape.sweeps.spec import Spec
from tests.bench.gpu.ledger import Part, Row, Rows, Setting, table

PIECE = 540.0  # seconds a run may take; ten minutes, less what a slower moment costs
IMAGES, FEW = 50_000, 5_000  # of the set, and of the two short runs that tell what an epoch costs
EPOCHS = (2, 3)  # of teacher and student in one unit, in the ratio of the paper's recipe
SHORT = (1, 2)  # units of the short runs
UNITS = 10  # of all images that come before more of them


def content(setting: Setting, name: str, images: int, units: int, **grid: list[Any]) -> dict[str, Any]:
    """Return the spec of the paper's recipe with so many images and epochs."""
    spec = load_spec("paper_fig6b_gpu")
    parameters = {**spec.parameters, "data_set": setting.data_set, "num_train": images, "device": setting.device}
    parameters |= {"teacher_epochs": EPOCHS[0] * units, "student_epochs": EPOCHS[1] * units}
    parameters |= {"plane_points": 19, "surface_examples": 1000}
    if setting.tiny:
        parameters |= {"width": 2, "depth": 8, "teacher_epochs": 1, "student_epochs": 1, "plane_points": 10}
        parameters |= {"surface_examples": 16, "path_points": 3, "num_eigenvalues": 1, "augmentation": "none"}
        parameters |= {"teacher_augmentation": "none", "teacher_batch": 32, "student_batch": 32}
        grid = {"seed": [0], "lr_policy": ["constant"], "init_lambda": [0.0, 0.5, 1.0]} | grid
    given = spec.model_dump(exclude={"resolved"}, by_alias=True)
    given |= {"study": name, "notebook": spec.facts.notebook_path, "parameters": parameters}
    return given | {"grid": {**spec.grid, **grid}, "table": None}


def size(short: float, longer: float) -> tuple[int, int]:
    """Return images and units of epochs that fit a piece, from the seconds of one and of two units of few images."""
    unit = max(longer - short, 1e-3)
    fit = max((PIECE - (short - unit)) / unit * FEW, FEW)  # image-units
    images = min(IMAGES, int(fit / UNITS) // 1000 * 1000)
    images = max(images, FEW)
    return images, max(int(fit / images), 1)


def trial(setting: Setting, units: int) -> dict[str, Any]:
    """Run one seed with few images, and return the seconds."""
    name = f"gpu_fig6b_short_{units}"
    given = content(setting, name, 64 if setting.tiny else FEW, units, seed=[0], lr_policy=["constant"])
    return {"seconds": _run(given, setting, None), "runs": 1}


def _run(given: dict[str, Any], setting: Setting, shard: str | None) -> float:
    start = time.perf_counter()
    left = None if setting.left == float("inf") else max(setting.left, 1.0)
    options = {"workers": 1, "root": setting.folder / "studies", "progress": False, "retry_failed": True}
    folder = kdl.run_study(given, shard=shard, time_limit=left, **options)
    errors = sorted((folder / "errors").glob("*.json"))
    if errors:
        raise RuntimeError(f"a run failed: see {errors[0]}")
    return time.perf_counter() - start


def piece(setting: Setting, spec: Spec, shard: str) -> dict[str, Any]:
    """Execute one run of the study, and draw the figure of all that are done."""
    seconds = _run(spec.model_dump(exclude={"resolved"}, by_alias=True), setting, shard)
    folder = setting.folder / "studies" / spec.study
    with kdl.open_cube(folder) as cube:
        held = cube.load()
    axes = kdl.figures.init_lambda(held)
    axes.flat[0].figure.savefig(setting.folder / "gpu_fig6b.png", dpi=100)
    return {"seconds": seconds, "runs": int(held["run.done"].sum()), "said": say(held, spec.findings)}


def rows(setting: Setting) -> Iterator[Row]:
    """Yield the two short runs, then a row for each run of the study."""
    if not setting.tiny:
        for units in SHORT:
            yield Row(f"{FEW} images, {units} × {EPOCHS} epochs", lambda u=units: trial(setting, u), 120.0)
    images, units = _chosen(setting)
    if not images:
        return
    spec = make_spec(content(setting, "gpu_fig6b", images, units))
    runs = plan(spec)
    for i, run in enumerate(runs):
        shard = f"{i}/{len(runs)}"
        where = ", ".join(f"{name} {value}" for name, value in run.coords.items())
        yield Row(
            f"{images} images, {units} × {EPOCHS} epochs: {where}",
            lambda s=shard: piece(setting, spec, s),
            20.0 if setting.tiny else PIECE,
        )


def _chosen(setting: Setting) -> tuple[int, int]:
    """Return the study's size: as it was begun, or from the short runs; nothing where they are missing."""
    if setting.tiny:
        return 64, 1
    begun = setting.folder / "studies" / "gpu_fig6b"
    if (begun / "spec.yaml").is_file():
        known = read_snapshot(begun).parameters
        return known["num_train"], known["teacher_epochs"] // EPOCHS[0]
    seconds = []
    for units in SHORT:
        folder = setting.folder / "studies" / f"gpu_fig6b_short_{units}"
        if not (folder / "cube.nc").is_file():
            return 0, 0
        with kdl.open_cube(folder) as cube:
            seconds.append(float(cube["run.wall_time"].max()))
    return size(*seconds)


def lines(found: Rows) -> list[str]:
    """Return the table, the findings and the figure."""
    text = table(
        ["images and epochs", "s", "runs in the cube"],
        found,
        lambda _, values: [f"{values['seconds']:.0f}", str(values["runs"])],
    )
    said = next((values["said"] for values in reversed(found.values()) if "said" in values), None)
    if said is None:
        return text
    return [*text, "", *(f"- {sentence}" for sentence in said), "", "![Fig. 6b on CIFAR-10](gpu_fig6b.png)"]


PART = Part(
    "Fig. 6b on CIFAR-10",
    rows,
    lines,
    needs=("papermill", "datasets"),
    about="The paper's recipe (ResNet-20 with GroupNorm) with the images and epochs that fit: two short runs tell what "
    "an epoch costs. Each run is a piece that the next command does not repeat.",
)
