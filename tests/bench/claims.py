"""What a run of ``paper_small`` decided, for the README: ``python -m tests.bench.claims papermill_runs/paper_small``.

Writes .github/CLAIMS.md and .github/claims.png, which the README links.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt

import kdlandscape as kdl
from kdlandscape.studies.verdict_table import format_verdicts

HERE = Path(__file__).parents[2] / ".github"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cube", type=Path)
    with kdl.open_cube(parser.parse_args().cube) as opened:
        cube = opened.load()
    axes = kdl.figures.claims(cube)
    axes[0].figure.savefig(HERE / "claims.png", dpi=100)
    plt.close(axes[0].figure)
    facts = {name: cube[f"run.{name}"].values.ravel()[0] for name in ("started_at", "git_commit", "wall_time")}
    lines = [
        "# The claims of Stanton et al. 2021, at laptop scale",
        "",
        "Written by `python -m tests.bench.claims` from the cube of `kdlandscape run paper_small`, "
        f"started {str(facts['started_at'])[:10]}, {facts['wall_time'] / 60:.1f} minutes, "
        f"at commit {str(facts['git_commit'])[:7]}. {100 * cube.attrs['level']:.0f} % t intervals over seeds.",
        "",
        "![Each claim: seeds, mean, interval, and where it would reproduce](claims.png)",
        "",
        "```text",
        format_verdicts(cube),
        "```",
    ]
    (HERE / "CLAIMS.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
