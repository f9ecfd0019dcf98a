"""The README's Python examples run as they stand, top to bottom, and its commands are the ones that exist."""

import re
import shlex
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from typer.main import get_command

from kdlandscape.cli import app
from kdlandscape.cubes.store import write_run
from tests.bench import goals
from tests.bench.gpu import card
from tests.synthetic import demo_cube

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.S)


def test_every_python_block_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_run(demo_cube(), tmp_path / "papermill_runs" / "demo" / "cube.nc")
    names: dict = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)
    plt.close("all")
    assert names["plane"]["loss"].dims == ("y", "x")
    assert names["top"].sizes["eigenvalue"] == 3
    assert float(names["trace"]["trace_sem"]) >= 0
    assert names["taught"].thetas.shape == (4, names["objective"].dim)
    assert (tmp_path / "planes.pdf").is_file()
    assert len(BLOCKS) == 5
    assert "[]" in capsys.readouterr().out  # nothing is missing


def test_the_readme_is_two_screens_long_and_holds_no_measured_number():
    prose = re.sub(r"```.*?```", "", README, flags=re.S)
    assert len(README.splitlines()) < 120
    assert not re.findall(r"\d+(?:\.\d+)?\s?(?:×|%|ms|MB|GB|seconds)", prose)


def test_the_set_up_is_two_commands_and_ci_runs_the_second():
    commands = re.findall(r"```sh\n(python3 .*?)\n```", README, flags=re.S)
    assert len(commands) == 2
    assert commands[0].endswith("kdlandscape demo")
    assert commands[1].endswith("pytest -n logical")
    assert "grep -m1 'bin/pytest -n logical$' README.md" in (ROOT / ".ci" / "run").read_text()


def commands():
    """Return the lines that call the command line, in the README and on the site's pages, each with its page."""
    pages = [ROOT / "README.md", *sorted((ROOT / ".github").rglob("*.md"))]
    blocks = [(page, block) for page in pages for block in re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.S)]
    started = [(page, line) for page, block in blocks for line in block.splitlines() if line.startswith("kdlandscape ")]
    return [(page.relative_to(ROOT).as_posix(), line.partition("#")[0].strip()) for page, line in started]


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_on_a_page_is_one_that_the_command_line_takes(page, line):
    _, name, *words = shlex.split(line)
    assert get_command(app).commands[name].make_context(name, words).params


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(path):
    assert (ROOT / path).exists()


def test_the_page_of_goals_is_the_one_that_the_results_give():
    assert goals.PAGE.read_text(encoding="utf-8") == goals.page(), "write it again: python -m tests.bench.goals"
    assert "| no |" in goals.page() or "| yes |" in goals.page()


def test_the_table_of_a_card_is_the_one_that_the_results_give():
    assert card.table() in README, "write it again: python -m tests.bench.gpu.card"
