"""Students a second, by how many are trained as one batch, beside a loop."""

from collections.abc import Iterator
from typing import Any

import torch

from kdlandscape.distillation.recipe import Recipe
from tests.bench.bench_students import EXAMPLES, batched, plain, problem
from tests.bench.clock import fastest_threads, seconds
from tests.bench.goals import goal
from tests.bench.gpu.ledger import Part, Row, Rows, Setting, table

BATCHES = (32, 128, 512, 1024, 2048)
SIZES = ((32, 32), (100, 128))  # width of two hidden layers, batch size
STEPS = 256
LOOPS = {"a loop on the CPU": "cpu", "a loop on the card": "cuda"}


def measured(count: int, width: int, batch: int, device: str, setting: Setting, *, loop: bool) -> dict[str, Any]:
    """Train so many students at once or one after the other; return the students a second."""
    steps = 2 * EXAMPLES // batch if setting.tiny else STEPS
    recipe = Recipe(epochs=max(steps * batch // EXAMPLES, 1), batch_size=batch, lr=0.05)
    given = problem(width, torch.float32, device, count)
    run = plain if loop else batched
    run(*given, recipe)  # what the first run prepares

    def speed() -> float:
        return count / seconds(lambda: run(*given, recipe), least=0.0 if setting.tiny else 1.0)

    return {"students a second": fastest_threads(speed) if device == "cpu" and not setting.tiny else speed()}


def rows(setting: Setting) -> Iterator[Row]:
    """Yield a row for each size and way."""
    for width, batch in SIZES[:1] if setting.tiny else SIZES:
        for name, device in LOOPS.items():
            if device == "cpu" or setting.device == "cuda":
                yield Row(
                    f"width {width}: {name}",
                    lambda w=width, b=batch, d=device: measured(2, w, b, d, setting, loop=True),
                )
        for count in BATCHES[:1] if setting.tiny else BATCHES:
            yield Row(
                f"width {width}: {count} at once",
                lambda w=width, b=batch, c=count: measured(c, w, b, setting.device, setting, loop=False),
            )


def lines(found: Rows) -> list[str]:
    """Return the table and what became of the goals."""
    speeds = {name: values["students a second"] for name, values in found.items()}

    def over(name: str, loop: str) -> float | None:
        slow = speeds.get(f"{name.split(':')[0]}: {loop}")
        return speeds[name] / slow if slow else None

    def cells(name: str, values: dict[str, Any]) -> list[str]:
        ratios = [over(name, loop) for loop in LOOPS]
        return [f"{values['students a second']:.4g}", *("–" if one is None else f"{one:.1f}" for one in ratios)]

    text = table(["students", "students a second", *(f"× {loop}" for loop in LOOPS)], found, cells)
    said = []
    for count, loop, wanted in ((32, "a loop on the card", 8), (1024, "a loop on the card", 50), *_every_cpu(found)):
        for name in speeds:
            ratio = over(name, loop)
            if name.endswith(f": {count} at once") and ratio is not None:
                what = f"a GPU, {count} students of {name.split(':')[0]}: ≥ {wanted}× {loop}"
                said.append(goal(what, f"{ratio:.1f}×", ratio >= wanted))
    return [*text, "", *said]


def _every_cpu(found: Rows) -> list[tuple[int, str, int]]:
    counts = [int(name.split(": ")[1].split()[0]) for name in found if name.endswith("at once")]
    return [(max(counts), "a loop on the CPU", 20)] if counts else []


PART = Part(
    "Students",
    rows,
    lines,
    about=f"Students of two hidden layers, distilled from as many teachers for {STEPS} steps of SGD with Nesterov "
    "momentum, float32, TF32 off.",
)
