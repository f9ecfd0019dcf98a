from pathlib import Path

import pytest

from kdlandscape.cubes import files
from kdlandscape.cubes.files import DiskFullError, is_full, write
from kdlandscape.sweeps.study import run_study
from tests.bench.chaos import fill, run, small_disk
from tests.tiny_study import write_spec


@pytest.mark.slow
def test_a_study_under_kills_and_a_full_disk_ends_in_the_cube_of_an_undisturbed_one():
    facts = run(runs=12, kills=5, seed=1)
    assert facts["kills"] >= 5


def test_a_disk_that_fills_up_stops_the_study_and_counts_no_run_as_failed(tmp_path):
    with small_disk(8) as (disk, mounted):
        if not mounted:
            pytest.skip("mounting a small disk needs root")
        path = write_spec(tmp_path, grid={"seed": [0]}, parameters={"folder": str(tmp_path)})
        (disk / "tiny").mkdir()
        fill(disk)
        with pytest.raises(DiskFullError):
            run_study(path, root=disk, progress=False)
        (disk / "balloon").unlink()
        (disk / "tiny" / "errors").mkdir(exist_ok=True)
        assert not list((disk / "tiny" / "errors").iterdir())
        run_study(path, root=disk, progress=False)
        assert len(list((disk / "tiny" / "runs").glob("*.nc"))) == 1


def fail_to_write(new):
    new.write_bytes(bytes(10_000))
    fill(new.parent.parent)
    raise RuntimeError("HDF error")


def test_a_write_without_room_says_so_whatever_the_library_said_and_keeps_the_old_file(tmp_path):
    with small_disk(1) as (disk, mounted):
        if not mounted:
            pytest.skip("mounting a small disk needs root")
        (disk / "a").write_text("old")
        with pytest.raises(DiskFullError, match="expected room on the disk, got none"):
            write(disk / "a", fail_to_write)
        assert (disk / "a").read_text() == "old"
        assert is_full(disk)
        assert {path.name for path in disk.iterdir()} == {"a", "balloon"}


def test_a_disk_with_room_is_not_blamed(tmp_path, monkeypatch):
    def fail(new):
        raise RuntimeError("HDF error")

    with pytest.raises(RuntimeError, match="HDF error"):
        write(tmp_path / "a", fail)
    assert not is_full(tmp_path)
    assert not is_full(tmp_path / "none")
    assert is_full(tmp_path, OSError(files.errno.EDQUOT, "quota"))
    assert not list(Path(tmp_path).iterdir())
