"""What a killed driver has left is removed, and nothing else, whatever a study from elsewhere notes."""

import tempfile
from pathlib import Path

import pytest

from kdlandscape.sweeps.workspace import PREFIX, remove_leftovers


def killed(folder, note):
    work = folder / ".work" / "abc"
    work.mkdir(parents=True)
    (folder / ".work" / "abc.lock").touch()
    (work / "sockets").write_text(note)
    return work


def test_the_sockets_of_a_killed_driver_are_removed(tmp_path):
    sockets = tempfile.mkdtemp(prefix=PREFIX)
    work = killed(tmp_path, sockets)
    remove_leftovers(tmp_path)
    assert not work.exists()
    assert not Path(sockets).exists()


@pytest.mark.parametrize("name", ["thesis", f"{PREFIX}thesis", "nothing/../thesis", "link"])
def test_a_note_of_someone_elses_study_removes_nothing_else(tmp_path, name):
    precious = tmp_path / name.split("/")[-1]
    precious.mkdir()
    (precious / "draft").touch()
    note = str(tmp_path / name)
    if name == "link":
        note = str(Path(tempfile.gettempdir()) / f"{PREFIX}{tmp_path.name}")
        Path(note).symlink_to(precious)
    work = killed(tmp_path / "study", note)
    remove_leftovers(tmp_path / "study")
    assert not work.exists()
    assert (precious / "draft").exists()
    if name == "link":
        Path(note).unlink()
