"""``python -m tests.site.follow [PAGE ...]`` follows the tutorials word for word, and writes how long each took.

What a reader types is what is run: the cells with code and the commands between them, in their order, in an empty
folder with an empty home, by an environment that holds the wheel and what the wheel asks for. Nothing of the checkout
is seen.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import nbformat
from myst_nb.core.read import read_myst_markdown_notebook

from tests.installation import ROOT, build, environment, install, unpack
from tests.site.sources import SITE

TUTORIALS = SITE / "tutorials"
_MARK = "<!-- written by python -m tests.site.follow for the code"
_NOTE = re.compile(rf"{re.escape(_MARK)} (\w+) -->\n\*.*?\*\n\n", flags=re.S)


class FollowError(RuntimeError):
    """A tutorial does not lead where it says."""


def steps(page: Path) -> nbformat.NotebookNode:
    """Return what a reader of a page runs: its cells, and its commands as cells of a shell, as a notebook."""
    read = read_myst_markdown_notebook(page.read_text(encoding="utf-8"))
    cells = []
    for cell in read.cells:
        if cell.cell_type == "code":
            cells.append(nbformat.v4.new_code_cell(cell.source, metadata={"tags": cell.metadata.get("tags", [])}))
        for command in re.findall(r"^```sh\n(.*?)^```", cell.source, flags=re.S | re.M):
            cells.append(nbformat.v4.new_code_cell(f"%%bash\nset -e\n{command}"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def code_of(page: Path) -> str:
    """Return a short name of the code of a page: while it stays, the time it took holds."""
    return sha256("\n".join(cell.source for cell in steps(page).cells).encode()).hexdigest()[:12]


def follow(page: Path, commands: Path, folder: Path, given: dict[str, Any] | None = None) -> float:
    """Follow a page in an empty folder; return the seconds that it took.

    Parameters
    ----------
    page
        The tutorial.
    commands
        The environment's folder of commands.
    folder
        An empty folder to work in.
    given
        Other values for the cell of parameters.

    Raises
    ------
    FollowError
        If a step fails.
    """
    (folder / "home").mkdir(parents=True)
    work = folder / "work"
    work.mkdir()
    nbformat.write(steps(page), folder / "typed.ipynb")
    typed = [commands / "python", "-P", "-m", "papermill", folder / "typed.ipynb", folder / "done.ipynb"]
    changed = ["-y", json.dumps(given)] if given else []  # JSON is YAML
    started = time.perf_counter()
    done = subprocess.run(
        [*typed, *changed, "-k", "python3", "--no-progress-bar"],
        cwd=work, env=environment(commands, folder / "home"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise FollowError(f"{page.name}: expected every step to work, got\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def stated(page: Path) -> tuple[str, str] | None:
    """Return the code that a page's stated time is for, and the statement; None where it states none."""
    found = _NOTE.search(page.read_text(encoding="utf-8"))
    return (found[1], found[0].partition("-->\n")[2].strip()) if found else None


def state(page: Path, said: str) -> None:
    """Write below the title of a page how long it took."""
    text = _NOTE.sub("", page.read_text(encoding="utf-8"))
    title, _, rest = text.partition("\n\n")
    page.write_text(f"{title}\n\n{_MARK} {code_of(page)} -->\n*{said}*\n\n{rest}", encoding="utf-8")


def main() -> None:
    """Read the command line, install, follow and write."""
    parser = argparse.ArgumentParser(prog="python -m tests.site.follow", description=__doc__)
    names = sorted(page.stem for page in TUTORIALS.glob("*.md"))
    parser.add_argument("page", nargs="*", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--shared", action="store_true", help="use this environment's dependencies; install the wheel")
    given = parser.parse_args()
    if unknown := set(given.page) - set(names):
        parser.error(f"expected pages of {names}, got {sorted(unknown)}")
    with tempfile.TemporaryDirectory(prefix="kdl-") as empty:
        folder = Path(empty)
        source, _ = build(ROOT, folder / "from-checkout")
        _, wheel = build(unpack(source, folder / "source"), folder / "built")
        started = time.perf_counter()
        commands = install(wheel, folder / "venv", alone=not given.shared)
        print(f"{time.perf_counter() - started:6.0f} s  installation")
        for name in given.page or names:
            page, busy = TUTORIALS / f"{name}.md", os.getloadavg()[0]
            seconds = follow(page, commands, folder / name)
            state(page, _sentence(seconds, busy, commands))
            print(f"{seconds:6.0f} s  {name}", flush=True)


def _sentence(seconds: float, busy: float, commands: Path) -> str:
    asked = (
        "import kdlandscape as k, torch as t, platform as p; print(k.__version__, t.__version__, p.python_version())"
    )
    own, torch, python = subprocess.run(
        [commands / "python", "-P", "-c", asked], capture_output=True, text=True, check=True
    ).stdout.split()
    beside = ", beside other work on them" if busy > 0.5 else ""
    cores = len(os.sched_getaffinity(0))
    return (
        f"Followed from an empty folder with the wheel alone, this page took {_spoken(seconds)}\n"
        f"on {cores} cores{beside} (kdlandscape {own}, PyTorch {torch.partition('+')[0]}, Python {python})."
    )


def _spoken(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.1f} minutes"


if __name__ == "__main__":
    main()
