"""The README's Python examples run as they stand, in one folder, top to bottom."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.S)


def test_the_example_on_your_own_network_runs(capsys):
    exec(compile(BLOCKS[0], "README.md", "exec"), {})
    barrier, eigenvalues = capsys.readouterr().out.splitlines()
    assert float(barrier) >= 0
    assert len(eigenvalues.strip("[]").split()) == 3


def test_the_set_up_is_two_commands_and_ci_runs_the_second():
    commands = re.findall(r"```sh\n(python3 .*?)\n```", README, flags=re.S)
    assert len(commands) == 2
    assert commands[0].endswith("kdlandscape demo")
    assert commands[1].endswith("pytest")
    assert "grep -m1 'bin/pytest$' README.md" in (Path(__file__).parents[1] / ".ci" / "run").read_text()
