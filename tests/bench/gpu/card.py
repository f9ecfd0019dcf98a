"""The few numbers of a card that the README shows: ``python -m tests.bench.gpu.card`` writes them there."""

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
README = Path(__file__).parents[3] / "README.md"
PLACE = re.compile(r"\| On an NVIDIA.*?\n\n", re.DOTALL)
PROBLEMS = {"P1": "MLP, 26 k parameters", "P2": "ResNet-20, 272 k", "ResNet-18": "ResNet-18, 11 M"}

Rows = dict[str, dict[str, Any]]


def table(path: Path = RESULTS / "gpu.jsonl") -> str:
    """Return the table of the card that was measured last, from the bench's rows."""
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    machine = entries[-1]["machine"]
    parts: dict[str, Rows] = {}
    for entry in entries:
        if entry["machine"] == machine and "values" in entry:
            parts.setdefault(entry["part"], {})[entry["row"]] = entry["values"]
    rows: dict[str, Callable[[str], str]] = {
        "a Hessian product, in gradients": lambda which: _products(parts["products"], which),
        "points of a plane, × a loop on its CPU": lambda which: _points(parts["planes"], which),
        "2048 students at once, × a loop on its CPU": lambda which: (
            _students(parts["students"]) if which == "P1" else ""
        ),
    }
    head = [f"On an {machine}", *PROBLEMS.values()]
    body = [[name, *map(cell, PROBLEMS)] for name, cell in rows.items()]
    return "\n".join([_line(head), "|" + "---|" * len(head), *map(_line, body)])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _products(found: Rows, which: str) -> str:
    ratios = {
        row.partition(": ")[2]: statistics.median(v["ratios"]) for row, v in found.items() if row.startswith(which)
    }
    theirs = {name: one for name, one in ratios.items() if "kdlandscape" not in name and "Newton" not in name}
    peer = min(theirs, key=theirs.__getitem__)
    return f"{ratios['kdlandscape']:.2f}; {theirs[peer]:.2f} by {peer.partition(',')[0]}"


def _points(found: Rows, which: str) -> str:
    speeds = {row.partition(": ")[2]: v["points a second"] for row, v in found.items() if row.startswith(which)}
    return f"{speeds['as the trial chooses'] / speeds['a loop on the CPU']:.0f}" if speeds else ""


def _students(found: Rows) -> str:
    speeds = {row: v["students a second"] for row, v in found.items()}
    times = {w: speeds[f"width {w}: 2048 at once"] / speeds[f"width {w}: a loop on the CPU"] for w in (32, 100)}
    return ", ".join(f"{ratio:.0f} of width {width}" for width, ratio in times.items())


if __name__ == "__main__":
    README.write_text(PLACE.sub(table() + "\n\n", README.read_text(encoding="utf-8"), count=1), encoding="utf-8")
