"""What the benches were to reach: a line of each result, and the table of them all.

``python -m tests.bench.goals`` writes the table into ``results/goals.md``.
"""

import re
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PAGE = RESULTS / "goals.md"
OPENING = """\
# What the benches were to reach

Written by `python -m tests.bench.goals` from the results beside this page. Each goal was stated before it was measured;
each result says the machine, the load and the spread.
"""
LINE = re.compile(r"^- goal: (?P<what>.*); got (?P<got>.*): \*\*(?P<verdict>reached|not reached)\*\*$", re.MULTILINE)


def goal(what: str, got: str, reached: bool) -> str:
    """Return a result's line on one goal."""
    return f"- goal: {what}; got {got}: **{'reached' if reached else 'not reached'}**"


def page(results: Path = RESULTS) -> str:
    """Return the page with the goals of all results as a table."""
    rows = ["| bench | goal | measured | reached |", "|---|---|---|---|"]
    for path in sorted(results.glob("*.md")):
        for found in LINE.finditer(path.read_text(encoding="utf-8")):
            said = "yes" if found["verdict"] == "reached" else "no"
            rows.append(f"| [{path.stem}]({path.name}) | {found['what']} | {found['got']} | {said} |")
    return "\n".join([OPENING, *rows, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
