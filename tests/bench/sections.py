"""A page of results that is written a part at a time: a part that is measured again replaces its section."""

import os
import platform
from pathlib import Path

import torch


def update(page: Path, head: str, lines: list[str], load: float) -> str:
    """Put a section on the page, under the machine's facts; return its text.

    Parameters
    ----------
    page, head
        The file, and what stands above all sections.
    lines
        The section; its first line is the heading.
    load
        The load average before it was measured.
    """
    facts = (
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    facts += f"; load average {load:.1f} to {os.getloadavg()[0]:.1f}. Times: median (smallest–largest)."
    text = "\n".join([lines[0].removeprefix("## "), "", facts, *lines[1:]]).rstrip()
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    found = {part.split("\n")[0]: part.rstrip() for part in old.split("\n## ")[1:]}
    found[text.split("\n")[0]] = text
    page.parent.mkdir(exist_ok=True)
    page.write_text("\n\n## ".join([head, *found.values()]) + "\n", encoding="utf-8")
    return text
