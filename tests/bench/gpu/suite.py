"""The suite's own tests on the device: those that take every device there is, and those of the simulated one."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.gpu.ledger import Part, Row, Rows, Setting, table

CHECKOUT = Path(__file__).parents[3]
#: folder or file, which of its tests, and which at the size of a test
CHOSEN = {
    "tests/linalg": ("cuda", ""),
    "tests/landscape": ("cuda", ""),
    "tests/distillation": ("cuda", ""),
    "tests/test_device.py": ("", "gradient"),
}


def measured(place: str, which: str, limit: float) -> dict[str, Any]:
    """Run tests in a process of their own; return how many there were by outcome."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", "--tb=line", place]
    command += ["-n", str(min(8, (os.cpu_count() or 1) // 2)), "--maxprocesses=8"]
    run = subprocess.run(
        [*command, *(["-k", which] if which else [])],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=None if limit == float("inf") else limit,
    )
    last = run.stdout.strip().splitlines()[-1] if run.stdout.strip() else run.stderr.strip()[-300:]
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", last)}
    if run.returncode not in (0, 5):  # 5: no test chosen
        failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        raise RuntimeError(f"{last} {'; '.join(failed[:5])}")
    return {"passed": counts.get("passed", 0), "said": last}


def rows(setting: Setting) -> Iterator[Row]:
    """Yield a row for each place."""
    for place, (full, tiny) in CHOSEN.items():
        which = tiny if setting.tiny else full
        if not setting.tiny or which:
            yield Row(place, lambda p=place, w=which: measured(p, w, setting.left))


def lines(found: Rows) -> list[str]:
    """Return the table."""
    return table(["tests", "passed", "pytest said"], found, lambda _, v: [str(v["passed"]), v["said"].strip("= ")])


PART = Part(
    "The suite's tests on the device",
    rows,
    lines,
    needs=("pytest",),
    about="Those whose name holds the device, and those of the simulated one.",
)
