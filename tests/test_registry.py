"""A package that is not ours adds a finding and a figure; a spec names them, and the command line uses them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdlandscape import registry
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.loading import make_spec
from tests.tiny_study import write_spec

ROOT = Path(registry.__file__).parents[1]
MODULE = """\
import matplotlib.pyplot as plt


def largest(cube):
    return [f"the largest loss is {float(cube['loss'].max()):g}"]


def by_seed(cube):
    \"\"\"Draw the loss of every seed.\"\"\"
    ax = plt.subplots()[1]
    ax.plot(cube["seed"], cube["loss"].max("lam"))
    return ax


def wrong(cube):
    return "a text instead of a list"


def broken(cube):
    raise KeyError("kl")
"""
ENTRIES = """\
[kdlandscape.findings]
largest_loss = theirs:largest
broken = theirs:broken
wrong = theirs:wrong
absent = theirs:no_such_function
onsets = theirs:largest

[kdlandscape.figures]
loss_by_seed = theirs:by_seed
broken = theirs:broken
"""


@pytest.fixture
def site(tmp_path):
    """A folder with an installed package, as pip leaves one."""
    folder = tmp_path / "site"
    facts = folder / "theirs-1.0.dist-info"
    facts.mkdir(parents=True)
    (folder / "theirs.py").write_text(MODULE)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(ENTRIES)
    return folder


@pytest.fixture
def installed(site, monkeypatch):
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    yield site
    sys.modules.pop("theirs", None)


def command(site, *arguments):
    path = os.pathsep.join([str(site), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "kdlandscape.cli", *map(str, arguments)], capture_output=True, text=True, env=environment
    )


def test_a_spec_names_a_finding_and_a_figure_of_another_package_and_the_command_line_uses_them(site, tmp_path):
    names = {"findings": ["largest_loss", "broken"], "figures": ["broken", "loss_by_seed"]}
    spec = write_spec(tmp_path / "here", parameters={"folder": str(tmp_path)}, **names)
    ran = command(site, "run", spec, "--root", tmp_path / "studies", "--workers", "1")
    assert ran.returncode == 0, ran.stderr
    assert "warning: figure broken cannot be drawn from this cube: KeyError: 'kl'" in ran.stderr
    *_, found, broken, report = ran.stdout.splitlines()
    assert "the largest loss is 1" in found
    assert broken == "finding broken cannot be taken from this cube: KeyError: 'kl'"
    assert report.endswith("report.html")
    drawn = tmp_path / "studies" / "tiny" / "figures"
    assert {"loss_by_seed.pdf", "loss_by_seed.png", "loss_by_seed.txt"} <= {path.name for path in drawn.iterdir()}
    assert (drawn / "loss_by_seed.txt").read_text() == "The loss of every seed. Data: study tiny, 2 seeds.\n"

    gone = command(tmp_path / "none", "figures", "tiny", "--root", tmp_path / "studies")
    assert gone.returncode == 2
    assert gone.stderr.startswith("error: figures: expected some of agreement, ")
    assert "Traceback" not in gone.stderr


def test_a_spec_is_checked_without_importing_what_it_names(site, tmp_path):
    spec = write_spec(tmp_path / "here", findings=["largest_loss", "basins"], figures=["loss_by_seed", "planes"])
    check = (
        f"import sys; from kdlandscape.sweeps.loading import load_spec; load_spec({str(spec)!r}); "
        "print([name for name in ('theirs', 'torch', 'matplotlib', 'xarray') if name in sys.modules])"
    )
    path = os.pathsep.join([str(site), str(ROOT)])
    ran = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert ran.stdout == "[]\n", ran.stderr


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("findings", "largest_los", r"findings: expected some of .*largest_loss.*Did you mean 'largest_loss'\?"),
        ("figures", "heatmap", r"figures: expected some of agreement, .*, got 'heatmap'"),
        (
            "findings",
            "onsets",
            r"called 'onsets', got kdlandscape.studies.onsets:findings and theirs:largest",
        ),
    ],
)
def test_a_spec_that_names_nothing_or_two_things_is_refused(installed, tmp_path, kind, name, message):
    write_spec(tmp_path)
    with pytest.raises(SpecError, match=message):
        make_spec({"study": "s", "notebook": "tiny.ipynb", "grid": {"seed": [0]}, kind: [name]}, beside=tmp_path)


def test_what_cannot_be_loaded_or_says_no_sentences_is_refused(installed):
    from kdlandscape.studies.sentences import say

    with pytest.raises(registry.RegistryError, match="expected 'absent' at theirs:no_such_function, got module 'the"):
        registry.load("findings", "absent")
    with pytest.raises(registry.RegistryError, match="a list of sentences from 'wrong', got 'a text instead of"):
        say(None, ["wrong"])


@pytest.mark.parametrize("kind", sorted(registry.OWN))
def test_everything_that_we_register_is_there_and_takes_a_cube_or_the_name_of_a_notebook_alone(kind):
    import inspect

    for name in registry.OWN[kind]:
        first, *others = inspect.signature(registry.load(kind, name)).parameters.values()
        assert first.name in ("notebook",) if kind == "labels" else ("cube", "table")
        assert all(one.default is not one.empty for one in others)
