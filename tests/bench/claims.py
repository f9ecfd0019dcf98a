"""What the studies decided, for the README: ``python -m tests.bench.claims STUDY...``.

The first folder is that of ``paper_small``, the others are of studies with findings and a figure of their own, such as
``basins``; ``--again`` names that of ``paper_small`` run again with other seeds. Writes .github/CLAIMS.md and its
pictures from their cubes alone; the README links them.
"""

import argparse
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import kdlandscape as kdl
from kdlandscape.cubes.yaml_file import read_yaml
from kdlandscape.registry import load
from kdlandscape.studies import say
from kdlandscape.studies.verdict_table import format_verdicts

HERE = Path(__file__).parents[2] / ".github"
DPI = 160


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("studies", type=Path, nargs="+", metavar="STUDY")
    parser.add_argument("--again", type=Path, nargs="*", default=[], metavar="STUDY")
    args = parser.parse_args()
    paper, *others = args.studies
    with kdl.figures.venue_style():
        lines = ["# What the studies of the paper decided", "", *_claims([paper, *args.again])]
        for study in others:
            lines += _section(study)
    (HERE / "CLAIMS.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _claims(studies: list[Path]) -> list[str]:
    cubes = [_opened(study) for study in studies]
    cubes = [cube if "seeds_from" in cube.dims else cube.expand_dims(seeds_from=[0]) for cube in cubes]
    cube = xr.concat(cubes, "seeds_from")
    _draw(kdl.figures.claims(cube), "claims")
    return [
        "## The claims of Stanton et al. 2021, at laptop scale",
        "",
        f"Written by `python -m tests.bench.claims` from the cube of `kdlandscape run paper_small`: "
        f"{'; again, with other seeds, '.join(map(_facts, cubes))}. "
        f"{100 * cube.attrs['level']:.0f} % t intervals over seeds; rules and recipes stand in the history before the "
        "run ([`studies/stanton2021.py`](../kdlandscape/studies/stanton2021.py)).",
        "",
        "![Each claim: seeds, mean, interval, bounds, and smaller those of the run with other seeds](claims.png)",
        "",
        "```text",
        format_verdicts(cube),
        "```",
    ]


def _section(study: Path) -> list[str]:
    """Return a study's question, facts, figure and findings."""
    cube, spec = _opened(study), read_yaml(study / "spec.yaml")
    name = spec["figures"][0]
    _draw(load("figures", name)(cube), spec["study"])
    return [
        "",
        f"## {spec['description']}",
        "",
        f"`kdlandscape run {spec['study']}`, {_facts(cube)}.",
        "",
        f"![{spec['description']}]({spec['study']}.png)",
        "",
        *[f"  - {line.strip()}" if line.startswith("  ") else f"- {line}" for line in say(cube, spec["findings"])],
    ]


def _opened(study: Path) -> xr.Dataset:
    with kdl.open_cube(study) as opened:
        return opened.load()


def _facts(cube: xr.Dataset) -> str:
    """Return when a study was run, how long its runs took, and from which commit."""
    started, commit, seconds = (
        cube[f"run.{name}"].values.ravel() for name in ("started_at", "git_commit", "wall_time")
    )
    done = np.isfinite(seconds)
    commits = sorted({_in_history(str(one)) for one in commit[done]})
    first = min(str(one) for one in started[done])
    number = f"{done.sum()} run" + ("s" if done.sum() > 1 else "")
    return (
        f"{number} started {first[:10]}, {seconds[done].sum() / 60:.1f} minutes in all, at commit {', '.join(commits)}"
    )


def _in_history(commit: str) -> str:
    """Return a commit, and under which one its change stands in this history where it was rebased after the run."""
    try:
        subject = _git("log", "-1", "--format=%s", commit)
        log = [line.split(" ", 1) for line in _git("log", "--format=%h %s").splitlines()]
    except subprocess.CalledProcessError:  # a clone without it
        return commit[:7]
    same = [known for known, words in log if words == subject]
    return commit[:7] if not same or commit.startswith(same[0]) else f"{commit[:7]} ({same[0]} in this history)"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=HERE, check=True, capture_output=True, text=True).stdout.strip()


def _draw(axes: np.ndarray, name: str) -> None:
    figure = np.ravel(axes)[0].figure
    figure.savefig(HERE / f"{name}.png", dpi=DPI)
    plt.close(figure)


if __name__ == "__main__":
    main()
