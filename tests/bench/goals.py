"""What the benches were to reach: a line of each result, and the README's table of them all.

``python -m tests.bench.goals`` writes the table between the README's two marks.
"""

import re
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
MARKS = ("<!-- written by tests/bench/goals.py -->", "<!-- end -->")
LINE = re.compile(r"^- goal: (?P<what>.*); got (?P<got>.*): \*\*(?P<verdict>reached|not reached)\*\*$", re.MULTILINE)


def goal(what: str, got: str, reached: bool) -> str:
    """Return a result's line on one goal."""
    return f"- goal: {what}; got {got}: **{'reached' if reached else 'not reached'}**"


def table(results: Path = HERE / "results") -> str:
    """Return the goals of all results as a table."""
    rows = ["| bench | goal | measured | reached |", "|---|---|---|---|"]
    for path in sorted(results.glob("*.md")):
        for found in LINE.finditer(path.read_text(encoding="utf-8")):
            said = "yes" if found["verdict"] == "reached" else "no"
            rows.append(
                f"| [{path.stem}](tests/bench/results/{path.name}) | {found['what']} | {found['got']} | {said} |"
            )
    return "\n".join(rows)


def written(text: str) -> str:
    """Return the README with the present table in it."""
    before, rest = text.split(MARKS[0])
    return f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{rest.split(MARKS[1], 1)[1]}"


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
