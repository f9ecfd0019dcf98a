"""What the GPU bench has measured: a JSON line a row, so that the same command again makes only what is missing."""

import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import torch

from tests.bench.peers import missing
from tests.bench.sections import update

HEAD = "# On a GPU\n\nWritten by `python -m tests.bench.gpu`, a row at a time; `gpu.jsonl` holds the numbers."


@dataclass(frozen=True)
class Setting:
    """What a part needs to know.

    Attributes
    ----------
    device
        ``cuda``, or ``cpu`` to try the command without a GPU.
    folder
        Where the rows, the page and the studies are kept.
    tiny
        The size of a test, at which no number means anything.
    data_set
        The images of Fig. 6b, as the notebook takes them.
    end
        When the time is up, by ``time.monotonic``.
    """

    device: str
    folder: Path
    tiny: bool = False
    data_set: str = "hub:cifar10"
    end: float = float("inf")

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.end - monotonic()

    @property
    def machine(self) -> str:
        """The card's name, or that there is none."""
        known = self.device != "cpu" and torch.cuda.is_available()
        name = torch.cuda.get_device_name() if known else f"{platform.machine()} without a GPU"
        return f"{name}, at the size of a test" if self.tiny else name


class Row(NamedTuple):
    """One row of a table: its name, how it is measured, and how many seconds must be left to begin it."""

    name: str
    measure: Callable[[], dict[str, Any]]
    least: float = 20.0


Rows = dict[str, dict[str, Any]]  # what was measured, by the row's name


@dataclass(frozen=True)
class Part:
    """One table: its rows, in the order in which they are measured, and the text from what was found."""

    title: str
    rows: Callable[[Setting], Iterator[Row]]
    lines: Callable[[Rows], list[str]]
    needs: Sequence[str] = ()
    about: str = ""


@dataclass
class Ledger:
    """The rows of every part on one machine; the last line of a row counts, and an error is no measurement."""

    path: Path
    machine: str
    entries: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            self.entries = [json.loads(line) for line in lines]

    def add(self, part: str, row: str, **what: Any) -> None:
        """Keep a row: its ``values``, or the ``error`` that came instead."""
        entry = {"machine": self.machine, "part": part, "row": row, **what}
        self.entries.append(entry)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def of(self, part: str) -> dict[str, dict[str, Any]]:
        """Return the newest entry of each row of a part on this machine."""
        return {e["row"]: e for e in self.entries if e["part"] == part and e["machine"] == self.machine}


def measure(name: str, part: Part, setting: Setting, ledger: Ledger) -> bool:
    """Measure what is missing of a part, writing its table after every row; return whether all of it is there."""
    lacking = [f"- {said}" for said in missing(part.needs).values()]
    complete, load = True, os.getloadavg()[0]
    for row in part.rows(setting):
        if "values" in ledger.of(name).get(row.name, {}):
            continue
        if setting.left < row.least:
            complete = False
            continue
        try:
            ledger.add(name, row.name, values=row.measure())
        except Exception as error:  # one contender that fails must not cost the others
            ledger.add(name, row.name, error=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
            complete = False
        _write(name, part, setting, ledger, [*lacking], load)
    if ledger.of(name):
        _write(name, part, setting, ledger, [*lacking, *([] if complete else ["- Not complete yet."])], load)
    return complete


def _write(name: str, part: Part, setting: Setting, ledger: Ledger, notes: list[str], load: float) -> None:
    entries = ledger.of(name)
    found = {row: entry["values"] for row, entry in entries.items() if "values" in entry}
    notes += [f"- {row}: {entry['error']}" for row, entry in entries.items() if "error" in entry]
    about = [part.about, ""] if part.about else []
    lines = [f"## {part.title}: {setting.machine}", "", *about, *(part.lines(found) if found else []), "", *notes]
    update(setting.folder / "gpu.md", HEAD, lines, load)


def table(columns: Sequence[str], found: Rows, cells: Callable[[str, dict[str, Any]], Sequence[str]]) -> list[str]:
    """Return a table with a line for each row."""
    head = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return head + [f"| {name} | {' | '.join(cells(name, values))} |" for name, values in found.items()]
